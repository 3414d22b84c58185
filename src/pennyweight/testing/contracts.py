"""What every KV and every Ledger must do, as checks that need no test runner.

A check is an async function that raises AssertionError with what was got and what was wanted. With pytest:

    @pytest.mark.parametrize("check", KV_CHECKS, ids=lambda check: check.__name__)
    def test_my_kv(check):
        asyncio.run(check(open_my_kv))

`open_my_kv(clock)` is an async context manager that gives an empty store which tells the time by that clock. One that
keeps time itself, as a server does, says so first: `clock.keep_real_time()`; the checks then really wait, a second.
TIER_CHECKS are for a KV that is a Tier too, LEASES_CHECKS for Leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from ..call import Receipt, Step, Verdict
from ..errors import StoreError
from ..protocols import KV, Leases, Ledger, Tier
from ..request import Operation, Usage
from .clock import FakeClock

__all__ = [
    "KV_CHECKS",
    "LEASES_CHECKS",
    "LEDGER_CHECKS",
    "TIER_CHECKS",
    "OpenKV",
    "OpenLeases",
    "OpenLedger",
    "OpenTier",
    "ReadAll",
    "TestingClock",
    "sample_receipt",
]


class TestingClock(FakeClock):
    """The clock that checks hand to a store. It stands still, unless the store keeps time itself."""

    __test__ = False  # it is no test, whatever pytest makes of its name

    def __init__(self) -> None:
        super().__init__()
        self._scale = 0.0

    def keep_real_time(self, scale: float = 0.1) -> None:
        """From now on `pass_by` really waits; what checks call ten seconds is `scale` times as long."""
        self._scale = scale

    def span(self, seconds: float) -> float:
        """What to give a store for so many of the checks' seconds."""
        return seconds * self._scale if self._scale else seconds

    async def pass_by(self, seconds: float) -> None:
        self.advance(self.span(seconds))
        if self._scale:
            await asyncio.sleep(self.span(min(seconds, 12)))


OpenKV = Callable[[TestingClock], AbstractAsyncContextManager[KV]]
OpenTier = Callable[[TestingClock], AbstractAsyncContextManager[Tier]]
OpenLeases = Callable[[TestingClock], AbstractAsyncContextManager[tuple[Leases, Leases]]]
"""The same leases as two replicas see them."""
ReadAll = Callable[[], Awaitable[Sequence[Receipt]]]
OpenLedger = Callable[[], AbstractAsyncContextManager[tuple[Ledger, ReadAll]]]
"""A ledger that is empty, and a function that reads back all that it holds, in the order of writing."""


