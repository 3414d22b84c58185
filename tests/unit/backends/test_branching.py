"""Calls that follow another of their template while its answer is still on its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from pennyweight.backends.coalesce import Coalesce
from pennyweight.backends.fusing.branching import Branching
from pennyweight.call import Call, Outcome
from pennyweight.errors import StreamCut
from pennyweight.optimizers.templates import Settings, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.request import Charge, Done, Reply, Request, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractParts
from pennyweight.wire import codec
from pennyweight.wire.answers import only_text

USAGE = Usage(input_tokens=20, output_tokens=10)
KNOWN = ["EECS", "MATH", "PHYS", "CHEM", "BIOLOGY", "LAW", "AERO"]


def says(name: str) -> str:
    return json.dumps({"about": name, "text": f"we think {name} is hard"})


def body(name: str, wire: Wire, *, stream: bool = True) -> bytes:
    question = [{"role": "user", "content": f"Is {name} hard to pass?"}]
    made: dict[str, Any] = {"model": "m", "stream": stream}
    made |= {"options": {"temperature": 0}} if wire is Wire.OLLAMA else {"temperature": 0}
    made["input" if wire is Wire.OPENAI_RESPONSES else "messages"] = question
    return json.dumps(made).encode()


def answer(wire: Wire, text: str) -> bytes:
    """A whole answer in that protocol."""
    match wire:
        case Wire.OPENAI_CHAT:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            made: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "choices": [choice]}
        case Wire.ANTHROPIC_MESSAGES:
            made = {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
            made |= {
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 20, "output_tokens": 9},
            }
        case Wire.OPENAI_RESPONSES:
            part = {"type": "output_text", "text": text, "annotations": []}
            item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}
            made = {"id": "r", "object": "response", "created_at": 1, "status": "completed", "output": [item]}
        case Wire.OLLAMA:
            message = {"role": "assistant", "content": text}
            made = {"created_at": "2026-01-01T00:00:00Z", "message": message, "done": True, "done_reason": "stop"}
    return json.dumps({"model": "m"} | made).encode()


class Model:
    """Says what `says` makes of the question. A name in `gates` waits in the middle of its stream."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.says: Callable[[str], str] = says
        self.asked: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.closed: list[str] = []

    async def open(self, call: Call) -> Reply:
        sent = call.request.body
        name = (sent.get("messages") or sent["input"])[-1]["content"].split()[1]
        self.asked.append(name)
        raw = answer(self.wire, self.says(name))
        done = Done(USAGE, codec(self.wire).read(raw).finish_reason, (Charge("p", "m", USAGE, 1.0),))

        async def close() -> None:
            self.closed.append(name)
            reply.done = done

        if not call.request.stream:
            if name in self.gates:
                await self.gates[name].wait()
            reply = Reply(200, (), wire=self.wire, content=raw, done=done)
        else:
            reply = Reply(200, (), wire=self.wire, chunks=self._stream(raw, name), close=close)
        return reply

    async def _stream(self, raw: bytes, name: str):  # type: ignore[no-untyped-def]
        whole = b"".join(_in_letters(self.wire, raw))
        at = len(whole) // 2
        for start in range(0, at, 7):
            yield whole[start : min(start + 7, at)]
        if name in self.gates:
            await self.gates[name].wait()
        for start in range(at, len(whole), 7):
            yield whole[start : start + 7]


def _in_letters(wire: Wire, raw: bytes) -> list[bytes]:
    """A stream with few letters in each event, so that a name is in several of them."""
    chunks = codec(wire).unfold(raw, include_usage=False)
    found = only_text(wire, raw)
    assert found is not None
    quoted = json.dumps(found[0])[1:-1].encode()
    out = []
    for chunk in chunks:
        if wire is Wire.OPENAI_RESPONSES and b".delta" not in chunk:
            out.append(chunk)
            continue
        if quoted not in chunk:
            out.append(chunk)
            continue
        text = found[0]
        out += [chunk.replace(quoted, json.dumps(text[i : i + 3])[1:-1].encode()) for i in range(0, len(text), 3)]
    return out


