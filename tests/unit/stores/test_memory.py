"""The bounds of the stores in memory; what they share with others is in tests/contract."""

from __future__ import annotations

import asyncio

from pennyweight.stores.memory import MemoryKV, MemoryLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt


def test_the_least_recently_used_entry_goes_first() -> None:
    async def run() -> None:
        kv = MemoryKV(clock=FakeClock(), count=2)
        await kv.put("a", b"1")
        await kv.put("b", b"2")
        await kv.get("a")
        await kv.put("c", b"3")
        assert [await kv.get(key) for key in "abc"] == [b"1", None, b"3"]

    asyncio.run(run())


def test_values_stay_within_the_bound_in_bytes() -> None:
    async def run() -> None:
        kv = MemoryKV(clock=FakeClock(), size_bytes=100)
        await kv.put("a", b"x" * 60)
        await kv.put("a", b"x" * 60)
        await kv.put("b", b"x" * 40)
        assert await kv.get("a") is not None
        await kv.put("c", b"x" * 60)
        assert [await kv.get(key) is not None for key in "abc"] == [False, False, True]
        await kv.put("d", b"x" * 101)
        assert await kv.get("d") is None
        assert await kv.get("c") is not None

    asyncio.run(run())


def test_a_lapsed_entry_gives_its_room_back() -> None:
    async def run() -> None:
        clock = FakeClock()
        kv = MemoryKV(clock=clock, size_bytes=100)
        await kv.put("a", b"x" * 90, ttl_s=1)
        clock.advance(1)
        assert await kv.get("a") is None
        await kv.put("b", b"x" * 50)
        await kv.put("c", b"x" * 50)
        assert await kv.get("b") is not None

    asyncio.run(run())


def test_the_ledger_keeps_the_newest() -> None:
    ledger = MemoryLedger(count=2)
    asyncio.run(ledger.append([sample_receipt(call_id) for call_id in "abca"]))
    assert [r.call_id for r in ledger.receipts] == ["c", "a"]
