"""A cascade over three scripted targets: "cheap", "peer" and "strong", each a provider of its own."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from pennyweight.backends.cascade import AskLogprobs, Cascade
from pennyweight.backends.upstream import Dispatch
from pennyweight.call import Call, Rungs, Step, Target, Verdict
from pennyweight.request import Reply, Wire
from pennyweight.routing.confidence.comparisons import Comparisons
from pennyweight.routing.settings import CascadeTable
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock

CHAT = Wire.OPENAI_CHAT
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    }
]


def target(name: str, wire: Wire = CHAT) -> Target:
    return Target(name, f"{name}-1", wire)


def body(**fields: Any) -> bytes:
    asked = {"model": "auto", "messages": [{"role": "user", "content": "What will the weather in Oslo be tomorrow?"}]}
    return json.dumps({**asked, **fields}).encode()


def said(text: str | None = None, *calls: tuple[str, dict[str, Any] | str], finish: str = "", **choice: Any) -> bytes:
    """A whole chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": _arguments(arguments)}}
            for i, (name, arguments) in enumerate(calls)
        ]
    reason = finish or ("tool_calls" if calls else "stop")
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": reason, **choice}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    ).encode()


def _arguments(value: dict[str, Any] | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def streamed(*texts: str, finish: str | None = "stop", first: dict[str, Any] | None = None) -> tuple[bytes, ...]:
    """A chat completion as chunks, one event each."""
    deltas: list[dict[str, Any]] = [first] if first is not None else []
    deltas += [{"content": text} for text in texts]
    chunks = [_event({"delta": delta, "finish_reason": None}) for delta in deltas]
    if finish is not None:
        chunks += [_event({"delta": {}, "finish_reason": finish}), b"data: [DONE]\n\n"]
    return tuple(chunks)


def _event(choice: dict[str, Any]) -> bytes:
    whole = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


WEATHER = said(None, ("get_weather", {"city": "Oslo"}))


class Rig:
    """`open` a call through a cascade. A target without scripts is not to be asked."""

    def __init__(
        self,
        *,
        cheap: Sequence[Script] = (),
        peer: Sequence[Script] | None = None,
        strong: Sequence[Script] = (),
        settings: CascadeTable | None = None,
        store: Comparisons | None = None,
        draw: float = 0.99,
        more: dict[str, Sequence[Script]] | None = None,
    ) -> None:
        scripts = {"cheap": cheap, "strong": strong, **(more or {})}
        if peer is not None:
            scripts["peer"] = peer
        self.targets = {name: ScriptedBackend(*found) for name, found in scripts.items()}
        self.has_peer = peer is not None
        self.clock = FakeClock()
        self.draw = draw
        self.cascade = Cascade(
            AskLogprobs(Dispatch(self.targets)),
            self.clock,
            settings=settings,
            store=store,
            cost=lambda charge: _PRICES[charge.provider],
            uniform=lambda: self.draw,
        )

    def call(self, raw: bytes, *, strong: Sequence[str] = ("strong",), task: str = "", **fields: Any) -> Call:
        peer = target("peer") if self.has_peer else None
        rungs = Rungs(tuple(map(target, strong)), peer, task)
        made = make_call(raw, provider="cheap", model="cheap-1", **fields)
        routed = Step("routing", Verdict.ACCEPTED, saving=70)
        return msgspec.structs.replace(made, rungs=rungs, trail=(routed,))

    async def open(self, raw: bytes, **fields: Any) -> Reply:
        return await self.cascade.open(self.call(raw, **fields))

    async def ask(self, raw: bytes, **fields: Any) -> tuple[bytes, Reply]:
        """The body that the caller gets, and its reply, ended."""
        async with await self.open(raw, **fields) as reply:
            content = await reply.read()
        return content, reply

    def asked(self, name: str) -> int:
        return len(self.targets[name].calls)

    @property
    def open_replies(self) -> int:
        return sum(len(backend.replies) - backend.closed for backend in self.targets.values())


_PRICES = {"cheap": 1, "peer": 2, "strong": 100, "middle": 30}


def billed(reply: Reply) -> list[str]:
    assert reply.done is not None
    return [charge.provider for charge in reply.done.charges]


def why(reply: Reply) -> str:
    return " | ".join(f"{step.optimizer}: {step.why}" for step in reply.notes)


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to pass")
