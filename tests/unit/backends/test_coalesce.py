from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import suppress
from hashlib import blake2b

import msgspec
import pytest

from pennyweight.backends.coalesce import Coalesce, share_key
from pennyweight.call import Call, Credential, Verdict
from pennyweight.errors import (
    AuthFailed,
    ContextTooLong,
    Overloaded,
    RateLimited,
    StreamCut,
    Unreachable,
    UpstreamTimeout,
)
from pennyweight.request import Operation, Reply, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock

STEADY = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}'
SEEDED = b'{"model":"m","seed":0,"messages":[]}'
SAMPLED = b'{"model":"m","temperature":0.7,"messages":[]}'


@pytest.mark.parametrize(
    "call",
    [
        make_call(SAMPLED),
        make_call(b'{"model":"m","messages":[]}'),
        make_call(SAMPLED, headers=(("x-stainless-retry-count", "1"),)),
        make_call(STEADY, optimize="off"),
        make_call(STEADY, operation=Operation.OTHER),
        make_call(b"broken"),
        make_call(STEADY, wire=Wire.OLLAMA),  # its sampling fields are in `options`
        make_call(b'{"model":"m","temperature":0,"n":2,"messages":[]}'),  # several answers to one question
        make_call(STEADY, headers=(("x-pennyweight-fuse", "off"),)),
        make_call(STEADY, headers=(("x-pennyweight-fuse", "perhaps"),)),
    ],
)
def test_calls_that_are_never_shared(call: Call) -> None:
    assert share_key(call) is None


@pytest.mark.parametrize(
    "call",
    [
        make_call(STEADY),
        make_call(STEADY, optimize="max"),
        make_call(SEEDED),
        make_call(SAMPLED, headers=(("idempotency-key", "k"),)),
        make_call(SAMPLED, headers=(("x-pennyweight-fuse", "all"),)),
        make_call(b'{"model":"m","n":3,"messages":[]}', headers=(("x-pennyweight-fuse", " All"),)),
        make_call(b'{"model":"m","temperature":0,"n":1,"messages":[]}'),
        make_call(b'{"model":"m","input":"x"}', operation=Operation.EMBED),
        make_call(b'{"model":"m","messages":[]}', operation=Operation.COUNT),
        make_call(b'{"model":"m","options":{"temperature":0}}', wire=Wire.OLLAMA),
        make_call(b'{"model":"m","options":{"seed":3}}', wire=Wire.OLLAMA),
    ],
)
def test_calls_that_may_be_shared(call: Call) -> None:
    assert share_key(call) is not None


def test_what_keeps_two_calls_apart() -> None:
    calls = [
        make_call(STEADY),
        make_call(STEADY + b" "),
        make_call(STEADY, tenant="t"),
        make_call(STEADY, wire=Wire.ANTHROPIC_MESSAGES),
        make_call(STEADY, path="/v1/messages"),
        make_call(STEADY, query="beta=true"),
        make_call(STEADY, provider="q"),
        make_call(STEADY, model="n"),
        make_call(STEADY, credential=Credential("authorization", "Bearer one")),
        make_call(STEADY, credential=Credential("authorization", "Bearer two")),
        *(
            make_call(STEADY, headers=((name, "v"),))
            for name in (
                "anthropic-version",
                "anthropic-beta",
                "openai-beta",
                "openai-organization",
                "openai-project",
                "idempotency-key",
                "x-dashscope-workspace",
            )
        ),
        make_call(STEADY, headers=(("anthropic-beta", "w"),)),
        make_call(STEADY, headers=(("anthropic-beta", "v"), ("anthropic-beta", "w"))),
        make_call(STEADY, headers=(("anthropic-beta", "w"), ("anthropic-beta", "v"))),
    ]
    keys = [share_key(call) for call in calls]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_what_does_not() -> None:
    trace = (("user-agent", "u"), ("x-stainless-retry-count", "1"), ("traceparent", "t"), ("x-session-id", "s"))
    same = make_call(STEADY, headers=trace, session="s", call_id="c2", at=5.0, optimize="max")
    assert share_key(same) == share_key(make_call(STEADY))


def test_a_route_decides_which_calls_share_and_the_header_goes_before_it() -> None:
    assert share_key(make_call(SAMPLED), "all") is not None
    assert share_key(make_call(STEADY), "off") is None
    assert share_key(make_call(SAMPLED, headers=(("x-pennyweight-fuse", "repeatable"),)), "all") is None
    assert share_key(make_call(STEADY, headers=(("x-pennyweight-fuse", "repeatable"),)), "off") is not None
    assert share_key(make_call(SAMPLED, optimize="off"), "all") is None


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def _end(reply: Reply) -> bytes:
    try:
        return await reply.read()
    finally:
        await reply.aclose()


