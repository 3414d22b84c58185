"""One suite for counters of budgets, against memory, its journal, SQLite and the real Redis, Valkey and Postgres."""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.engines import Engine, schema_url

from pennyweight.counters import MOST, Counter, Counters, Move, Take
from pennyweight.stores.counters.memory import MemoryCounters
from pennyweight.stores.counters.postgres import PostgresCounters
from pennyweight.stores.counters.redis import RedisCounters
from pennyweight.stores.counters.sqlite import SQLiteCounters
from pennyweight.stores.database import FILE, Database
from pennyweight.stores.postgres import Postgres
from pennyweight.stores.redis import connect

Pair = tuple[Counters, Counters]
Open = Callable[[], AbstractAsyncContextManager[Pair]]
"""Two views of the same counters, as two processes have them."""

STORES = ["memory", "journal", "sqlite", "redis", "valkey", "postgres"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Open:
    name = request.param
    if name == "memory":
        return memory
    if name == "journal":
        return journal
    if name == "sqlite":
        return sqlite
    engine: Engine = request.getfixturevalue(f"{name}_server")
    return (lambda: postgres(engine)) if name == "postgres" else (lambda: redis(engine))


@asynccontextmanager
async def memory() -> AsyncIterator[Pair]:
    counters = MemoryCounters(now=time.time)
    yield counters, counters


@asynccontextmanager
async def journal() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (MemoryCounters(Path(folder) / "budgets.journal", now=time.time) for _ in range(2))
        yield one, two
        one.close()
        two.close()


@asynccontextmanager
async def sqlite() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (Database(Path(folder) / FILE, busy_s=10) for _ in range(2))
        yield SQLiteCounters(one, now=time.time), SQLiteCounters(two, now=time.time)
        await one.close()
        await two.close()


@asynccontextmanager
async def redis(engine: Engine) -> AsyncIterator[Pair]:
    clients = [connect(engine.url) for _ in range(2)]
    prefix = f"{{{secrets.token_hex(4)}}}:"
    one, two = (RedisCounters(client, now=time.time, prefix=prefix) for client in clients)
    yield one, two
    for client in clients:
        await client.aclose()


@asynccontextmanager
async def postgres(engine: Engine) -> AsyncIterator[Pair]:
    url = schema_url(engine)
    async with Postgres(url) as one, Postgres(url) as two:
        yield PostgresCounters(one), PostgresCounters(two)


def run(store: Open, work: Callable[[Counters, Counters], Any]) -> None:
    async def inside() -> None:
        async with store() as (one, two):
            await work(one, two)

    asyncio.run(inside())


def test_what_is_taken_is_held_and_then_spent(store: Open) -> None:
    async def work(one: Counters, two: Counters) -> None:
        taken = await one.take([Take("a", 30, 100), Take("b", 5, 100, ends=time.time() + 60)])
        assert (taken.refused, taken.counters) == ((), (Counter(0, 30), Counter(0, 5)))
        assert await two.move([Move("a", 30, 20), Move("b", 5, 0)]) == [Counter(20, 0), Counter(0, 0)]
        assert dict(await one.read("")) == {"a": Counter(20, 0), "b": Counter(0, 0)}
        assert dict(await two.read("a")) == {"a": Counter(20, 0)}

    run(store, work)


def test_all_or_none(store: Open) -> None:
    async def work(one: Counters, two: Counters) -> None:
        await one.take([Take("b", 95, 100)])
        taken = await two.take([Take("c", 1, 100), Take("b", 6, 100), Take("a", 200, 100)])
        assert taken.refused == (1, 2)
        assert taken.counters == (Counter(), Counter(0, 95), Counter())
        assert all(counter == Counter() for key, counter in (await one.read("")).items() if key != "b")
        assert (await two.take([Take("b", 5, 100)])).refused == (), "up to the limit itself"

    run(store, work)


def test_a_bill_above_what_was_held_is_counted(store: Open) -> None:
    async def work(one: Counters, two: Counters) -> None:
        await one.take([Take("a", 10, 100)])
        assert await one.move([Move("a", 10, 150)]) == [Counter(150, 0)]
        taken = await two.take([Take("a", 0, 100)])
        assert (taken.refused, taken.counters) == ((0,), (Counter(150, 0),))

    run(store, work)


def test_amounts_beyond_all_reason_stay_numbers(store: Open) -> None:
    async def work(one: Counters, two: Counters) -> None:
        for _ in range(3):
            (counter,) = await one.move([Move("a", 0, 10**30)])
        assert counter == Counter(MOST, 0)
        assert (await two.take([Take("a", 1, 10**30)])).refused == (0,)
        assert (await two.take([Take("b", 9_007_199_254_740_993, 9_007_199_254_740_992)])).refused == (0,)
        assert (await two.take([Take("b", 9_007_199_254_740_993, 9_007_199_254_740_993)])).refused == ()

    run(store, work)


def test_nothing_goes_below_zero(store: Open) -> None:
    async def work(one: Counters, _two: Counters) -> None:
        await one.take([Take("a", 10, 100)])
        assert await one.reset("a")
        assert (await one.move([Move("a", 10, 4)]))[0].total <= 10, "settled after a reset"
        assert (await one.move([Move("b", 7, 0)])) == [Counter(0, 0)]
        assert not await one.reset("nowhere")

    run(store, work)


def test_names_of_all_kinds(store: Open) -> None:
    names = ["a\nb\nü", "x*[y]?", "back\\slash", "😀", " "]

    async def work(one: Counters, two: Counters) -> None:
        await one.take([Take(name, at + 1, 100) for at, name in enumerate(names)])
        for at, name in enumerate(names):
            assert (await two.read(name))[name] == Counter(0, at + 1)

    run(store, work)


def test_many_at_once_never_pass_a_limit(store: Open) -> None:
    """Two processes, several counters each, in any order: the sums are exact and no limit is passed."""
    limits = {"a": 500, "b": 900, "c": 300}

    async def work(one: Counters, two: Counters) -> None:
        draw = random.Random(7)
        spent = dict.fromkeys(limits, 0)

        async def call(counters: Counters, keys: list[str], amount: int, billed: int) -> None:
            taken = await counters.take([Take(key, amount, limits[key]) for key in keys])
            assert all(c.total <= limits[k] for k, c in zip(keys, taken.counters, strict=True))
            if not taken.refused:
                await asyncio.sleep(0)
                await counters.move([Move(key, amount, billed) for key in keys])
                for key in keys:
                    spent[key] += billed

        async with asyncio.TaskGroup() as group:
            for number in range(120):
                keys = draw.sample(list(limits), draw.randint(1, 3))
                amount = draw.randint(1, 20)
                group.create_task(call(one if number % 2 else two, keys, amount, draw.randint(0, amount)))
        assert {key: c for key, c in (await one.read("")).items() if c.total} == {
            key: Counter(total, 0) for key, total in spent.items() if total
        }

    run(store, work)


def test_a_journal_outlives_its_process_and_its_rewriting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "budgets.journal"
    monkeypatch.setattr("pennyweight.stores.counters.memory._REWRITE_BYTES", 2_000)

    async def work() -> None:
        one, two = (MemoryCounters(path, now=lambda: 1e9) for _ in range(2))
        for number in range(100):
            await (one if number % 3 else two).move([Move("a", 0, 1), Move("old", 0, 1)])
            await one.take([Take("past", 1, 10**6, ends=1.0)])
        await two.take([Take("a", 5, 1_000)])
        with path.open("ab") as file:
            file.write(b'\n[["a",9')  # torn when its writer was killed
        again = MemoryCounters(path, now=lambda: 1e9)
        found = dict(await again.read(""))
        assert found["a"] == Counter(100, 5)
        assert await one.move([Move("a", 5, 5)]) == [Counter(105, 0)]
        assert (await again.read("a"))["a"] == Counter(105, 0)
        assert path.stat().st_size < 4_000
        assert path.stat().st_mode & 0o777 == 0o600

    asyncio.run(work())
