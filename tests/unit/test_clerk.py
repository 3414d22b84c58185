"""The clerk: cheap to submit to, loses nothing it need not, and never troubles an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import pytest
from tests.effort import within

from pennyweight.call import Call, Identity, Outcome, Receipt, Target
from pennyweight.clerk import Clerk, Settings
from pennyweight.errors import StoreError
from pennyweight.request import Done, Request, Response, Wire
from pennyweight.stores.memory import MemoryLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

QUICK = Settings(batch_s=0.001, retry_s=0.001, retry_max_s=0.004, close_s=0.2)


def outcome(call_id: str) -> Outcome:
    request = Request(Wire.OPENAI_CHAT, b'{"model":"m"}')
    call = Call(call_id, Identity(), request, request, Target("p", "m", Wire.OPENAI_CHAT), 0.0)
    return Outcome(call, Done(), 200, "p")


def to_receipt(finished: Outcome) -> Receipt:
    return sample_receipt(finished.call.id)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is a counter
            await asyncio.sleep(0.001)


class FailingLedger(MemoryLedger):
    """Raises for the first `failures` appends, or while `broken`."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.broken = False
        self.batches: list[int] = []

    async def append(self, receipts: Sequence[Receipt]) -> None:
        self.batches.append(len(receipts))
        if self.broken or self.failures > 0:
            self.failures -= 1
            raise StoreError("disk full")
        if any(r.call_id == "poison" for r in receipts):
            raise ValueError("cannot store this")
        await super().append(receipts)


def clerk_for(ledger: MemoryLedger, settings: Settings = QUICK, **parts) -> Clerk:
    return Clerk(
        ledger, parts.pop("receipt", to_receipt), **{"settle": None, "clock": FakeClock(), **parts}, settings=settings
    )


def test_an_answer_that_can_be_kept_is_settled_before_the_next_call_can_come() -> None:
    """Receipts gather for a while. A cache that did too would ask upstream twice for what is asked twice in a row."""
    settled: list[str] = []

    async def settle(finished: Sequence[Outcome]) -> None:
        settled.extend(one.call.id for one in finished)

    async def run() -> None:
        answer = Response(Wire.OPENAI_CHAT, b"{}", Done())
        async with clerk_for(MemoryLedger(), Settings(batch_s=3_600), settle=settle) as clerk:
            clerk.submit(outcome("without an answer"))
            clerk.submit(msgspec.structs.replace(outcome("with"), response=answer))
            assert settled == ["with"]
        assert settled == ["with", "without an answer"]

    asyncio.run(run())


def test_one_that_waits_for_a_store_is_settled_to_its_end() -> None:
    settled: list[str] = []

    async def settle(finished: Sequence[Outcome]) -> None:
        [one] = finished
        settled.append(f"{one.call.id} begun")
        await asyncio.sleep(0.01)
        settled.append(f"{one.call.id} ended")
        if one.call.id == "a":
            raise ValueError("a plugin")

    async def run() -> None:
        answer = Response(Wire.OPENAI_CHAT, b"{}", Done())
        async with clerk_for(MemoryLedger(), settle=settle) as clerk:
            for name in ("a", "b"):
                clerk.submit(msgspec.structs.replace(outcome(name), response=answer))
            assert settled == ["a begun", "b begun"]
            assert await clerk.flush()
        assert settled == ["a begun", "b begun", "a ended", "b ended"]

    asyncio.run(run())


def test_a_clean_stop_loses_nothing() -> None:
    async def run() -> MemoryLedger:
        ledger = MemoryLedger()
        async with clerk_for(ledger, Settings(batch_s=3_600)) as clerk:
            for n in range(2500):
                clerk.submit(outcome(str(n)))
        assert clerk.counters.written == 2500
        return ledger

    assert [r.call_id for r in asyncio.run(run()).receipts] == [str(n) for n in range(2500)]


def test_receipts_are_written_within_a_batch_time_of_their_call() -> None:
    async def run() -> None:
        ledger = MemoryLedger()
        async with clerk_for(ledger, Settings()) as clerk:
            clerk.submit(outcome("first"))
            await until(lambda: ledger.receipts)

    asyncio.run(run())
    assert Settings().batch_s < 0.2