def _charges(*replies: Reply) -> list[int]:
    return [len(reply.done.charges) if reply.done is not None else -1 for reply in replies]


def test_a_whole_answer_is_shared_and_charged_once() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(content=b"yes", before_open=gate))
        coalesce = Coalesce(inner)
        tasks = [asyncio.create_task(coalesce.open(make_call(STEADY, call_id=f"c{n}"))) for n in range(3)]
        await _settle()
        gate.set()
        replies = await asyncio.gather(*tasks)
        assert [r.content for r in replies] == [b"yes"] * 3
        assert len(inner.calls) == 1
        assert _charges(*replies) == [1, 0, 0]
        for reply in replies:
            await reply.aclose()
        assert _charges(*replies) == [1, 0, 0]
        assert [r.done.usage.input_tokens for r in replies if r.done and r.done.usage] == [10, 10, 10]
        assert [len(r.notes) for r in replies] == [0, 1, 1]
        assert "c0" in replies[1].notes[0].why

    asyncio.run(run())


def test_after_the_end_a_new_call_asks_again() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=(b"a",)))
        coalesce = Coalesce(inner)
        await _end(await coalesce.open(make_call(STEADY)))
        await _end(await coalesce.open(make_call(STEADY)))
        assert len(inner.calls) == 2

    asyncio.run(run())


def test_a_follower_sees_the_stream_from_its_start_and_live() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(chunks=(b"a", b"b", b"c"), before_chunks=(None, None, gate)))
        coalesce = Coalesce(inner)
        first = await coalesce.open(make_call(STEADY))
        await _settle()
        second = await coalesce.open(make_call(STEADY))
        assert second.chunks is not None
        stream = aiter(second.chunks)
        assert [await anext(stream), await anext(stream)] == [b"a", b"b"]
        gate.set()
        assert await anext(stream) == b"c"
        assert await _end(first) == b"abc"
        await second.aclose()
        assert _charges(first, second) == [1, 0]
        assert (len(inner.calls), inner.closed) == (1, 1)

    asyncio.run(run())


def test_when_the_first_leaves_the_charge_passes_on() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(chunks=(b"a", b"b"), before_chunks=(None, gate)))
        coalesce = Coalesce(inner)
        first = await coalesce.open(make_call(STEADY))
        second = await coalesce.open(make_call(STEADY))
        await first.aclose()
        assert inner.closed == 0
        gate.set()
        assert await _end(second) == b"ab"
        assert _charges(first, second) == [0, 1]
        assert first.done is not None
        assert not first.done.complete

    asyncio.run(run())


def test_the_upstream_is_stopped_when_the_last_leaves_who_carries_the_bill() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=(b"a", b"b"), before_chunks=(None, asyncio.Event())))
        coalesce = Coalesce(inner)
        first, second = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(2)))
        await first.aclose()
        await second.aclose()
        assert inner.closed == 1
        assert _charges(first, second) == [0, 1]
        assert second.done is not None
        assert not second.done.complete

    asyncio.run(run())


def test_callers_that_leave_before_it_opens_cancel_it() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(before_open=asyncio.Event()), Script(content=b"new"))
        coalesce = Coalesce(inner)
        tasks = [asyncio.create_task(coalesce.open(make_call(STEADY))) for _ in range(2)]
        await _settle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await coalesce.open(make_call(STEADY))).content == b"new"

    asyncio.run(run())


def test_an_answer_without_usage_is_left_to_one_caller_to_count() -> None:
    async def run() -> None:
        class Telling(ScriptedBackend):
            async def open(self, call: Call) -> Reply:
                reply = await super().open(call)
                reply.output_text = lambda: "told so far"
                return reply

        coalesce = Coalesce(Telling(Script(chunks=(b"a",), usage=None)))
        first, second = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(2)))
        for reply in (first, second):
            await _end(reply)
        assert first.done is not None
        assert first.done.usage is None
        assert first.output_text is not None
        assert second.done is not None
        assert second.done.usage == Usage()

    asyncio.run(run())


async def _together(coalesce: Coalesce, count: int, gate: asyncio.Event) -> list[Reply | BaseException]:
    tasks = [asyncio.create_task(coalesce.open(make_call(STEADY, call_id=f"c{n}"))) for n in range(count)]
    await _settle()
    gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("waiters", [1, 2, 100])
