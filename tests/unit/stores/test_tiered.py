"""Several stores as one: what happens when a tier is down."""

from __future__ import annotations

import asyncio

import pytest

from pennyweight.errors import StoreError
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.tiered import Tiered
from pennyweight.testing.clock import FakeClock


class Breakable(MemoryKV):
    """A memory store that can go down."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise StoreError("down")

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await super().get(key)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._check()
        await super().put(key, value, ttl_s=ttl_s)

    async def delete(self, prefix: str) -> int:
        self._check()
        return await super().delete(prefix)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        self._check()
        return await super().add(key, amount, ttl_s=ttl_s)


def tiers() -> tuple[FakeClock, Breakable, Breakable, Tiered]:
    clock = FakeClock()
    fast, slow = Breakable(clock), Breakable(clock)
    return clock, fast, slow, Tiered([fast, slow], fill_ttl_s=300)


def test_a_read_fills_the_faster_tiers_for_a_while() -> None:
    async def main() -> None:
        clock, fast, slow, both = tiers()
        await slow.put("k", b"value")
        assert await both.get("k") == b"value"
        assert await fast.get("k") == b"value"
        clock.advance(301)
        assert await fast.get("k") is None
        assert await both.get("k") == b"value"
        assert await both.get("other") is None

    asyncio.run(main())


@pytest.mark.parametrize("down", [0, 1])
def test_one_tier_down_costs_nothing_but_speed(down: int) -> None:
    async def main() -> None:
        _, fast, slow, both = tiers()
        await both.put("k", b"value")
        (fast, slow)[down].down = True
        assert await both.get("k") == b"value"
        await both.put("k", b"new")
        assert await both.get("k") == b"new"

    asyncio.run(main())


def test_all_tiers_down_is_an_error() -> None:
    async def main() -> None:
        _, fast, slow, both = tiers()
        fast.down = slow.down = True
        for work in (both.get("k"), both.put("k", b"v"), both.delete("k"), both.add("k", 1)):
            with pytest.raises(StoreError):
                await work

    asyncio.run(main())


def test_a_delete_reaches_every_tier_that_answers_and_tells_of_one_that_does_not() -> None:
    async def main() -> None:
        _, fast, slow, both = tiers()
        await both.put("k", b"value")
        fast.down = True
        with pytest.raises(StoreError):
            await both.delete("k")
        assert await slow.get("k") is None
        fast.down = False
        assert await both.delete("k") == 1  # the copy that the tier kept while it was down

    asyncio.run(main())


def test_counters_live_in_the_last_tier_alone() -> None:
    async def main() -> None:
        _, fast, _, both = tiers()
        assert await both.add("n", 5) == 5
        assert await both.get("n") == b"5"
        assert await fast.get("n") is None
        assert await both.add("n", -7) == -2
        assert await both.get("n") == b"-2"

    asyncio.run(main())


def test_no_tiers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no tiers"):
        Tiered([])
