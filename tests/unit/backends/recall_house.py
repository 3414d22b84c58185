"""Calls from which a text was left out, what a model says to them, and a gateway's backend between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from pennyweight.backends.recall import Recall
from pennyweight.call import Call, Step, Verdict
from pennyweight.errors import StoreError
from pennyweight.references import References, ReferenceSettings, leave_out, reference_id
from pennyweight.request import Charge, Edit, Reply, Request, Usage, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing import shapes
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire import codec
from pennyweight.wire.recall_tool import with_tool

WIRES = list(Wire)
PATHS = {
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.OLLAMA: "/api/chat",
}
LONG = "\n".join(f"line {n}: something happened" for n in range(1, 400))
SAVING = 1_000


def read_tool(wire: Wire) -> dict[str, Any]:
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return {"name": "read", "input_schema": {}}
        case Wire.OPENAI_RESPONSES:
            return {"type": "function", "name": "read"}
        case _:
            return {"type": "function", "function": {"name": "read"}}


def shortened(wire: Wire, *, stream: bool = False, session: str = "s", tool: bool = True, **more: Any) -> Call:
    """A call whose long text was replaced by a reference."""
    said = "input" if wire is Wire.OPENAI_RESPONSES else "messages"
    message = {"role": "user", "content": f"Look at this: {LONG}"}
    body = {"model": "m", "tools": [read_tool(wire)], said: [message], "stream": stream, **more}
    headers = (("accept-encoding", "gzip"), ("idempotency-key", "k"))
    made = make_call(msgspec.json.encode(body), wire=wire, path=PATHS[wire], headers=headers, session=session)
    ref = reference_id("local", session, LONG)
    facts = {"rewritten": ("cut", "max")}
    leave_out(facts, {ref: LONG, "rnotmention": "never sent"})
    edits = (with_tool(made.request) or ()) if tool else ()
    request = made.request.edit([*edits, Edit((said, 0, "content"), f'Look at this: [recall "{ref}"]')])
    trail = (Step("cut", Verdict.ACCEPTED, saving=SAVING),)
    return msgspec.structs.replace(made, request=request, facts=facts, trail=trail)


REF = reference_id("local", "s", LONG)


def answer(wire: Wire, *calls: tuple[str, Any], text: str = "", number: int = 1, **more: Any) -> dict[str, Any]:
    made = tuple(
        shapes.ToolCall(f"id{number}_{n}", name, msgspec.json.encode(arguments).decode())
        for n, (name, arguments) in enumerate(calls)
    )
    usage = Usage(input_tokens=100 * number, output_tokens=number)
    if wire is Wire.OLLAMA:
        functions = [{"function": {"name": c.name, "arguments": msgspec.json.decode(c.arguments)}} for c in made]
        message = {"role": "assistant", "content": text, **({"tool_calls": functions} if functions else {})}
        counts = {"prompt_eval_count": 100 * number, "eval_count": number}
        return {"model": "m", "message": message, "done": True, "done_reason": "stop", **counts, **more}
    reasoning = "Hm." if wire is not Wire.OPENAI_RESPONSES else ""
    turn = shapes.Turn(text, made, reasoning, "c2ln" if reasoning else "")
    return {**shapes.finish(wire, shapes.body_of(wire, turn, model="m", number=number), usage, model="m"), **more}


def script(wire: Wire, body: dict[str, Any], *, stream: bool = False, **more: Any) -> Script:
    raw = msgspec.json.encode(body)
    usage = codec(wire).read(raw).usage
    if stream:
        return Script(chunks=tuple(codec(wire).unfold(raw)), usage=usage, **more)
    return Script(content=raw, usage=usage, **more)


class House:
    def __init__(self, *scripts: Script, kv: Any = None, **settings: Any) -> None:
        self.upstream = ScriptedBackend(*scripts)
        self.clock = FakeClock()
        self.stored = 0
        self.kv = kv or MemoryKV(clock=self.clock)

        async def written(key: str) -> bool:
            self.stored += 1
            return True

        self.references = References(self.kv, self.clock, written=written)
        self.recall = Recall(
            self.upstream, self.references, BpeTokenizer(), settings=ReferenceSettings(**settings), cost=cost
        )

    def ask(self, call: Call) -> tuple[Reply, bytes]:
        """The reply, closed, and what its caller read."""

        async def work() -> tuple[Reply, bytes]:
            reply = await self.recall.open(call)
            body = await reply.read()
            await reply.aclose()
            return reply, body

        return self.run(work)

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        got = asyncio.run(work())  # type: ignore[arg-type]
        assert self.upstream.closed == len(self.upstream.replies), "every reply was closed"
        return got

    def sent(self, number: int) -> Request:
        return self.upstream.calls[number].request


def cost(charge: Charge) -> int:
    return charge.usage.input_tokens * 10 + charge.usage.output_tokens * 100


def told(wire: Wire, body: bytes, *, stream: bool) -> dict[str, Any]:
    return dict(msgspec.json.decode(codec(wire).fold(body) if stream else body))


def said(wire: Wire, body: dict[str, Any]) -> shapes.Turn:
    return shapes.turn_of(wire, body)


class DownKV(MemoryKV):
    def __init__(self, *, reads_only: bool = False) -> None:
        super().__init__(clock=FakeClock())
        self._reads_only = reads_only

    async def get(self, key: str) -> bytes | None:
        raise StoreError("The store is down.")

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        if not self._reads_only:
            raise StoreError("The store is down.")
        await super().put(key, value, ttl_s=ttl_s)


class SlowKV(MemoryKV):
    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await asyncio.Event().wait()