@pytest.mark.parametrize("error", [Unreachable("x"), UpstreamTimeout("x")])
def test_the_first_ones_failure_is_not_that_of_those_who_waited(error: Exception, waiters: int) -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(error=error, before_open=gate), Script(content=b"yes"))
        first, *others = await _together(Coalesce(inner), waiters + 1, gate)
        assert type(first) is type(error)
        assert [o.content if isinstance(o, Reply) else o for o in others] == [b"yes"] * waiters
        assert len(inner.calls) == 2, "those who waited ask together"
        assert sorted(_charges(*[o for o in others if isinstance(o, Reply)])) == [0] * (waiters - 1) + [1]

    asyncio.run(run())


@pytest.mark.parametrize("waiters", [1, 2, 100])
def test_an_upstream_that_stays_down_is_asked_twice_and_no_more(waiters: int) -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(error=Unreachable("x"), before_open=gate))
        results = await _together(Coalesce(inner), waiters + 1, gate)
        assert [type(r) for r in results] == [Unreachable] * (waiters + 1)
        assert len(inner.calls) == 2

    asyncio.run(run())


@pytest.mark.parametrize("error", [RateLimited("x"), Overloaded("x"), AuthFailed("x"), ContextTooLong("x")])
def test_what_a_second_try_cannot_help_goes_to_all(error: Exception) -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(error=error, before_open=gate))
        results = await _together(Coalesce(inner), 100, gate)
        assert [type(r) for r in results] == [type(error)] * 100
        assert len(inner.calls) == 1

    asyncio.run(run())


def test_a_server_error_reaches_the_first_alone() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(status=500, content=b"oh", before_open=gate), Script(content=b"yes"))
        replies = [r for r in await _together(Coalesce(inner), 3, gate) if isinstance(r, Reply)]
        assert [(r.status, r.content) for r in replies] == [(500, b"oh"), (200, b"yes"), (200, b"yes")]
        assert _charges(*replies) == [0, 1, 0]

    asyncio.run(run())


@pytest.mark.parametrize("waiters", [1, 2, 100])
def test_the_first_one_giving_up_harms_nobody(waiters: int) -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(content=b"yes", before_open=gate))
        coalesce = Coalesce(inner)
        first = asyncio.create_task(coalesce.open(make_call(STEADY)))
        await _settle()
        others = [asyncio.create_task(coalesce.open(make_call(STEADY))) for _ in range(waiters)]
        await _settle()
        first.cancel()
        await _settle()
        gate.set()
        replies = await asyncio.gather(*others)
        assert [r.content for r in replies] == [b"yes"] * waiters
        assert len(inner.calls) == 1
        assert _charges(*replies) == [1] + [0] * (waiters - 1)

    asyncio.run(run())


def test_ten_thousand_callers_share_one_stream_in_bounded_memory() -> None:
    chunks = tuple(b"%04d" % n * 250 for n in range(6))

    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=chunks))
        coalesce = Coalesce(inner)
        calls = [make_call(STEADY, call_id=f"c{n}") for n in range(10_000)]

        async def one(call: Call) -> tuple[bytes, int]:
            reply = await coalesce.open(call)
            assert reply.chunks is not None
            digest = blake2b(digest_size=8)
            async for chunk in reply.chunks:
                digest.update(chunk)
            await reply.aclose()
            return digest.digest(), _charges(reply)[0]

        tracemalloc.start()
        answers = await asyncio.gather(*map(one, calls))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert {answer for answer, _ in answers} == {blake2b(b"".join(chunks), digest_size=8).digest()}
        assert sum(charge for _, charge in answers) == 1
        assert (len(inner.calls), inner.closed) == (1, 1)
        assert peak_bytes < 10_000 * 5_000, "5 kB a caller, which reads 6 kB"

    asyncio.run(run())


@pytest.mark.parametrize("buffer_bytes", [4 * 2**20, 2**16])
def test_a_stream_of_fifty_megabytes_goes_through_a_small_buffer(buffer_bytes: int) -> None:
    async def run() -> None:
        piece = bytes(2**16)
        coalesce = Coalesce(ScriptedBackend(Script(chunks=(piece,) * 800)), buffer_bytes=buffer_bytes)

        async def one(reply: Reply) -> int:
            assert reply.chunks is not None
            return sum([len(chunk) async for chunk in reply.chunks])

        replies = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(3)))
        flight = next(iter(coalesce._flying))
        kept: list[int] = []
        readers = [asyncio.create_task(one(reply)) for reply in replies]
        while not all(reader.done() for reader in readers):
            kept.append(flight._kept_bytes)
            await asyncio.sleep(0)
        assert [reader.result() for reader in readers] == [800 * 2**16] * 3
        assert max(kept) <= 2 * buffer_bytes + 2**16
        for reply in replies:
            await reply.aclose()
        assert _charges(*replies) == [1, 0, 0]

    asyncio.run(run())


