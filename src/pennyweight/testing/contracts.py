"""What every KV and every Ledger must do, as checks that need no test runner.

A check is an async function that raises AssertionError with what was got and what was wanted. With pytest:

    @pytest.mark.parametrize("check", KV_CHECKS, ids=lambda check: check.__name__)
    def test_my_kv(check):
        asyncio.run(check(open_my_kv))

`open_my_kv(clock)` is an async context manager that gives an empty store which tells the time by that clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from ..call import Receipt, Step, Verdict
from ..errors import StoreError
from ..protocols import KV, Clock, Ledger
from ..request import Operation, Usage
from .clock import FakeClock

__all__ = ["KV_CHECKS", "LEDGER_CHECKS", "OpenKV", "OpenLedger", "ReadAll", "sample_receipt"]

OpenKV = Callable[[Clock], AbstractAsyncContextManager[KV]]
ReadAll = Callable[[], Awaitable[Sequence[Receipt]]]
OpenLedger = Callable[[], AbstractAsyncContextManager[tuple[Ledger, ReadAll]]]
"""A ledger that is empty, and a function that reads back all that it holds, in the order of writing."""


def _same(got: object, want: object, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


# --- KV ---------------------------------------------------------------------------------------------------


async def check_gives_back_what_was_put(open_kv: OpenKV) -> None:
    async with open_kv(FakeClock()) as kv:
        _same(await kv.get("a"), None, "a key that was never put")
        for value in (b"", b"one", bytes(range(256)), b"x" * 1_000_000):
            await kv.put("a", value)
            _same(await kv.get("a"), value, "the newest value")


async def check_keys_are_exact(open_kv: OpenKV) -> None:
    async with open_kv(FakeClock()) as kv:
        keys = ("", "a", "A", "a ", "a%", "a_", "ä", "a\x00b", "東京", "a" * 1000)
        for n, key in enumerate(keys):
            await kv.put(key, b"%d" % n)
        for n, key in enumerate(keys):
            _same(await kv.get(key), b"%d" % n, f"key {key!r}")


async def check_entries_lapse(open_kv: OpenKV) -> None:
    clock = FakeClock()
    async with open_kv(clock) as kv:
        await kv.put("short", b"s", ttl_s=10)
        await kv.put("ever", b"e")
        clock.advance(9.9)
        _same(await kv.get("short"), b"s", "before its time")
        clock.advance(0.1)
        _same(await kv.get("short"), None, "at its time")
        _same(await kv.get("ever"), b"e", "without a time")
        await kv.put("short", b"again")
        clock.advance(1e9)
        _same(await kv.get("short"), b"again", "put again without a time")


async def check_deletes_by_prefix(open_kv: OpenKV) -> None:
    async with open_kv(FakeClock()) as kv:
        keys = ("t1/a", "t1/b", "t1/\U0001f600", "t1%", "t10/a", "t2/a", "t1")
        for key in keys:
            await kv.put(key, b"v")
        _same(await kv.delete("t1/"), 3, "entries deleted")
        _same([key for key in keys if await kv.get(key)], ["t1%", "t10/a", "t2/a", "t1"], "keys left")
        _same(await kv.delete("nothing"), 0, "entries deleted under no key")
        _same(await kv.delete(""), 4, "entries deleted under the empty prefix")


async def check_counts(open_kv: OpenKV) -> None:
    async with open_kv(FakeClock()) as kv:
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
    async with open_kv(FakeClock()) as kv:
        totals = await asyncio.gather(*(kv.add("n", 1) for _ in range(50)))
        _same(sorted(totals), list(range(1, 51)), "totals that fifty adds at once saw")


async def check_counters_lapse_from_their_first_add(open_kv: OpenKV) -> None:
    clock = FakeClock()
    async with open_kv(clock) as kv:
        await kv.add("n", 1, ttl_s=10)
        clock.advance(8)
        _same(await kv.add("n", 1, ttl_s=10), 2, "within the window")
        clock.advance(2)
        _same(await kv.add("n", 1, ttl_s=10), 1, "after the window of the first add")


KV_CHECKS: tuple[Callable[[OpenKV], Awaitable[None]], ...] = (
    check_gives_back_what_was_put,
    check_keys_are_exact,
    check_entries_lapse,
    check_deletes_by_prefix,
    check_counts,
    check_counts_atomically,
    check_counters_lapse_from_their_first_add,
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
