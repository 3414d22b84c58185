"""What selections share through every store: nothing is lost, all come to the same, and tenants stay apart."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from tests.engines import Engine, schema_url

from pennyweight.clock import SystemClock
from pennyweight.errors import BadRequest, StoreError
from pennyweight.protocols import KV
from pennyweight.selection import NAMES, Candidate, Choice, Rule, Selection
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.postgres import Postgres, PostgresKV
from pennyweight.stores.redis import RedisKV, connect
from pennyweight.stores.sqlite import FILE, Database, SQLiteKV
from pennyweight.testing.clock import FakeClock

AB = [Candidate("a"), Candidate("b")]
Two = Callable[[], AbstractAsyncContextManager[tuple[KV, KV]]]
"""A store as two processes have it, each by a connection of its own where there are any."""


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[KV, KV]]:
    kv = MemoryKV(clock=SystemClock())
    yield kv, kv


@asynccontextmanager
async def sqlite() -> AsyncIterator[tuple[KV, KV]]:
    with tempfile.TemporaryDirectory() as folder:
        one, other = Database(Path(folder) / FILE), Database(Path(folder) / FILE)
        try:
            yield SQLiteKV(one, clock=SystemClock()), SQLiteKV(other, clock=SystemClock())
        finally:
            await other.close()
            await one.close()


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def two(request: pytest.FixtureRequest) -> Two:
    if request.param in ("memory", "sqlite"):
        return {"memory": memory, "sqlite": sqlite}[request.param]
    engine: Engine = request.getfixturevalue(f"{request.param}_server")
    prefix = f"{secrets.token_hex(6)}:"

    @asynccontextmanager
    async def redis() -> AsyncIterator[tuple[KV, KV]]:
        async with connect(engine.url) as one, connect(engine.url) as other:
            yield RedisKV(one, prefix=prefix), RedisKV(other, prefix=prefix)

    @asynccontextmanager
    async def postgres() -> AsyncIterator[tuple[KV, KV]]:
        url = schema_url(engine)
        async with Postgres(url) as one, Postgres(url) as other:
            yield PostgresKV(one), PostgresKV(other)

    return redis if request.param == "redis" else postgres


def drive(two: Two, work: Callable[[KV, KV], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), two() as (one, other):
            await work(one, other)

    asyncio.run(main())


def made(kv: KV, *, rule: Rule | None = None, clock: FakeClock | SystemClock | None = None) -> Selection:
    return Selection(kv, clock or SystemClock(), rule=rule, random=lambda: Random(1), look_s=0.0)


def test_what_one_process_learns_the_other_knows(two: Two) -> None:
    async def work(one: KV, other: KV) -> None:
        here, there = made(one), made(other)
        for _ in range(12):
            await here.feedback("alice", Choice("code", "a"), 1.0, tokens=100, latency_s=2)
            await there.feedback("alice", Choice("code", "b"), 0.0)
        assert (await there.select("alice", "code", AB)).name == "a"
        assert await here.standings("alice") == await there.standings("alice")
        assert {s.name: (s.tried, s.tokens) for s in await here.standings("alice")} == {"a": (12, 100), "b": (12, 0)}

    drive(two, work)


def test_nothing_that_is_told_at_the_same_time_is_lost(two: Two) -> None:
    async def work(one: KV, other: KV) -> None:
        here, there = made(one), made(other)
        await asyncio.gather(*[s.feedback("t", Choice("code", "a"), 1.0) for _ in range(60) for s in (here, there)])
        for selection in (here, there, made(one)):
            (standing,) = await selection.standings("t")
            assert standing.tried == 120

    drive(two, work)


def test_one_that_starts_later_comes_to_the_same(two: Two) -> None:
    async def work(one: KV, other: KV) -> None:
        here, dice = made(one), Random(2)
        for number in range(200):
            task = "code" if number % 3 else "maths"
            await here.feedback("t", Choice(task, dice.choice("abc"), "m"), dice.choice((0.0, 0.5, 1.0)))
        assert await made(other).standings("t") == await here.standings("t")

    drive(two, work)


def test_tenants_know_nothing_of_each_other(two: Two) -> None:
    async def work(one: KV, other: KV) -> None:
        here = made(one)
        for _ in range(10):
            await here.feedback("alice", Choice("code", "a"), 0.0)
        assert not await here.standings("bob")
        assert not await made(other).standings("bob/alice")
        await here.forget("bob")
        assert len(await made(other).standings("alice")) == 1

    drive(two, work)


def test_forgetting_begins_anew_everywhere(two: Two) -> None:
    async def work(one: KV, other: KV) -> None:
        here, there = made(one), made(other)
        for _ in range(5):
            await here.feedback("t", Choice("code", "a"), 1.0)
        assert await there.standings("t")
        await here.forget("t")
        for selection in (here, there, made(other)):
            assert not await selection.standings("t")
        await there.feedback("t", Choice("code", "b"), 1.0)
        assert [one.name for one in await here.standings("t")] == ["b"]

    drive(two, work)


# --- on one store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", NAMES)
def test_another_rule_learns_from_what_was_told_before(rule: str) -> None:
    async def work(one: KV, other: KV) -> None:
        before = made(one)
        for _ in range(70):
            await before.feedback("t", Choice("code", "a"), 1.0)
            await before.feedback("t", Choice("code", "b"), 0.0)
        after = made(other, rule=Rule(rule))  # type: ignore[arg-type]
        assert {s.name: s.tried for s in await after.standings("t")} == {"a": 70, "b": 70}

    drive(memory, work)


def test_a_number_whose_writer_died_is_waited_for_and_then_passed_over() -> None:
    async def work(one: KV, other: KV) -> None:
        clock = FakeClock()
        here = made(one, clock=clock)
        await here.feedback("t", Choice("code", "a"), 1.0)
        (log,) = [key for key in await other.keys("selection/", limit=10) if key.endswith("told/1")]  # type: ignore[attr-defined]
        await other.add(log.removesuffix("/1"), 1)  # and dies
        await here.feedback("t", Choice("code", "a"), 1.0)
        assert (await here.standings("t"))[0].tried == 1  # the second waits for its turn
        clock.advance(6)
        assert (await here.standings("t"))[0].tried == 2

    drive(memory, work)


def test_without_its_store_it_goes_on_choosing_by_what_it_knows() -> None:
    class Down(MemoryKV):
        down = False

        async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
            if self.down:
                raise StoreError("the store is down")
            return await super().add(key, amount, ttl_s=ttl_s)

    async def main() -> None:
        kv = Down(clock=SystemClock())
        selection = made(kv)
        for _ in range(20):
            await selection.feedback("t", Choice("code", "a"), 0.0)
            await selection.feedback("t", Choice("code", "b"), 1.0)
        kv.down = True
        assert (await selection.select("t", "code", AB)).name == "b"
        with pytest.raises(StoreError):
            await selection.feedback("t", Choice("code", "b"), 1.0)

    asyncio.run(main())


def test_a_state_that_cannot_be_read_is_made_anew() -> None:
    async def work(one: KV, other: KV) -> None:
        here = made(one)
        for _ in range(130):
            await here.feedback("t", Choice("code", "a"), 1.0)
        (state,) = [key for key in await other.keys("selection/", limit=500) if "/state/" in key]  # type: ignore[attr-defined]
        for damaged in (b"", b"{}", b'{"number":128,"state":{"version":9}}', b'{"number":"x","state":1}'):
            await other.put(state, damaged)
            assert (await made(other).standings("t"))[0].tried == 130

    drive(memory, work)


@pytest.mark.parametrize(
    ("task_type", "candidates"),
    [
        ("code", []),
        ("", AB),
        ("code", [Candidate("")]),
        ("x" * 300, AB),
        ("code", [Candidate("a"), Candidate("a", "m")]),
    ],
)
def test_names_that_are_none_are_refused(task_type: str, candidates: list[Candidate]) -> None:
    async def work(one: KV, _: KV) -> None:
        with pytest.raises(BadRequest):
            await made(one).select("t", task_type, candidates)
        with pytest.raises(BadRequest):
            await made(one).feedback("t", Choice(task_type, "a", "x" * 300), 1.0)
        with pytest.raises(BadRequest):
            await made(one).feedback("t", Choice("code", "a"), 2.0)
        assert not await one.keys("selection/", limit=10)  # type: ignore[attr-defined]

    drive(memory, work)