def test_a_refusal_goes_to_all_verbatim() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        script = Script(status=429, headers=(("retry-after", "3"),), content=b"slow", before_open=gate)
        coalesce = Coalesce(ScriptedBackend(script))
        tasks = [asyncio.create_task(coalesce.open(make_call(STEADY))) for _ in range(2)]
        await _settle()
        gate.set()
        for reply in await asyncio.gather(*tasks):
            assert (reply.status, reply.headers, reply.content) == (429, (("retry-after", "3"),), b"slow")

    asyncio.run(run())


def test_a_cut_stream_looks_cut_to_all() -> None:
    async def run() -> None:
        coalesce = Coalesce(ScriptedBackend(Script(chunks=(b"a",), cut=StreamCut("cut"))))
        replies = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(2)))
        for reply in replies:
            with pytest.raises(StreamCut):
                await _end(reply)
        assert _charges(*replies) == [1, 0]

    asyncio.run(run())


def test_one_who_stops_reading_holds_up_nobody() -> None:
    async def run() -> None:
        chunks = tuple(b"x" * 10 for _ in range(100))
        coalesce = Coalesce(ScriptedBackend(Script(chunks=chunks)), buffer_bytes=50)
        reader, sleeper = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(2)))
        assert await _end(reader) == b"".join(chunks)
        with pytest.raises(StreamCut, match="too far behind"):
            await _end(sleeper)
        assert _charges(reader, sleeper) == [1, 0]

    asyncio.run(run())


def test_a_slow_caller_alone_holds_up_its_upstream_and_loses_nothing() -> None:
    async def run() -> None:
        taken: list[int] = []
        chunks = tuple(b"x" * 10 for _ in range(100))

        class Counting(ScriptedBackend):
            async def open(self, call: Call) -> Reply:
                reply = await super().open(call)
                inner = reply.chunks
                assert inner is not None

                async def counted():  # type: ignore[no-untyped-def]
                    async for chunk in inner:
                        taken.append(1)
                        yield chunk

                reply.chunks = counted()
                return reply

        coalesce = Coalesce(Counting(Script(chunks=chunks)), buffer_bytes=50)
        reply = await coalesce.open(make_call(STEADY))
        await _settle()
        assert len(taken) <= 6
        assert await _end(reply) == b"".join(chunks)

    asyncio.run(run())


def test_one_chunk_larger_than_the_buffer_cuts_nobody() -> None:
    async def run() -> None:
        coalesce = Coalesce(ScriptedBackend(Script(chunks=(b"x" * 1000, b"y"))), buffer_bytes=10)
        replies = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(3)))
        assert await asyncio.gather(*(_end(r) for r in replies)) == [b"x" * 1000 + b"y"] * 3

    asyncio.run(run())


def test_one_chunk_behind_is_never_too_far() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        script = Script(chunks=(b"x" * 1000, b"y"), before_chunks=(None, gate))
        coalesce = Coalesce(ScriptedBackend(script), buffer_bytes=10)
        reader, slower = await asyncio.gather(*(coalesce.open(make_call(STEADY)) for _ in range(2)))
        assert reader.chunks is not None
        stream = aiter(reader.chunks)
        await anext(stream)
        await _settle()
        gate.set()
        assert await anext(stream) == b"y"
        await _settle()
        assert await _end(slower) == b"x" * 1000 + b"y"
        await reader.aclose()

    asyncio.run(run())


def test_who_comes_when_the_start_is_gone_gets_an_answer_of_its_own() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        inner = ScriptedBackend(Script(chunks=(b"a" * 20, b"b"), before_chunks=(None, gate)))
        coalesce = Coalesce(inner, buffer_bytes=10)
        first = await coalesce.open(make_call(STEADY))
        assert first.chunks is not None
        await anext(aiter(first.chunks))
        await _settle()
        second = await coalesce.open(make_call(STEADY))
        gate.set()
        assert await _end(second) == b"a" * 20 + b"b"
        await first.aclose()
        assert len(inner.calls) == 2

    asyncio.run(run())


