"""Several stores as one: what happens when a tier fails, hangs, comes back, or changes while it is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from pennyweight.clock import SystemClock
from pennyweight.errors import StoreError
from pennyweight.stores.breaker import Refused
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.tiered import Level, LevelSettings, Tiered
from pennyweight.testing.clock import FakeClock


class Breakable:
    """A store in memory that can go down, or hang until `gate` is set."""

    def __init__(self, clock: FakeClock) -> None:
        self.inner = MemoryKV(clock=clock)
        self.down = self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def _ready(self, what: str) -> None:
        self.asked.append(what)
        await self.gate.wait()
        if self.down:
            raise StoreError("down")
        if self.refuses and what != "read":
            raise Refused("read only")

    async def get(self, key: str) -> bytes | None:
        found = await self.read(key)
        return None if found is None else found[0]

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        found = await self.inner.read(key)  # before the gate: an answer on its way is of the time when it was made
        await self._ready("read")
        return found

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._ready("put")
        await self.inner.put(key, value, ttl_s=ttl_s)

    async def remove(self, key: str) -> None:
        await self._ready("remove")
        await self.inner.remove(key)

    async def delete(self, prefix: str) -> int:
        await self._ready("delete")
        return await self.inner.delete(prefix)

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        await self._ready("keys")
        return await self.inner.keys(prefix, limit=limit)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        await self._ready("add")
        return await self.inner.add(key, amount, ttl_s=ttl_s)


REMOTE = LevelSettings(timeout_s=0.03, write_timeout_s=0.03, delete_timeout_s=0.03, behind=True)


class Rig:
    """Memory over a store that may fail, over another: as in a fleet, or all written at once."""

    def __init__(self, settings: LevelSettings | None = None) -> None:
        self.clock = FakeClock()
        self.memory = MemoryKV(clock=self.clock)
        self.middle, self.last = Breakable(self.clock), Breakable(self.clock)
        levels = [
            Level("memory", self.memory, clock=self.clock),
            Level("middle", self.middle, clock=self.clock, settings=settings),
            Level("last", self.last, clock=self.clock, settings=settings),
        ]
        self.kv = Tiered(levels)

    def stats(self, name: str):
        return next(stats for stats in self.kv.stats() if stats.name == name)


def test_a_read_fills_the_faster_tiers_for_a_while() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.last.inner.put("k", b"value")
        assert await rig.kv.get("k") == b"value"
        await rig.kv.flush()
        assert await rig.memory.get("k") == b"value"
        assert await rig.middle.inner.get("k") == b"value"
        rig.clock.advance(301)
        assert await rig.memory.get("k") is None
        assert await rig.middle.inner.get("k") is None
        assert await rig.kv.get("k") == b"value"
        assert await rig.kv.get("other") is None

    asyncio.run(main())


def test_a_copy_is_not_kept_for_longer_than_what_it_was_made_from() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.last.inner.put("k", b"value", ttl_s=20)
        rig.clock.advance(15)
        assert await rig.kv.get("k") == b"value"
        await rig.kv.flush()
        rig.clock.advance(5)
        assert await rig.memory.get("k") is None
        assert await rig.middle.inner.get("k") is None
        assert await rig.kv.get("k") is None

    asyncio.run(main())


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("down", ["middle", "last"])
def test_one_tier_down_costs_nothing_but_speed(down: str, behind: bool) -> None:
    async def main() -> None:
        rig = Rig(REMOTE if behind else None)
        await rig.kv.put("k", b"value")
        await rig.kv.flush()
        getattr(rig, down).down = True
        await rig.memory.delete("")
        assert await rig.kv.get("k") == b"value"
        await rig.kv.put("k", b"new")
        await rig.kv.flush()
        await rig.memory.delete("")
        assert await rig.kv.get("k") == b"new"

    asyncio.run(main())


def test_all_tiers_down_is_an_error() -> None:
    async def main() -> None:
        clock = FakeClock()
        one, two = Breakable(clock), Breakable(clock)
        both = Tiered([Level("one", one, clock=clock), Level("two", two, clock=clock)])
        one.down = two.down = True
        for work in (both.get("k"), both.put("k", b"v"), both.delete("k"), both.remove("k"), both.add("k", 1)):
            with pytest.raises(StoreError):
                await work

    asyncio.run(main())


KEYS = ("replaced", "purge/a", "gone", "kept")


def test_what_came_back_is_not_what_was_replaced_or_deleted_meanwhile() -> None:
    """A server that was down comes back with its old data."""

    async def main() -> None:
        rig = Rig(REMOTE)
        for key in KEYS:
            await rig.kv.put(key, b"old")
        await rig.kv.flush()
        rig.middle.down = rig.last.down = True
        await rig.kv.put("replaced", b"new")
        await rig.kv.flush()
        with pytest.raises(StoreError):
            await rig.kv.delete("purge/")
        with pytest.raises(StoreError):
            await rig.kv.remove("gone")
        await rig.memory.delete("")

        rig.middle.down = rig.last.down = False
        rig.clock.advance(60)
        assert [await rig.kv.get(key) for key in KEYS] == [None] * 4  # nobody waits for the trial that this begins
        await asyncio.sleep(0.01)
        for _ in range(3):
            assert [await rig.kv.get(key) for key in KEYS] == [None, None, None, b"old"]
            await rig.kv.get("missing")  # asks the last tier too
            await asyncio.sleep(0.01)
        for store in (rig.middle, rig.last):  # and now it has been told
            assert [await store.inner.get(key) for key in KEYS] == [None, None, None, b"old"]
        await rig.kv.put("replaced", b"newest")
        await rig.kv.flush()
        assert await rig.middle.inner.get("replaced") == b"newest"

    asyncio.run(main())


def test_a_tier_that_is_down_is_asked_no_more_until_its_rest_is_over() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        await rig.last.inner.put("k", b"v")
        rig.middle.down = True
        for n in range(20):
            await rig.kv.get(f"missing {n}")
        assert len(rig.middle.asked) == 3
        stats = rig.stats("middle")
        assert (stats.down, stats.errors, stats.skipped, stats.trips) == (True, 3, 17, 1)

        async def asked_twice() -> int:
            for _ in range(2):
                await rig.kv.get("missing")
                await asyncio.sleep(0)
            return len(rig.middle.asked)

        rig.clock.advance(0.3)
        assert await asked_twice() == 4  # one trial, and it failed: it rests twice as long
        rig.clock.advance(0.3)
        assert await asked_twice() == 4
        rig.middle.down = False
        rig.clock.advance(0.3)
        await rig.kv.get("missing")
        await asyncio.sleep(0.01)
        assert not rig.stats("middle").down
        assert await asked_twice() == 7

    asyncio.run(main())


def test_a_tier_that_hangs_costs_its_timeout_and_then_nothing() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        rig.middle.gate.clear()
        loop = asyncio.get_running_loop()
        for n in range(3):
            began = loop.time()
            assert await rig.kv.get(f"k{n}") is None
            assert loop.time() - began < 0.25  # its bound is 0.03; the machine may be busy
        asked = len(rig.middle.asked)
        for n in range(50):
            await rig.kv.get(f"k{n}")
        assert len(rig.middle.asked) == asked
        stats = rig.stats("middle")
        assert (stats.down, stats.timeouts) == (True, 3)
        await rig.kv.close()

    asyncio.run(main())


def test_what_must_be_connected_to_is_passed_over_until_it_is() -> None:
    """Connecting may take longer than a caller should wait; an answer then comes in time."""

    async def main() -> None:
        clock = FakeClock()
        store = Breakable(clock)
        await store.inner.put("k", b"value")
        store.gate.clear()
        settings = LevelSettings(timeout_s=0.01, untried=True, behind=True)
        memory = Level("memory", MemoryKV(clock=clock), clock=clock)
        kv = Tiered([memory, Level("far", store, clock=clock, settings=settings)])
        kv.start()
        await asyncio.sleep(0.03)
        assert await kv.get("k") is None
        store.gate.set()
        await asyncio.sleep(0.01)
        assert await kv.get("k") == b"value"
        stats = kv.stats()[1]
        assert (stats.skipped, stats.errors, stats.trips) == (1, 0, 0)
        await kv.close()

    asyncio.run(main())


def test_callers_who_leave_early_do_not_hide_that_a_tier_hangs() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        rig.middle.gate.clear()
        for n in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await rig.kv.get(f"k{n}")
        async with asyncio.timeout(60):
            while not rig.stats("middle").down:  # noqa: ASYNC110 - nothing tells when that is so
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_equal_reads_at_the_same_time_are_one() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.last.inner.put("k", b"value")
        rig.last.gate.clear()
        reads = [asyncio.create_task(rig.kv.get("k")) for _ in range(1000)]
        await asyncio.sleep(0)
        reads[0].cancel()  # the one that reads for all
        await asyncio.sleep(0)
        rig.last.gate.set()
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert set(answers[1:]) <= {None, b"value"}  # who waited for one that left has a miss
        assert rig.last.asked.count("read") == 1
        reads = [asyncio.create_task(rig.kv.get("k")) for _ in range(1000)]
        assert set(await asyncio.gather(*reads)) == {b"value"}
        assert rig.last.asked.count("read") == 2

    asyncio.run(main())


def test_a_delete_is_not_undone_by_a_read_or_a_write_under_way() -> None:
    async def main() -> None:
        rig = Rig(LevelSettings(behind=True))
        await rig.last.inner.put("k", b"old")
        rig.last.gate.clear()
        reading = asyncio.create_task(rig.kv.get("k"))
        await asyncio.sleep(0)
        await rig.kv.put("w", b"being written")
        await asyncio.sleep(0)
        await rig.kv.put("q", b"queued")
        deleting = asyncio.create_task(rig.kv.delete(""))
        await asyncio.sleep(0)
        rig.last.gate.set()
        assert await deleting >= 2
        await reading
        await rig.kv.flush()
        await asyncio.sleep(0.01)
        for key in ("k", "w", "q"):
            assert await rig.kv.get(key) is None, key
            assert await rig.last.inner.get(key) is None, key
            assert await rig.middle.inner.get(key) is None, key

    asyncio.run(main())


def test_a_read_under_way_does_not_put_an_old_value_over_a_new_one() -> None:
    async def main() -> None:
        rig = Rig(LevelSettings(behind=True))
        await rig.last.inner.put("k", b"old")
        rig.last.gate.clear()
        reading = asyncio.create_task(rig.kv.get("k"))
        await asyncio.sleep(0)
        await rig.kv.put("k", b"new")
        await asyncio.sleep(0.01)
        assert await rig.middle.inner.get("k") == b"new"
        rig.last.gate.set()
        assert await reading in (b"old", b"new")  # it began before
        await rig.kv.flush()
        assert await rig.memory.get("k") == b"new"
        assert await rig.middle.inner.get("k") == b"new"
        assert await rig.last.inner.get("k") == b"new"

    asyncio.run(main())


def test_a_tier_that_only_refuses_writes_is_still_read(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        await rig.kv.put("k", b"value")
        await rig.kv.flush()
        rig.middle.refuses = True
        for n in range(10):
            await rig.kv.put(f"more {n}", b"value")
        await rig.kv.flush()
        await rig.memory.delete("")
        assert await rig.kv.found("k") == (b"value", "middle")
        stats = rig.stats("middle")
        assert (stats.down, stats.dropped) == (False, 10)

    asyncio.run(main())
    assert [record.message for record in caplog.records] == ["a cache tier refuses writes"]


def test_a_process_that_was_held_up_does_not_blame_the_tier() -> None:
    """The time limit of a question is over, but the answer is there: nobody had looked."""

    async def main() -> None:
        clock = FakeClock()
        store = Breakable(clock)
        await store.inner.put("k", b"value")
        settings = LevelSettings(timeout_s=0.02)
        kv = Tiered([Level("far", store, clock=clock, settings=settings)])
        for _ in range(3):
            store.gate.clear()
            reading = asyncio.create_task(kv.get("k"))
            await asyncio.sleep(0.001)
            asyncio.get_running_loop().call_soon(store.gate.set)
            time.sleep(0.05)  # noqa: ASYNC251 - this is what holds it up
            assert await reading == b"value"
        assert kv.stats()[0].errors == 0

    asyncio.run(main())


def test_queued_writes_are_bounded_and_the_newest_of_a_key_wins() -> None:
    async def main() -> None:
        clock = FakeClock()
        store = Breakable(clock)
        settings = LevelSettings(behind=True, queue=10, queue_bytes=1000, max_value_bytes=500)
        kv = Tiered([Level("slow", store, clock=clock, settings=settings)])
        store.gate.clear()
        for n in range(100):
            await kv.put(f"k{n}", b"x" * 50)
            await kv.put("same", b"%d" % n)
        await kv.put("large", b"x" * 501)
        assert await kv.get("same") == b"99"  # what is queued is found
        stats = kv.stats()[0]
        assert stats.queued <= 10
        assert stats.dropped >= 90
        for n in range(5):
            await kv.put(f"big{n}", b"x" * 400)
        assert kv.stats()[0].queued <= 2
        store.gate.set()
        await kv.flush()
        assert await kv.get("big4") == b"x" * 400
        assert await kv.get("large") is None
        await kv.close()

    asyncio.run(main())


def test_closing_makes_what_is_queued_and_does_not_wait_for_ever() -> None:
    async def main() -> None:
        clock = SystemClock()
        good, stuck = Breakable(FakeClock()), Breakable(FakeClock())
        stuck.gate.clear()
        settings = LevelSettings(behind=True)
        kv = Tiered(
            [Level("a", good, clock=clock, settings=settings), Level("b", stuck, clock=clock, settings=settings)]
        )
        await kv.put("k", b"v")
        async with asyncio.timeout(60):
            await kv.close()
        assert await good.inner.get("k") == b"v"

    asyncio.run(main())


def test_counters_live_in_the_last_tier_alone() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        assert await rig.kv.add("n", 5) == 5
        assert await rig.kv.get("n") == b"5"
        assert await rig.memory.get("n") is None
        assert await rig.kv.add("n", -7) == -2
        assert await rig.kv.get("n") == b"-2"
        misses = [stats.misses for stats in rig.kv.stats()]
        assert await rig.kv.counter("n") == -2
        assert await rig.kv.counter("other") == 0
        assert [stats.misses for stats in rig.kv.stats()] == misses  # no look for an answer
        await rig.kv.put("bytes", b"no number")
        await rig.kv.flush()
        with pytest.raises(StoreError, match="no counter"):
            await rig.kv.counter("bytes")

    asyncio.run(main())


def test_counters_tell_where_answers_came_from() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.last.inner.put("k", b"value")
        for _ in range(3):
            await rig.kv.get("k")
            await rig.kv.flush()
        await rig.kv.get("nothing")
        told = {stats.name: (stats.hits, stats.misses) for stats in rig.kv.stats()}
        assert told == {"memory": (2, 2), "middle": (0, 2), "last": (1, 1)}
        assert rig.stats("last").reads == 2

    asyncio.run(main())


def test_what_was_found_says_where_and_keys_are_those_of_all_tiers() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.kv.put("a/all", b"one")
        await rig.last.inner.put("a/last", b"two")
        await rig.middle.inner.put("a/middle", b"3")
        assert sorted(await rig.kv.keys("a/")) == ["a/all", "a/last", "a/middle"]
        assert await rig.kv.found("a/all") == (b"one", "memory")
        assert await rig.kv.found("a/last") == (b"two", "last")
        assert await rig.kv.found("a/last") == (b"two", "memory")
        assert await rig.kv.found("a/none") is None
        rig.middle.down = True
        assert sorted(await rig.kv.keys("a/")) == ["a/all", "a/last"]

    asyncio.run(main())


def test_no_tiers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no tiers"):
        Tiered([])


def test_a_value_is_written_once_one_tier_that_lasts_has_it() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        rig.middle.gate.clear()
        await rig.kv.put("k", b"value")
        assert await rig.memory.get("k") == b"value"
        assert await asyncio.wait_for(rig.kv.written("k"), 60)
        assert await rig.last.inner.get("k") == b"value"
        assert await rig.middle.inner.get("k") is None
        rig.middle.gate.set()
        await rig.kv.flush()
        assert await rig.kv.written("k"), "long ago"

    asyncio.run(main())


def test_a_value_that_no_tier_took_is_not_written() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        rig.middle.down = rig.last.down = True
        await rig.kv.put("k", b"value")
        assert await rig.kv.get("k") == b"value", "memory has it"
        assert not await asyncio.wait_for(rig.kv.written("k"), 60)

    asyncio.run(main())


def test_who_waits_for_a_key_does_not_wait_for_others() -> None:
    async def main() -> None:
        rig = Rig(REMOTE)
        await rig.kv.put("first", b"1")
        waiting = asyncio.create_task(rig.kv.written("first"))
        for number in range(50):
            await rig.kv.put(f"k{number}", b"value")
        assert await asyncio.wait_for(waiting, 60)
        assert rig.stats("last").queued > 25
        await rig.kv.flush()

    asyncio.run(main())