def test_calls_of_one_moment_share_a_batch() -> None:
    async def run() -> list[int]:
        ledger = FailingLedger()
        async with clerk_for(ledger, Settings(batch_s=0.02)) as clerk:
            for n in range(40):
                clerk.submit(outcome(str(n)))
                await asyncio.sleep(0)
        return ledger.batches

    assert len(asyncio.run(run())) <= 3


def test_a_failing_ledger_delays_and_heals() -> None:
    async def run() -> tuple[FailingLedger, Clerk]:
        ledger = FailingLedger()
        ledger.broken = True
        async with clerk_for(ledger) as clerk:
            for n in range(10):
                clerk.submit(outcome(str(n)))
            await until(lambda: len(ledger.batches) >= 3)
            assert (clerk.counters.queued, clerk.counters.written) == (10, 0)
            assert clerk.counters.last_error == "disk full"
            ledger.broken = False
            assert await clerk.flush()
            assert clerk.counters.last_error == ""
        return ledger, clerk

    ledger, clerk = asyncio.run(run())
    assert len(ledger.receipts) == 10
    assert msgspec.structs.asdict(clerk.counters) == {
        "queued": 0, "written": 10, "lost": 0, "delayed": 10, "unsettled": 0, "unlearnt": 0, "last_error": "",
    }  # fmt: skip


def test_a_full_queue_loses_receipts_counts_them_and_says_so_once_a_minute(caplog) -> None:
    clock = FakeClock()

    async def run() -> Clerk:
        ledger = FailingLedger()
        ledger.broken = True
        clerk = clerk_for(ledger, msgspec.structs.replace(QUICK, limit=5), clock=clock)
        for n in range(8):
            clerk.submit(outcome(str(n)))
        clock.advance(61)
        clerk.submit(outcome("later"))
        assert clerk.counters.queued == 5
        ledger.broken = False
        async with clerk:
            pass
        return clerk

    with caplog.at_level(logging.WARNING):
        clerk = asyncio.run(run())
    assert (clerk.counters.lost, clerk.counters.written) == (4, 5)
    assert [r.message for r in caplog.records] == ["receipts lost: the queue is full"] * 2


def test_a_ledger_that_fails_to_the_end_costs_the_receipts_but_not_the_stop(caplog) -> None:
    async def run() -> Clerk:
        ledger = FailingLedger()
        ledger.broken = True
        async with clerk_for(ledger) as clerk:
            clerk.submit(outcome("a"))
        return clerk

    clerk = asyncio.run(run())
    assert (clerk.counters.lost, clerk.counters.queued) == (1, 0)
    assert "receipts lost: the ledger failed until the end" in caplog.text


def test_a_receipt_that_cannot_be_stored_is_lost_alone() -> None:
    async def run() -> tuple[MemoryLedger, Clerk]:
        ledger = FailingLedger()
        async with clerk_for(ledger) as clerk:
            for call_id in ("a", "poison", "b"):
                clerk.submit(outcome(call_id))
        return ledger, clerk

    ledger, clerk = asyncio.run(run())
    assert [r.call_id for r in ledger.receipts] == ["a", "b"]
    assert (clerk.counters.lost, clerk.counters.written) == (1, 2)


def test_a_call_whose_receipt_cannot_be_made_does_not_stop_the_books(caplog) -> None:
    def odd(finished: Outcome) -> Receipt:
        if finished.call.id == "odd":
            raise KeyError("secret prompt")
        return to_receipt(finished)

    async def run() -> MemoryLedger:
        ledger = MemoryLedger()
        async with clerk_for(ledger, receipt=odd) as clerk:
            for call_id in ("a", "odd", "b"):
                clerk.submit(outcome(call_id))
        assert clerk.counters.lost == 1
        return ledger

    assert [r.call_id for r in asyncio.run(run()).receipts] == ["a", "b"]
    assert "secret" not in caplog.text


def test_optimizers_learn_from_every_outcome_even_when_one_raises_or_the_ledger_fails() -> None:
    learnt: list[str] = []

    async def settle(finished: Sequence[Outcome]) -> None:
        [one] = finished
        if one.call.id == "b":
            raise RuntimeError("a plugin's fault")
        learnt.append(one.call.id)

    async def run() -> None:
        ledger = FailingLedger()
        ledger.broken = True
        async with clerk_for(ledger, msgspec.structs.replace(QUICK, portion=1), settle=settle) as clerk:
            for call_id in ("a", "b", "c"):
                clerk.submit(outcome(call_id))
            await until(lambda: len(learnt) == 2 and not clerk.counters.unsettled)
            assert clerk.counters.written == 0
            ledger.broken = False

    asyncio.run(run())
    assert learnt == ["a", "c"]