class House:
    """A gateway's middle, in which what was learnt of templates is there and no stored answer is fresh."""

    def __init__(self, wire: Wire = Wire.OPENAI_CHAT) -> None:
        self.wire = wire
        self.model = Model(wire)
        parts = ContractParts(FakeClock())
        self.templates = build(Settings(audit=0.0), parts)
        self.clock = parts.clock
        self.kv = parts.kv
        self.outcomes: list[Outcome] = []
        self.coalesce = Coalesce(self.model, branching=Branching(parts.kv))
        self.pipeline = Pipeline(
            [(self.templates, Flag("on"))], self.coalesce, submit=self.outcomes.append, clock=parts.clock
        )
        self.number = 0

    def call(self, name: str, *, stream: bool = True, **more: Any) -> Call:
        self.number += 1
        path = {Wire.OPENAI_RESPONSES: "/v1/responses", Wire.ANTHROPIC_MESSAGES: "/v1/messages"}.get(self.wire, "/x")
        settings = {"call_id": f"c{self.number}", "optimize": "max"} | more
        return make_call(body(name, self.wire, stream=stream), wire=self.wire, path=path, **settings)

    async def learn(self, *, stream: bool = True) -> None:
        for name in KNOWN:
            await end(await self.coalesce.open(call := self.call(name, stream=stream)))
            raw = answer(self.wire, says(name))
            from pennyweight.request import Response

            done = Done(USAGE, codec(self.wire).read(raw).finish_reason, (Charge("p", "m", USAGE, 1.0),))
            outcome = Outcome(call, done, 200, "p", response=Response(self.wire, raw, done))
            await self.templates.settle(outcome)
        self.clock.advance(7200.0)  # type: ignore[attr-defined]
        self.model.asked.clear()
        self.model.closed.clear()


async def end(reply: Reply) -> bytes:
    try:
        return await reply.read()
    finally:
        await reply.aclose()


def text_of(wire: Wire, raw: bytes, *, stream: bool = True) -> str:
    found = only_text(wire, codec(wire).fold(raw) if stream else raw)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("wire", list(Wire))
def test_a_follower_has_its_own_values_live(wire: Wire) -> None:
    async def run() -> None:
        house = House(wire)
        await house.learn()
        gate = house.model.gates["GEOLOGY"] = asyncio.Event()
        leader = await house.pipeline.open(house.call("GEOLOGY"))
        follower = await house.pipeline.open(house.call("HIST"))
        assert follower.chunks is not None
        stream = aiter(follower.chunks)
        got = b""
        while b"HI" not in got and b"H" not in got.replace(b"HTTP", b""):
            got += await asyncio.wait_for(anext(stream), 60)
        assert b"GEO" not in got
        gate.set()
        got += b"".join([chunk async for chunk in stream])
        await follower.aclose()
        assert text_of(wire, got) == says("HIST")
        assert text_of(wire, await end(leader)) == says("GEOLOGY")
        assert house.model.asked == ["GEOLOGY"]
        assert [len(r.done.charges) for r in (leader, follower) if r.done is not None] == [1, 0]
        assert "values" in follower.notes[-1].why

    asyncio.run(run())