def test_closing_it_stops_what_is_under_way() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=(b"a", b"b"), before_chunks=(None, asyncio.Event())))
        coalesce = Coalesce(inner)
        reply = await coalesce.open(make_call(STEADY))
        await coalesce.aclose()
        assert inner.closed == 1
        with pytest.raises(StreamCut):
            await _end(reply)

    asyncio.run(run())


def test_calls_that_may_not_be_shared_pass_untouched() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=(b"a",)))
        coalesce = Coalesce(inner)
        replies = [await coalesce.open(make_call(SAMPLED)) for _ in range(2)]
        assert inner.replies == replies

    asyncio.run(run())


def _here(call: Call, at: float) -> Call:
    return msgspec.structs.replace(call, arrived=at)


@pytest.mark.parametrize("chunks", [(), (b"data: {}\n\n", b"data: [DONE]\n\n")])
def test_a_call_that_was_here_before_an_answer_ended_still_gets_it(chunks: tuple[bytes, ...]) -> None:
    async def main() -> None:
        clock = FakeClock()
        inner = ScriptedBackend(Script(chunks=chunks) if chunks else Script())
        coalesce = Coalesce(inner, clock=clock)
        began = clock.monotonic()
        clock.advance(2.0)
        first = await coalesce.open(_here(make_call(STEADY), began))
        content = await first.read()
        await first.aclose()
        assert first.done is not None
        assert first.done.charges

        late = await coalesce.open(_here(make_call(STEADY), began + 1.0))  # its optimizers were asked until now
        assert await late.read() == content
        await late.aclose()
        assert len(inner.calls) == 1
        assert late.done is not None
        assert (late.done.charges, late.done.usage) == ((), first.done.usage)
        assert [(step.optimizer, step.verdict) for step in late.notes] == [("coalesce", Verdict.ACCEPTED)]

        clock.advance(1.0)
        after = await coalesce.open(
            _here(make_call(STEADY), clock.monotonic())
        )  # came when there was nothing in flight
        await after.read()
        await after.aclose()
        assert len(inner.calls) == 2

    asyncio.run(main())


@pytest.mark.parametrize("chunks", [(), (b"data: {}\n\n", b"data: [DONE]\n\n")])
def test_a_call_that_comes_while_the_first_caller_is_still_given_its_answer_gets_it_too(
    chunks: tuple[bytes, ...],
) -> None:
    """The answer has ended, and no cache has it before that caller's reply is closed."""

    async def main() -> None:
        clock = FakeClock()
        inner = ScriptedBackend(Script(chunks=chunks) if chunks else Script())
        coalesce = Coalesce(inner, clock=clock)
        first = await coalesce.open(_here(make_call(STEADY), clock.monotonic()))
        second = await coalesce.open(_here(make_call(STEADY), clock.monotonic()))
        content = await first.read()
        await second.read()
        await second.aclose()  # one that does not pay: what it was given is not kept

        clock.advance(0.1)
        between = await coalesce.open(_here(make_call(STEADY), clock.monotonic()))
        assert await between.read() == content
        await between.aclose()
        assert len(inner.calls) == 1

        await first.aclose()
        after = await coalesce.open(_here(make_call(STEADY), clock.monotonic()))
        await after.aclose()
        assert len(inner.calls) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "script", [Script(status=503), Script(error=Unreachable("no")), Script(chunks=(b"a",), cut=StreamCut("cut"))]
)
def test_an_answer_that_did_not_end_well_is_nobodys_afterwards(script: Script) -> None:
    async def main() -> None:
        clock = FakeClock()
        inner = ScriptedBackend(script)
        coalesce = Coalesce(inner, clock=clock)
        for _ in range(2):
            with suppress(Unreachable, StreamCut):
                async with await coalesce.open(_here(make_call(STEADY), clock.monotonic())) as reply:
                    await reply.read()
        assert len(inner.calls) == 2

    asyncio.run(main())


def test_answers_that_have_ended_are_forgotten_after_a_second_and_never_fill_more_than_the_buffer() -> None:
    async def main() -> None:
        clock = FakeClock()
        inner = ScriptedBackend(Script(chunks=(b"x" * 40,)))
        coalesce = Coalesce(inner, buffer_bytes=100, clock=clock)
        for number in range(5):
            async with await coalesce.open(
                _here(make_call(b'{"model":"m","seed":%d,"messages":[]}' % number), 0.0)
            ) as reply:
                await reply.read()
        assert len(coalesce._landed) == 2
        assert coalesce._landed_bytes == 80
        await asyncio.sleep(1.1)
        assert (coalesce._landed, coalesce._landed_bytes) == ({}, 0)

    asyncio.run(main())