def test_calls_without_an_answer_to_keep_are_learnt_from_in_portions() -> None:
    portions: list[list[str]] = []

    async def settle(finished: Sequence[Outcome]) -> None:
        portions.append([one.call.id for one in finished])
        if len(portions) == 1:
            await asyncio.sleep(0.01)  # what comes meanwhile is learnt from after that, in its order

    async def run() -> None:
        settings = msgspec.structs.replace(QUICK, portion=4)
        async with clerk_for(MemoryLedger(), settings, settle=settle) as clerk:
            for n in range(10):
                clerk.submit(outcome(str(n)))
            assert await clerk.flush()

    asyncio.run(run())
    assert portions == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]


def test_who_watches_gets_receipts_with_their_outcomes_and_none_that_could_not_be_made() -> None:
    def odd(finished: Outcome) -> Receipt:
        if finished.call.id == "odd":
            raise KeyError("secret prompt")
        return to_receipt(finished)

    seen: list[tuple[str, str]] = []

    def watch(receipts: Sequence[Receipt], outcomes: Sequence[Outcome]) -> None:
        seen.extend((r.call_id, o.call.id) for r, o in zip(receipts, outcomes, strict=True))
        raise ValueError("one who looks on must not stop the books")

    async def run() -> MemoryLedger:
        ledger = MemoryLedger()
        async with clerk_for(ledger, msgspec.structs.replace(QUICK, portion=2), receipt=odd, watch=watch) as clerk:
            for call_id in ("a", "odd", "b"):
                clerk.submit(outcome(call_id))
        return ledger

    assert len(asyncio.run(run()).receipts) == 2
    assert seen == [("a", "a"), ("b", "b")]


def test_slow_optimizers_do_not_hold_up_receipts() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def settle(finished: Sequence[Outcome]) -> None:
            await release.wait()

        ledger = MemoryLedger()
        settings = msgspec.structs.replace(QUICK, unsettled_limit=3)
        async with clerk_for(ledger, settings, settle=settle) as clerk:
            for n in range(10):
                clerk.submit(outcome(str(n)))
            await until(lambda: len(ledger.receipts) == 10)
            assert clerk.counters.unlearnt >= 6
            release.set()

    asyncio.run(run())


def test_submitting_is_cheap() -> None:
    """The target is 2 µs (measured 0.3); the bound leaves room for a busy machine."""

    async def run() -> None:
        clerk = clerk_for(MemoryLedger())
        finished = outcome("a")
        assert within(1000 * 10e-6, lambda: clerk.submit(finished), repeat=1000)

    asyncio.run(run())


@pytest.mark.parametrize("count", [10_000])
def test_the_event_loop_is_never_held_for_long(count: int) -> None:
    """Portions: other tasks get their turn between them. The bound is loose, for a busy machine."""

    async def run() -> float:
        async with clerk_for(MemoryLedger(), Settings(limit=count)) as clerk:
            for n in range(count):
                clerk.submit(outcome(str(n)))
            turns = 0
            while clerk.counters.queued:
                await asyncio.sleep(0)
                turns += 1
        return turns

    assert asyncio.run(run()) > count / Settings().portion


def test_receipts_that_take_long_to_make_are_made_one_by_one() -> None:
    """Counting the tokens of a long prompt is such a case: other calls get their turn after each."""
    clock = FakeClock()

    def slow(finished: Outcome) -> Receipt:
        clock.advance(0.001)
        return to_receipt(finished)

    async def run() -> int:
        async with clerk_for(MemoryLedger(), receipt=slow, clock=clock) as clerk:
            for n in range(32):
                clerk.submit(outcome(str(n)))
            left = [32]
            while left[-1]:
                await asyncio.sleep(0)
                left.append(len(clerk._inbox))
            return max(before - after for before, after in pairwise(left))

    assert asyncio.run(run()) == 1
