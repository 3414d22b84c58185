from __future__ import annotations

import asyncio

import pytest

from pennyweight.backends.limits import Limits
from pennyweight.errors import Overloaded, Unreachable
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

STREAM = Script(chunks=(b"a", b"b"))


def test_calls_beyond_the_limit_wait_in_order() -> None:
    async def run() -> list[int]:
        limits = Limits(ScriptedBackend(STREAM), {"p": 2})
        opened: list[int] = []

        async def caller(number: int) -> None:
            reply = await limits.open(make_call())
            opened.append(number)
            await gates[number].wait()
            await reply.aclose()

        gates = [asyncio.Event() for _ in range(5)]
        tasks = [asyncio.create_task(caller(n)) for n in range(5)]
        await _settle()
        assert (opened, limits.waiting("p")) == ([0, 1], 3)
        for number in (1, 0, 2, 3, 4):
            gates[number].set()
            await _settle()
        await asyncio.gather(*tasks)
        return opened

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_a_whole_answer_frees_its_slot_at_once() -> None:
    async def run() -> None:
        limits = Limits(ScriptedBackend(Script()), {"p": 1}, wait_s=0.01)
        for _ in range(3):
            await limits.open(make_call())

    asyncio.run(run())


def test_waiting_ends_with_overloaded() -> None:
    async def run() -> None:
        limits = Limits(ScriptedBackend(STREAM), {"p": 1}, wait_s=0.01)
        first = await limits.open(make_call())
        with pytest.raises(Overloaded, match="p is busy"):
            await limits.open(make_call())
        await first.aclose()
        await first.aclose()  # closing twice frees one slot
        second = await limits.open(make_call())
        with pytest.raises(Overloaded):
            await limits.open(make_call())
        await second.aclose()

    asyncio.run(run())


def test_errors_and_cancellation_free_the_slot() -> None:
    async def run() -> None:
        never = asyncio.Event()
        backend = ScriptedBackend(Script(error=Unreachable("x")), Script(before_open=never), STREAM)
        limits = Limits(backend, {"p": 1}, wait_s=0.05)
        with pytest.raises(Unreachable):
            await limits.open(make_call())
        running = asyncio.create_task(limits.open(make_call()))
        waiting = asyncio.create_task(limits.open(make_call()))
        await _settle()
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        await (await limits.open(make_call())).aclose()

    asyncio.run(run())


def test_a_slot_that_comes_as_its_caller_leaves_is_passed_on() -> None:
    async def run() -> None:
        limits = Limits(ScriptedBackend(STREAM), {"p": 1}, wait_s=5)
        first = await limits.open(make_call())
        second = asyncio.create_task(limits.open(make_call()))
        third = asyncio.create_task(limits.open(make_call()))
        await _settle()
        await first.aclose()  # hands the slot to the second, which has not run yet
        second.cancel()
        await (await third).aclose()
        assert second.cancelled() or (await asyncio.gather(second, return_exceptions=True))

    asyncio.run(run())


def test_other_providers_are_not_limited() -> None:
    async def run() -> None:
        limits = Limits(ScriptedBackend(STREAM), {"ollama": 1}, wait_s=0.01)
        for _ in range(3):
            await limits.open(make_call())

    asyncio.run(run())


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