@pytest.mark.parametrize("wire", list(Wire))
def test_a_whole_answer_is_filled_too(wire: Wire) -> None:
    async def run() -> None:
        house = House(wire)
        await house.learn(stream=False)
        gate = house.model.gates["GEOLOGY"] = asyncio.Event()
        opening = [
            asyncio.create_task(house.pipeline.open(house.call(name, stream=False))) for name in ("GEOLOGY", "HIST")
        ]
        await asyncio.sleep(0.05)
        gate.set()
        leader, follower = await asyncio.gather(*opening)
        texts = [text_of(wire, await end(reply), stream=False) for reply in (leader, follower)]
        assert texts == [says("GEOLOGY"), says("HIST")]
        assert house.model.asked == ["GEOLOGY"]

    asyncio.run(run())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "leads",
    [
        lambda name: says(name)[:-1] + ', "x": 7}' if name == "GEOLOGY" else says(name),  # a number that is new
        lambda name: says(name).replace("hard", "GEOLOGYX") if name == "GEOLOGY" else says(name),  # a longer word
        lambda name: says(name).replace("hard", "geology") if name == "GEOLOGY" else says(name),  # made from it
    ],
)
def test_in_doubt_the_follower_is_asked_by_itself(leads: Callable[[str], str], stream: bool) -> None:
    async def run() -> None:
        house = House()
        await house.learn(stream=stream)
        house.model.says = leads
        gate = house.model.gates["GEOLOGY"] = asyncio.Event()
        leading = asyncio.create_task(house.pipeline.open(house.call("GEOLOGY", stream=stream)))
        await asyncio.sleep(0.05)
        following = asyncio.create_task(house.pipeline.open(house.call("HIST", stream=stream)))
        await asyncio.sleep(0.05)
        gate.set()
        follower, leader = await following, await leading
        assert text_of(Wire.OPENAI_CHAT, await end(follower), stream=stream) == leads("HIST")
        assert text_of(Wire.OPENAI_CHAT, await end(leader), stream=stream) == leads("GEOLOGY")
        assert house.model.asked == ["GEOLOGY", "HIST"]
        assert [len(r.done.charges) for r in (leader, follower) if r.done is not None] == [1, 1]

    asyncio.run(run())


def test_an_own_answer_that_says_something_else_is_cut_and_not_mixed() -> None:
    async def run() -> None:
        house = House()
        await house.learn()
        house.model.says = lambda name: says(name)[:-1] + ', "x": 7}' if name == "GEOLOGY" else "no: " + says(name)
        gate = house.model.gates["GEOLOGY"] = asyncio.Event()
        leader = await house.pipeline.open(house.call("GEOLOGY"))
        follower = await house.pipeline.open(house.call("HIST"))
        asyncio.get_running_loop().call_later(0.05, gate.set)
        with pytest.raises(StreamCut, match="something else"):
            await end(follower)
        await end(leader)

    asyncio.run(run())


def test_when_the_leader_leaves_its_follower_stays_and_pays() -> None:
    async def run() -> None:
        house = House()
        await house.learn()
        gate = house.model.gates["GEOLOGY"] = asyncio.Event()
        leader = await house.pipeline.open(house.call("GEOLOGY"))
        follower = await house.pipeline.open(house.call("HIST"))
        assert follower.chunks is not None
        stream = aiter(follower.chunks)
        got = await anext(stream)
        await leader.aclose()
        gate.set()
        got += b"".join([chunk async for chunk in stream])
        await follower.aclose()
        assert text_of(Wire.OPENAI_CHAT, got) == says("HIST")
        assert [len(r.done.charges) for r in (leader, follower) if r.done is not None] == [0, 1]

    asyncio.run(run())


@pytest.mark.parametrize(
    "more", [{"tenant": "other"}, {"optimize": "safe"}, {"headers": (("anthropic-beta", "x"),)}, {"model": "n"}]
)
def test_never_where_anything_else_differs(more: dict[str, Any]) -> None:
    async def run() -> None:
        house = House()
        await house.learn()
        leader = await house.pipeline.open(house.call("GEOLOGY"))
        follower = await house.pipeline.open(house.call("HIST", **more))
        assert house.model.asked == ["GEOLOGY", "HIST"] or await _begun(house)
        await asyncio.gather(end(leader), end(follower))

    asyncio.run(run())


async def _begun(house: House) -> bool:
    await asyncio.sleep(0.05)
    return house.model.asked == ["GEOLOGY", "HIST"]


def test_without_evidence_everybody_asks() -> None:
    async def run() -> None:
        house = House()
        leader = await house.pipeline.open(house.call("GEOLOGY"))
        follower = await house.pipeline.open(house.call("HIST"))
        assert [text_of(Wire.OPENAI_CHAT, await end(r)) for r in (leader, follower)] == [says("GEOLOGY"), says("HIST")]
        assert house.model.asked == ["GEOLOGY", "HIST"]

    asyncio.run(run())


def test_the_template_of_a_call_is_that_of_the_optimizer() -> None:
    async def run() -> None:
        house = House()
        await house.learn()
        template = Branching(house.kv).template(house.call("HIST"))
        assert template is not None
        assert template.key in house.kv.data
        assert isinstance(house.call("HIST").original, Request)

    asyncio.run(run())
