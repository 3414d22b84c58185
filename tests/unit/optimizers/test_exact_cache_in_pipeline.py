"""The cache in its place: a streamed answer is kept, and comes back streamed or whole, in each protocol."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.effort import within

from pennyweight.backends.coalesce import Coalesce
from pennyweight.call import Answer, Call, Optimize, Outcome, Proposal, Verdict
from pennyweight.errors import StreamCut
from pennyweight.optimizers.exact_cache import Settings, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag, Mode
from pennyweight.request import Done, Response, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractParts

CHAT = b'{"model":"m","temperature":0,%s"messages":[{"role":"user","content":"hi"}]}'
CHAT_STREAM = (
    b'data: {"id":"r","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"Yes"},"finish_reason":null}]}\n\n',
    b'data: {"id":"r","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
)
WHOLE = {
    "id": "r",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}],
}
ANTHROPIC = b'{"model":"m","max_tokens":9,"temperature":0,%s"messages":[{"role":"user","content":"hi"}]}'
ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"r","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"Yes"}}\n\nevent: content_block_stop\ndata: '
    b'{"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


class House:
    """A pipeline with the cache, over sharing in flight, over a scripted upstream."""

    def __init__(self, script: Script, *, mode: Mode = "on") -> None:
        self.upstream = ScriptedBackend(script)
        self.outcomes: list[Outcome] = []
        cache = build(Settings(), ContractParts())
        self.pipeline = Pipeline(
            [(cache, Flag(mode))], Coalesce(self.upstream), submit=self.outcomes.append, clock=FakeClock()
        )

    async def ask(self, call: Call) -> bytes:
        async with await self.pipeline.open(call) as reply:
            body = await reply.read()
        await self.pipeline.settle(self.outcomes[-1])
        return body


@pytest.mark.parametrize(
    ("wire", "body", "stream"),
    [(Wire.OPENAI_CHAT, CHAT, CHAT_STREAM), (Wire.ANTHROPIC_MESSAGES, ANTHROPIC, ANTHROPIC_STREAM)],
)
def test_a_streamed_answer_comes_back_whole_and_streamed(wire: Wire, body: bytes, stream: tuple[bytes, ...]) -> None:
    async def run() -> None:
        house = House(Script(chunks=stream, usage=Usage(input_tokens=10, output_tokens=5)))
        first = await house.ask(make_call(body % b'"stream":true,', wire=wire))
        assert first == b"".join(stream)
        whole = msgspec.json.decode(await house.ask(make_call(body % b"", wire=wire)))
        assert b"Yes" in msgspec.json.encode(whole)
        again = await house.ask(make_call(body % b'"stream":true,', wire=wire))
        assert again.count(b"Yes") == 1
        assert again.endswith(first[-20:])
        assert len(house.upstream.calls) == 1
        paid, *replayed = house.outcomes
        assert len(paid.done.charges) == 1
        for outcome in replayed:
            assert outcome.answered_by == "exact_cache"
            assert outcome.done.charges == ()
            assert outcome.done.usage == Usage(input_tokens=10, output_tokens=5)
            assert outcome.call.trail[-1].verdict is Verdict.ACCEPTED

    asyncio.run(run())


@pytest.mark.parametrize(("optimize", "mode"), [("off", "on"), ("safe", "off"), ("safe", "shadow")])
def test_where_it_may_not_act_every_call_is_asked(optimize: Optimize, mode: Mode) -> None:
    async def run() -> None:
        house = House(Script(chunks=CHAT_STREAM), mode=mode)
        for _ in range(2):
            await house.ask(make_call(CHAT % b'"stream":true,', optimize=optimize))
        assert len(house.upstream.calls) == 2
        verdicts = [step.verdict for step in house.outcomes[1].call.trail]
        assert verdicts == ([Verdict.SHADOWED] if mode == "shadow" else [])

    asyncio.run(run())


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("value", "asked", "kept"),
    [("no-cache", 2, True), ("no-store", 1, True), ("max-age=0", 2, True), ("max-age=60", 1, True)],
)
def test_callers_say_what_they_take_and_leave(value: str, asked: int, kept: bool, streamed: bool) -> None:
    body = CHAT % (b'"stream":true,' if streamed else b"")
    script = Script(chunks=CHAT_STREAM) if streamed else Script(content=msgspec.json.encode(WHOLE))

    async def run() -> None:
        house = House(script)
        await house.ask(make_call(body))
        await house.ask(make_call(body, headers=(("cache-control", value),)))
        assert len(house.upstream.calls) == asked
        await house.ask(make_call(body))
        assert len(house.upstream.calls) == asked, "the fresh answer was kept"

    asyncio.run(run())


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_that_forbids_keeping_is_obeyed(streamed: bool) -> None:
    body = CHAT % (b'"stream":true,' if streamed else b"")
    script = Script(chunks=CHAT_STREAM) if streamed else Script(content=msgspec.json.encode(WHOLE))

    async def run() -> None:
        house = House(script)
        for _ in range(2):
            await house.ask(make_call(body, headers=(("cache-control", "no-store"),)))
        assert len(house.upstream.calls) == 2

    asyncio.run(run())


def test_a_stream_of_50_mb_passes_unkept_and_unfolded() -> None:
    piece = CHAT_STREAM[0].replace(b"Yes", b"x" * 100_000)

    async def run() -> None:
        house = House(Script(chunks=(*[piece] * 500, CHAT_STREAM[1])))
        call = make_call(CHAT % b'"stream":true,')
        async with await house.pipeline.open(call) as reply:
            assert reply.chunks is not None
            async for _chunk in reply.chunks:
                pass
        await house.pipeline.settle(house.outcomes[-1])
        assert house.outcomes[-1].response is None
        assert house.outcomes[-1].done.complete

    assert within(0.5, lambda: asyncio.run(run()))


def test_a_cut_stream_is_not_kept() -> None:
    async def run() -> None:
        house = House(Script(chunks=CHAT_STREAM[:1], cut=StreamCut("cut")))
        for _ in range(2):
            with pytest.raises(StreamCut):
                await house.ask(make_call(CHAT % b'"stream":true,'))
            await house.pipeline.settle(house.outcomes[-1])
        assert len(house.upstream.calls) == 2

    asyncio.run(run())


def test_an_entry_that_cannot_be_replayed_is_a_miss() -> None:
    class Poisoned:
        name = "poisoned"

        async def propose(self, call: Call) -> Proposal:
            return Proposal(Answer(Response(Wire.OPENAI_CHAT, b"data: no JSON", Done())), saving=1, level="safe")

        async def settle(self, outcome: Outcome) -> None:
            pass

        def wants_response(self, call: Call) -> bool:
            return False

    async def run() -> None:
        outcomes: list[Outcome] = []
        upstream = ScriptedBackend(Script(chunks=CHAT_STREAM))
        pipeline = Pipeline([(Poisoned(), Flag())], upstream, submit=outcomes.append, clock=FakeClock())
        async with await pipeline.open(make_call(CHAT % b'"stream":true,')) as reply:
            assert await reply.read() == b"".join(CHAT_STREAM)
        assert (len(upstream.calls), len(outcomes)) == (1, 1)
        assert [(step.verdict, step.saving) for step in outcomes[0].call.trail] == [(Verdict.FAILED, 0)]

    asyncio.run(run())
