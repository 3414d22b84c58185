"""Whether a call is foreseen while its upstream works or when it has answered, it comes to the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gate_rig import Edits, Provider, Rig, asks, turns

from pennyweight.call import Call
from pennyweight.request import DELETE, Edit, Reply, Wire

# How a provider answers: without a wait, after one, when the call was foreseen, or with a stream after a wait.
WAYS = ("at once", "whole", "slow", "stream")


class Answers(Provider):
    way = "at once"

    async def open(self, call: Call) -> Reply:
        if self.way != "at once":
            await asyncio.sleep(0.003 if self.way == "slow" else 0)
        reply = await super().open(call)
        if self.way == "stream" and reply.ok:
            reply.content, reply.chunks = None, _chunks()
        return reply


async def _chunks() -> AsyncIterator[bytes]:
    yield b"{}"


def shorten(call: Call) -> list[Edit]:
    """Drops the second message and shortens the first, where there are three and more."""
    if len(call.request.body["messages"]) < 3:
        return []
    return [Edit(("messages", 1), DELETE), Edit(("messages", 0, "content"), "short")]


def told(rig: Rig) -> list[Any]:
    return [
        (
            one.status,
            one.done.usage,
            one.untouched,
            one.foreseen_read_tokens,
            one.warm,
            one.reference,
            one.estimated,
            one.call.request.raw,
            [(step.verdict, step.saving) for step in one.call.trail],
        )
        for one in rig.outcomes
    ]


CALLS = st.lists(
    st.tuples(
        st.integers(1, 5),  # turns
        st.sampled_from(["a", "b"]),  # whose texts
        st.sampled_from(["s", "t", ""]),  # session
        st.booleans(),  # marks
        st.sampled_from([1.0, 200.0, 4_000.0]),  # seconds since the one before
        st.sampled_from([Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT]),
        st.sampled_from([200, 200, 200, 500]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25)
@given(CALLS, st.booleans())
def test_calls_one_by_one_come_to_the_same_however_they_are_answered(calls: list[Any], edits: bool) -> None:
    found = []
    for way in WAYS:
        rig = Rig(*([Edits(shorten)] if edits else []))
        rig.provider = rig.pipeline._backend = Answers(rig.clock)
        rig.provider.way = way
        for number, salt, session, mark, after_s, wire, status in calls:
            rig.provider.status = status
            fields = {} if wire is Wire.ANTHROPIC_MESSAGES else {"provider": "openai"}
            messages = turns(number, mark=mark and wire is Wire.ANTHROPIC_MESSAGES, salt=salt)
            rig.ask(asks(messages, session=session, wire=wire, **fields), after_s=after_s)
        found.append(told(rig))
    assert all(one == found[0] for one in found)


class Turns(Provider):
    """Answers in the order that a test says."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.waiting: list[asyncio.Event] = []

    async def open(self, call: Call) -> Reply:
        gate = asyncio.Event()
        self.waiting.append(gate)
        await gate.wait()
        return await super().open(call)


@settings(max_examples=40)
@given(CALLS, st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_in_whatever_order_calls_are_answered_nothing_is_saved_by_changing_nothing(
    calls: list[Any], order: list[int]
) -> None:
    """What is foreseen of a call, and of it as its caller sent it, had no call been changed: of one moment."""
    rig = Rig()
    rig.provider = rig.pipeline._backend = Turns(rig.clock)
    pairs = []
    billed = rig.economy.billed

    def billing(seen: Any, would_be: Any, usage: Any, *, at: float) -> None:
        pairs.append((seen.forecast, would_be))
        billed(seen, would_be, usage, at=at)

    rig.economy.billed = billing  # type: ignore[method-assign]

    async def one(call: Call) -> None:
        async with await rig.pipeline.open(call) as reply:
            await reply.read()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, salt, session, mark, after_s, _wire, _status in calls:
                rig.clock.advance(min(after_s, 200.0))
                tasks.create_task(one(asks(turns(number, mark=mark, salt=salt), session=session)))
                await asyncio.sleep(0)
            for place in order[: len(calls)]:
                rig.provider.waiting.pop(place % len(rig.provider.waiting)).set()
                await asyncio.sleep(0)
                rig.clock.advance(1.0)

    asyncio.run(main())
    assert len(pairs) == len(rig.outcomes) == len(calls)
    assert all(foreseen == would_be for foreseen, would_be in pairs)
