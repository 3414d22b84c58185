"""A call to a tool that the caller did not offer never reaches it: whole and streamed, in three protocols."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.offered_tools import OfferedTools
from pennyweight.call import Call, Step, Verdict
from pennyweight.errors import StreamCut, Unreachable
from pennyweight.request import Charge, Edit, Reply, Request, Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.wire import codec
from pennyweight.wire.recall_tool import with_tool

WIRES = [Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES]
SAVING = 1_000


def tools(wire: Wire, *names: str) -> list[dict[str, Any]]:
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return [{"name": name, "input_schema": {}} for name in names]
        case Wire.OPENAI_CHAT:
            return [{"type": "function", "function": {"name": name}} for name in names]
        case _:
            return [{"type": "function", "name": name} for name in names]


def lent(wire: Wire, *, stream: bool = False, own: tuple[str, ...] = ("read",)) -> Call:
    """A call that is sent with one tool more than its caller offers."""
    said = "input" if wire is Wire.OPENAI_RESPONSES else "messages"
    body = {"model": "m", "tools": tools(wire, *own), said: [{"role": "user", "content": "hi"}], "stream": stream}
    made = make_call(msgspec.json.encode(body), wire=wire, headers=(("accept-encoding", "gzip"),))
    request = made.request.edit([Edit(("tools",), tools(wire, *own, "openclaw"))])
    return msgspec.structs.replace(made, request=request).note(Step("heartbeat", Verdict.ACCEPTED, saving=SAVING))


def answer(wire: Wire, *calls: str, text: str = "ok", arguments: str = "{}") -> bytes:
    made = tuple(shapes.ToolCall(f"toolu_{name}", name, arguments) for name in calls)
    return msgspec.json.encode(shapes.body_of(wire, shapes.Turn(text, made), model="m", number=1))


def script(wire: Wire, body: bytes, *, stream: bool = False, **more: Any) -> Script:
    if stream:
        return Script(chunks=tuple(codec(wire).unfold(body)), **more)
    return Script(content=body, **more)


class House:
    def __init__(self, *scripts: Script) -> None:
        self.upstream = ScriptedBackend(*scripts)
        self.clock = FakeClock()
        self.guard = OfferedTools(self.upstream, self.clock, cost=_cost)

    def ask(self, call: Call) -> tuple[Reply, bytes]:
        return asyncio.run(self._ask(call))

    async def _ask(self, call: Call) -> tuple[Reply, bytes]:
        async with await self.guard.open(call) as reply:
            body = await reply.read()
        return reply, body


def _cost(charge: Charge) -> int:
    return charge.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_that_keeps_to_the_offer_passes_as_it_came(wire: Wire, stream: bool) -> None:
    body = answer(wire, "read")
    house = House(script(wire, body, stream=stream))
    reply, got = house.ask(lent(wire, stream=stream))
    assert got == (b"".join(codec(wire).unfold(body)) if stream else body)
    assert len(house.upstream.calls) == 1
    assert reply.notes == []
    assert reply.done is not None
    assert len(reply.done.charges) == 1
    assert house.upstream.closed == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", WIRES)
def test_a_call_that_was_not_offered_is_asked_again_as_the_caller_wrote_it(wire: Wire, stream: bool) -> None:
    bad, good = answer(wire, "read", "openclaw"), answer(wire, text="nothing to do")
    house = House(script(wire, bad, stream=stream), script(wire, good, stream=stream))
    call = lent(wire, stream=stream)
    reply, got = house.ask(call)
    assert got == (b"".join(codec(wire).unfold(good)) if stream else good)
    assert b"openclaw" not in got
    assert house.upstream.calls[1].request.raw == call.original.raw
    assert house.upstream.closed == 2
    assert reply.done is not None
    assert len(reply.done.charges) == 2  # both were billed
    (note,) = reply.notes
    assert note.optimizer == "offered_tools"
    assert note.saving == -SAVING - 10  # nothing was saved, and an answer was paid for in vain
    assert "openclaw" in note.why


def test_a_call_through_the_dispatcher_is_seen() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    bad = answer(wire, "tool_call", arguments='{"id":"openclaw"}')
    house = House(script(wire, bad, stream=True), script(wire, answer(wire), stream=True))
    _, got = house.ask(lent(wire, stream=True, own=("read", "tool_call")))
    assert b"openclaw" not in got
    assert len(house.upstream.calls) == 2


def test_a_tool_that_is_only_listed_is_seen() -> None:
    """Tools are the same, but the instructions list one more for the dispatcher."""
    body = {
        "model": "m",
        "system": "- ask_user (core): Ask.",
        "tools": tools(Wire.ANTHROPIC_MESSAGES, "tool_call"),
        "messages": [{"role": "user", "content": "hi"}],
    }
    made = make_call(msgspec.json.encode(body), wire=Wire.ANTHROPIC_MESSAGES)
    request = made.request.edit([Edit(("system",), "- ask_user (core): Ask.\n- gateway (core): Restart.")])
    bad = answer(Wire.ANTHROPIC_MESSAGES, "tool_call", arguments='{"id":"gateway"}')
    house = House(Script(content=bad), Script(content=answer(Wire.ANTHROPIC_MESSAGES)))
    _, got = house.ask(msgspec.structs.replace(made, request=request))
    assert b"gateway" not in got


@pytest.mark.parametrize(
    "whole",
    [b"<html>", b'{"content":[', b"\xff"],
)
def test_an_answer_that_cannot_be_read_is_asked_again(whole: bytes) -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(Script(content=whole), Script(content=answer(wire)))
    assert house.ask(lent(wire))[1] == answer(wire)


def test_a_compressed_answer_is_not_trusted() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(
        Script(content=answer(wire, "openclaw"), headers=(("content-encoding", "br"),)), Script(content=answer(wire))
    )
    assert house.ask(lent(wire))[1] == answer(wire)
    assert house.upstream.calls[0].request.header("accept-encoding") is None


def test_a_refusal_goes_back_as_it_is() -> None:
    house = House(Script(status=429, content=b'{"error":{}}'))
    reply, got = house.ask(lent(Wire.ANTHROPIC_MESSAGES))
    assert (reply.status, got) == (429, b'{"error":{}}')
    assert len(house.upstream.calls) == 1


def test_a_stream_that_is_cut_shows_nothing_of_itself() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    chunks = codec(wire).unfold(answer(wire, "openclaw"))[:4]
    house = House(Script(chunks=tuple(chunks), cut=StreamCut("cut")))

    seen: list[bytes] = []

    async def main() -> None:
        async with await house.guard.open(lent(wire, stream=True)) as reply:
            assert reply.chunks is not None
            seen.extend([chunk async for chunk in reply.chunks])

    with pytest.raises(StreamCut):
        asyncio.run(main())
    assert not seen
    assert house.upstream.closed == 1


@pytest.mark.parametrize("second", [Script(error=Unreachable("down")), Script(status=529, content=b"{}")])
def test_asked_again_in_vain_is_a_cut_stream(second: Script) -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(script(wire, answer(wire, "openclaw"), stream=True), second)
    with pytest.raises(StreamCut):
        house.ask(lent(wire, stream=True))


def test_a_caller_who_leaves_stops_the_upstream() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(script(wire, answer(wire, "openclaw"), stream=True))

    async def main() -> Reply:
        async with await house.guard.open(lent(wire, stream=True)) as reply:
            return reply

    reply = asyncio.run(main())
    assert house.upstream.closed == 1
    assert reply.done is not None
    assert not reply.done.complete


def test_a_held_stream_shows_that_it_lives() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    chunks = tuple(codec(wire).unfold(answer(wire, "read")))
    gates = tuple(asyncio.Event() for _ in chunks)
    house = House(Script(chunks=chunks, before_chunks=gates))

    async def main() -> bytes:
        async with await house.guard.open(lent(wire, stream=True)) as reply:
            reading = asyncio.create_task(reply.read())
            for gate in gates:
                await asyncio.sleep(0)
                house.clock.advance(4.0)
                gate.set()
            return await reading

    got = asyncio.run(main())
    assert got.count(b": \n\n") == len(chunks) // 2
    assert got.replace(b": \n\n", b"") == b"".join(chunks)
    assert codec(wire).fold(got) == codec(wire).fold(b"".join(chunks))


def test_calls_with_their_own_tools_are_not_touched() -> None:
    house = House(Script(content=answer(Wire.OPENAI_CHAT, "anything")))
    plain = make_call()
    rewritten = msgspec.structs.replace(plain, request=plain.request.edit([Edit(("temperature",), 0)]))
    fewer = lent(Wire.OPENAI_CHAT)
    fewer = msgspec.structs.replace(fewer, original=fewer.request, request=fewer.original)
    for call in (plain, rewritten, fewer):
        assert house.guard.open(call).__name__ == "open"
        reply, _ = house.ask(call)
        assert reply is house.upstream.replies[-1]


def test_a_body_that_cannot_be_read_is_not_its_business() -> None:
    house = House(Script(content=b"{}"))
    made = make_call(b"[")
    made = msgspec.structs.replace(made, request=Request(Wire.OPENAI_CHAT, b"{"))
    assert house.ask(made)[1] == b"{}"


def test_usage_without_a_charge_stays_unknown() -> None:
    wire = Wire.OPENAI_CHAT
    house = House(Script(content=answer(wire, "openclaw"), usage=None), Script(content=answer(wire), usage=Usage(7, 0)))
    reply, _ = house.ask(lent(wire))
    assert reply.done is not None
    assert [charge.usage.input_tokens for charge in reply.done.charges] == [7]


@pytest.mark.parametrize("wire", WIRES)
def test_the_tool_that_the_gateway_answers_is_no_reason_to_hold_an_answer(wire: Wire) -> None:
    made = lent(wire)
    offered = made.original.edit(with_tool(made.original) or ())
    body = answer(wire, "recall")
    house = House(script(wire, body))
    reply, got = house.ask(made.sending(offered))
    assert got == body, "who put it there takes the call out"
    assert reply is house.upstream.replies[0]


@pytest.mark.parametrize("wire", WIRES)
def test_beside_the_tool_of_the_gateway_others_are_guarded_all_the_same(wire: Wire) -> None:
    made = lent(wire, stream=True)
    made = made.sending(made.request.edit(with_tool(made.request) or ()))
    ours = script(wire, answer(wire, "recall"), stream=True)
    assert House(ours).ask(made)[1] == b"".join(ours.chunks or ())
    house = House(script(wire, answer(wire, "openclaw"), stream=True), script(wire, answer(wire), stream=True))
    _, got = house.ask(made)
    assert b"openclaw" not in got