def _same(got: object, want: object, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


# --- KV ---------------------------------------------------------------------------------------------------


async def check_gives_back_what_was_put(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        _same(await kv.get("a"), None, "a key that was never put")
        for value in (b"", b"one", bytes(range(256)), b"x" * 1_000_000):
            await kv.put("a", value)
            _same(await kv.get("a"), value, "the newest value")


async def check_keys_are_exact(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        keys = ("", "a", "A", "a ", "a%", "a_", "ä", "a\x00b", "東京", "a" * 1000)
        for n, key in enumerate(keys):
            await kv.put(key, b"%d" % n)
        for n, key in enumerate(keys):
            _same(await kv.get(key), b"%d" % n, f"key {key!r}")


async def check_entries_lapse(open_kv: OpenKV) -> None:
    clock = TestingClock()
    async with open_kv(clock) as kv:
        await kv.put("short", b"s", ttl_s=clock.span(10))
        await kv.put("ever", b"e")
        await kv.put("never", b"n", ttl_s=0)
        _same(await kv.get("never"), None, "at once")
        await clock.pass_by(6)
        _same(await kv.get("short"), b"s", "before its time")
        await clock.pass_by(4)
        _same(await kv.get("short"), None, "at its time")
        _same(await kv.get("ever"), b"e", "without a time")
        await kv.put("short", b"for now", ttl_s=clock.span(10))
        await kv.put("short", b"again")
        await clock.pass_by(1e9)
        _same(await kv.get("short"), b"again", "put again without a time")


async def check_deletes_by_prefix(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        keys = ("t1/a", "t1/b", "t1/\U0001f600", "t1%", "t10/a", "t2/a", "t1")
        for key in keys:
            await kv.put(key, b"v")
        _same(await kv.delete("t1/"), 3, "entries deleted")
        _same([key for key in keys if await kv.get(key)], ["t1%", "t10/a", "t2/a", "t1"], "keys left")
        _same(await kv.delete("nothing"), 0, "entries deleted under no key")
        _same(await kv.delete(""), 4, "entries deleted under the empty prefix")


async def check_counts(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        _same(await kv.add("n", 5), 5, "the first add")
        _same(await kv.add("n", -7), -2, "an amount below zero")
        _same(await kv.add("n", 10**30), 10**30 - 2, "a number beyond 64 bits")
        _same(await kv.get("n"), b"%d" % (10**30 - 2), "a counter as bytes")
        _same(await kv.add("n", 2), 10**30, "an add after it was read")
        _same(await kv.get("n"), b"%d" % 10**30, "a counter that was read before")
        await kv.put("bytes", b"not a number")
        try:
            await kv.add("bytes", 1)
        except StoreError:
            return
        raise AssertionError("adding to bytes that are no number must raise StoreError")


async def check_counts_atomically(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        totals = await asyncio.gather(*(kv.add("n", 1) for _ in range(50)))
        _same(sorted(totals), list(range(1, 51)), "totals that fifty adds at once saw")


async def check_counters_lapse_from_their_first_add(open_kv: OpenKV) -> None:
    clock = TestingClock()
    async with open_kv(clock) as kv:
        _same(await kv.add("n", 1, ttl_s=clock.span(10)), 1, "the first add")
        await clock.pass_by(6)
        _same(await kv.add("n", 1, ttl_s=clock.span(10)), 2, "within the window")
        await clock.pass_by(4)
        _same(await kv.add("n", 1, ttl_s=clock.span(10)), 1, "after the window of the first add")


async def check_takes_many_at_once(open_kv: OpenKV) -> None:
    async with open_kv(TestingClock()) as kv:
        values = {f"many/{n}": b"%d" % n * (n * 97 % 5000) for n in range(200)}
        await asyncio.gather(*(kv.put(key, value) for key, value in values.items()))
        found = await asyncio.gather(*(kv.get(key) for key in values))
        _same(found, list(values.values()), "two hundred entries")


KV_CHECKS: tuple[Callable[[OpenKV], Awaitable[None]], ...] = (
    check_gives_back_what_was_put,
    check_keys_are_exact,
    check_entries_lapse,
    check_deletes_by_prefix,
    check_counts,
    check_counts_atomically,
    check_counters_lapse_from_their_first_add,
    check_takes_many_at_once,
)


# --- Tier -------------------------------------------------------------------------------------------------


async def check_tells_how_long_a_value_is_kept(open_tier: OpenTier) -> None:
    clock = TestingClock()
    async with open_tier(clock) as tier:
        _same(await tier.read("a"), None, "a key that was never put")
        await tier.put("a", b"for ever")
        _same(await tier.read("a"), (b"for ever", None), "a value without a time")
        await tier.put("a", b"not for ever", ttl_s=clock.span(10))
        await clock.pass_by(3)
        found = await tier.read("a")
        if found is None or found[1] is None or not 0 < found[1] <= clock.span(7):
            raise AssertionError(f"after 3 of 10 seconds: got {found!r}, want at most {clock.span(7)} seconds")
        await clock.pass_by(7)
        _same(await tier.read("a"), None, "at its time")


async def check_removes_one_key(open_tier: OpenTier) -> None:
    async with open_tier(TestingClock()) as tier:
        for key in ("a", "ab", "a/b"):
            await tier.put(key, b"v")
        await tier.remove("a")
        await tier.remove("never put")
        _same([await tier.get(key) for key in ("a", "ab", "a/b")], [None, b"v", b"v"], "after removing 'a'")


async def check_lists_keys(open_tier: OpenTier) -> None:
    clock = TestingClock()
    async with open_tier(clock) as tier:
        for key in ("a/1", "a/2", "a%", "ab", "b/1", "ä/東京"):
            await tier.put(key, b"v")
        await tier.put("a/lapsed", b"v", ttl_s=clock.span(1))
        await clock.pass_by(2)
        _same(sorted(await tier.keys("a/", limit=10)), ["a/1", "a/2"], "keys that begin with 'a/'")
        _same(list(await tier.keys("ä/", limit=10)), ["ä/東京"], "keys that begin with 'ä/'")
        _same(len(await tier.keys("", limit=3)), 3, "at most three keys")
        _same(len(await tier.keys("", limit=100)), 6, "all keys")
        _same(list(await tier.keys("none", limit=10)), [], "keys that begin with 'none'")


TIER_CHECKS: tuple[Callable[[OpenTier], Awaitable[None]], ...] = (
    check_tells_how_long_a_value_is_kept,
    check_removes_one_key,
    check_lists_keys,
)


# --- Leases -----------------------------------------------------------------------------------------------


async def check_one_holder_at_a_time(open_leases: OpenLeases) -> None:
    async with open_leases(TestingClock()) as (here, there):
        takers = [*(here.acquire("k", ttl_s=60) for _ in range(10)), *(there.acquire("k", ttl_s=60) for _ in range(10))]
        held = [lease for lease in await asyncio.gather(*takers) if lease is not None]
        _same(len(held), 1, "holders of twenty that asked at once")
        other = await there.acquire("other", ttl_s=60)
        if other is None:
            raise AssertionError("a lease on another key must be free")
        await held[0].release()
        again = await there.acquire("k", ttl_s=60)
        if again is None:
            raise AssertionError("a lease that was released must be free")
        await held[0].release()
        _same(await held[0].renew(), False, "renewing what was released")
        _same(await here.acquire("k", ttl_s=60), None, "what an old holder released again")
        _same(await again.renew(), True, "renewing what is held")


async def check_leases_lapse_unless_renewed(open_leases: OpenLeases) -> None:
    clock = TestingClock()
    async with open_leases(clock) as (here, there):
        lease = await here.acquire("k", ttl_s=clock.span(10))
        if lease is None:
            raise AssertionError("a lease that nobody holds must be free")
        await clock.pass_by(6)
        _same(await lease.renew(), True, "renewed in time")
        await clock.pass_by(6)
        _same(await there.acquire("k", ttl_s=60), None, "while it is held on")
        await clock.pass_by(4)
        taken = await there.acquire("k", ttl_s=60)
        if taken is None:
            raise AssertionError("a lease that lapsed must be free")
        _same(await lease.renew(), False, "renewed too late")
        await lease.release(b"too late")
        _same(await here.acquire("k", ttl_s=60), None, "after the old holder released what was not its own")
        await taken.release(b"new")
        _same(await here.wait("k", timeout_s=5), b"new", "the word of the one who held it")


async def check_waiting_ends_with_the_holders_word(open_leases: OpenLeases) -> None:
    async with open_leases(TestingClock()) as (here, there):
        _same(await there.wait("k", timeout_s=5), b"", "waiting for nobody")
        lease = await here.acquire("k", ttl_s=60)
        if lease is None:
            raise AssertionError("a lease that nobody holds must be free")
        _same(await there.wait("k", timeout_s=0.05), None, "waiting no longer than asked to")
        waiting = [asyncio.create_task(leases.wait("k", timeout_s=20)) for leases in (here, there, there)]
        await asyncio.sleep(0.05)
        await lease.release(b"done")
        _same(await asyncio.gather(*waiting), [b"done"] * 3, "what those who waited were told")
        _same(await there.wait("k", timeout_s=5), b"done", "what one who came a moment late was told")
        next_one = await there.acquire("k", ttl_s=60)
        _same(await here.wait("k", timeout_s=0.05), None, "an old word while there is a new holder")
        if next_one is not None:
            await next_one.release()
        _same(await here.wait("k", timeout_s=5), b"", "a holder without a word")


LEASES_CHECKS: tuple[Callable[[OpenLeases], Awaitable[None]], ...] = (
    check_one_holder_at_a_time,
    check_leases_lapse_unless_renewed,
    check_waiting_ends_with_the_holders_word,
)


# --- Ledger -----------------------------------------------------------------------------------------------


def sample_receipt(call_id: str = "call_1", **changes: object) -> Receipt:
    """A receipt with every field filled; `changes` replace fields by name."""
    receipt = Receipt(
        call_id=call_id,
        at=1_800_000_000.25,
        tenant="acme",
        session="s-1",
        agent="main",
        task="triage",
        skill="search",
        housekeeping="",
        wire="anthropic_messages",
        operation=Operation.GENERATE,
        provider="anthropic",
        model="claude-sonnet-4-5",
        target_model="claude-haiku-4-5",
        usage=Usage(1200, 800, 100, 50, 300, 20, "standard", True),
        cost=3_141_592_653_589,
        baseline=4_000_000_000_001,
        spent=1_000_003,
        pricing="priced",
        trail=(
            Step("exact_cache", Verdict.ABSTAINED),
            Step("router", Verdict.ACCEPTED, 858_408_346_412, 1_000_003, 0.01, "small talk: ünïcode"),
        ),
        status=200,
        finish_reason="end_turn",
        arm="on",
        ttft_s=0.125,
        latency_s=1.5,
        added_s=0.0005,
        answered_by="anthropic",
        basis="estimated",
    )
    return msgspec.structs.replace(receipt, **changes)


async def check_gives_back_what_was_appended(open_ledger: OpenLedger) -> None:
    async with open_ledger() as (ledger, read_all):
        receipts = [
            sample_receipt("a"),
            sample_receipt("b", usage=None, cost=None, baseline=None, pricing="unpriced", ttft_s=None, trail=()),
            sample_receipt("c", status=529, error="Overloaded", abandoned=True, cost=0, baseline=0, basis=""),
            sample_receipt("d", replayed=True, basis="computed", answered_by="exact_cache", cost=0, baseline=2**62),
        ]
        await ledger.append(receipts[:3])
        await ledger.append(receipts[3:])
        _same(list(await read_all()), receipts, "all receipts")


async def check_appends_nothing(open_ledger: OpenLedger) -> None:
    async with open_ledger() as (ledger, read_all):
        await ledger.append([])
        _same(list(await read_all()), [], "receipts after an empty batch")


async def check_keeps_a_call_once(open_ledger: OpenLedger) -> None:
    """A batch is written again when its commit was not heard of: it must not count twice."""
    async with open_ledger() as (ledger, read_all):
        batch = [sample_receipt("a"), sample_receipt("b")]
        await ledger.append(batch)
        await ledger.append([*batch, sample_receipt("c")])
        _same([r.call_id for r in await read_all()], ["a", "b", "c"], "calls after a batch came twice")


async def check_takes_batches_at_once(open_ledger: OpenLedger) -> None:
    async with open_ledger() as (ledger, read_all):
        batches = [[sample_receipt(f"{n}-{m}") for m in range(20)] for n in range(10)]
        await asyncio.gather(*(ledger.append(batch) for batch in batches))
        calls = {r.call_id for r in await read_all()}
        _same(calls, {r.call_id for batch in batches for r in batch}, "calls of ten batches at once")


LEDGER_CHECKS: tuple[Callable[[OpenLedger], Awaitable[None]], ...] = (
    check_gives_back_what_was_appended,
    check_appends_nothing,
    check_keeps_a_call_once,
    check_takes_batches_at_once,
)
