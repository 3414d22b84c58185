"""The bounds of the stores in memory; what they share with others is in tests/contract."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from pennyweight.stores.memory import MemoryKV, MemoryLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt


def run(work: Callable[[MemoryKV, FakeClock], Awaitable[None]], **bounds: int) -> None:
    clock = FakeClock()
    asyncio.run(work(MemoryKV(clock=clock, **bounds), clock))  # type: ignore[arg-type]


async def there(kv: MemoryKV, keys: str) -> str:
    """Those of the keys that are kept."""
    return "".join([key for key in keys if await kv.get(key) is not None])


def test_what_was_asked_for_stays_and_what_was_not_goes_first() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        await kv.put("a", b"1")
        await kv.put("b", b"2")
        await kv.get("a")
        await kv.put("c", b"3")
        assert await there(kv, "abc") == "ac"

    run(work, count=2)


def test_entries_that_nobody_asks_for_twice_push_out_nothing_that_many_do() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        hot = [f"hot{n}" for n in range(50)]
        for key in hot:
            await kv.put(key, b"x")
        for key in hot * 2:
            await kv.get(key)
        for n in range(1_000):
            await kv.put(f"once{n}", b"x")
        assert sum([await kv.get(key) is not None for key in hot]) == 50
        assert await kv.get("once999") is not None

    run(work, count=100)


def test_what_is_hot_no_more_goes() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        for name in ("old", "new", "newest"):
            for _ in range(5):
                for n in range(80):
                    if await kv.get(f"{name}{n}") is None:
                        await kv.put(f"{name}{n}", b"x")
        assert sum([await kv.get(f"newest{n}") is not None for n in range(80)]) > 70

    run(work, count=100)


def test_what_left_the_short_queue_and_came_back_is_kept_at_once() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        await kv.put("a", b"1")
        for n in range(100):
            await kv.put(f"x{n}", b"x")
        assert await kv.get("a") is None
        await kv.put("a", b"1")
        for n in range(100, 200):
            await kv.put(f"x{n}", b"x")
        assert await kv.get("a") is not None

    run(work, count=20)


@pytest.mark.parametrize("seed", range(5))
def test_keys_and_values_stay_within_the_bounds(seed: int) -> None:
    rng = random.Random(seed)

    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        held: dict[str, int] = {}
        for _ in range(2_000):
            key = f"k{rng.randrange(200)}"
            match rng.randrange(6):
                case 0 | 1 | 2:
                    size = rng.choice((0, 10, 300, 2_000))
                    await kv.put(key, b"x" * size, ttl_s=rng.choice((None, 5.0)))
                    held[key] = size
                case 3 | 4:
                    found = await kv.get(key)
                    assert found is None or len(found) == held[key]
                case _:
                    clock.advance(1)
                    if rng.random() < 0.1:
                        await kv.delete("k1")
            kept = [*kv._new.items(), *kv._long.items()]
            assert len(kept) <= 60
            assert kv._held_bytes == sum(200 + len(key) + len(entry.value) for key, entry in kept) <= 40_000
            assert kv._new_bytes == sum(200 + len(key) + len(entry.value) for key, entry in kv._new.items())
            assert not kv._new.keys() & kv._long.keys()

    run(work, count=60, size_bytes=40_000)


def test_a_value_too_large_for_the_short_queue_is_not_kept_and_pushes_nothing_out() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        await kv.put("a", b"x" * 600)
        await kv.put("b", b"x" * 801)
        assert await there(kv, "ab") == "a"
        await kv.put("a", b"x" * 50_000_000)
        assert await there(kv, "ab") == ""

    run(work, size_bytes=10_000)


def test_a_lapsed_entry_gives_its_room_back() -> None:
    async def work(kv: MemoryKV, clock: FakeClock) -> None:
        await kv.put("a", b"x" * 90, ttl_s=1)
        await kv.get("a")
        clock.advance(1)
        await kv.put("b", b"x" * 50)
        await kv.put("c", b"x" * 50)
        assert await there(kv, "abc") == "bc"
        assert kv._held_bytes == 2 * (200 + 1 + 50)

    run(work, count=2)


def test_the_ledger_keeps_the_newest() -> None:
    ledger = MemoryLedger(count=2)
    asyncio.run(ledger.append([sample_receipt(call_id) for call_id in "abca"]))
    assert [r.call_id for r in ledger.receipts] == ["c", "a"]
