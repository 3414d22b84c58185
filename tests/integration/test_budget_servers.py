"""Budgets over a real Redis and Postgres that are killed, hang and come back: in doubt nothing is spent."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests import engines
from tests.engines import Engine, schema_url
from tests.unit.backends.budget.rig import CENT, DOLLAR, House, costing

from pennyweight.backends.budget.settings import BudgetRule
from pennyweight.counters import Counters
from pennyweight.errors import LimitReached, StoreError
from pennyweight.stores.counters.postgres import PostgresCounters
from pennyweight.stores.counters.redis import RedisCounters
from pennyweight.stores.postgres import Postgres
from pennyweight.stores.redis import connect
from pennyweight.testing.backend import make_call

RULES = [BudgetRule("key", name="day", usd=1, per="day"), BudgetRule("all", name="month", usd=2, per="month")]


@pytest.fixture(scope="module", params=["redis", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One of its own: it is killed, and others' tests shall not notice."""
    made = engines.redis() if request.param == "redis" else engines.postgres()
    if not made.ours:
        pytest.skip(f"{made.name} is a server named in the environment: it is not killed")
    yield made
    made.close()


@asynccontextmanager
async def counters_of(engine: Engine, place: str) -> AsyncIterator[Counters]:
    if engine.name == "Redis":
        client = connect(engine.url)
        yield RedisCounters(client, now=time.time, prefix=f"{{{place}}}:")
        await client.aclose()
    else:
        async with Postgres(place) as database:
            yield PostgresCounters(database)


def place_in(engine: Engine) -> str:
    return secrets.token_hex(4) if engine.name == "Redis" else schema_url(engine)


def test_a_server_that_is_killed_refuses_and_remembers(engine: Engine) -> None:
    place = place_in(engine)

    async def work() -> None:
        async with counters_of(engine, place) as counters:
            house = House(costing(30), rules=RULES, counters=counters)
            await house.spend(make_call(tenant="X"))
            under_way = await house.backend.open(make_call(tenant="X"))
            engine.kill()
            with pytest.raises(StoreError):
                await house.spend(make_call(tenant="X"))
            await under_way.aclose()
            await house.budgets.aclose()
            assert len(house.provider.calls) == 2
            engine.start()
            for _ in range(50):
                try:
                    states = await house.budgets.states()
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
            assert {(s.budget, s.spent // CENT, s.held // CENT) for s in states} == {("day", 30, 50), ("month", 30, 50)}
            with pytest.raises(LimitReached, match=r"^Daily limit reached for key X: \$0\.30 of \$1\.00 spent"):
                await house.spend(make_call(tenant="X"))

    asyncio.run(work())


def test_a_server_that_hangs_is_not_waited_for_for_ever(engine: Engine) -> None:
    place = place_in(engine)

    async def work() -> None:
        async with counters_of(engine, place) as counters:
            house = House(costing(30), rules=RULES, counters=counters, store_s=1.0)
            await house.spend(make_call(tenant="X"))
            engine.pause()
            try:
                with pytest.raises(StoreError):
                    await asyncio.wait_for(house.spend(make_call(tenant="X")), 60)
            finally:
                engine.resume()
            assert len(house.provider.calls) == 1
            for _ in range(100):  # what was asked of it meanwhile it does, and it is given back
                await house.budgets.aclose()
                if all(not state.held for state in await house.budgets.states()):
                    break
                await asyncio.sleep(0.05)
            assert {(s.spent // CENT, s.held) for s in await house.budgets.states()} == {(30, 0)}

    asyncio.run(work())


def test_two_gateways_share_a_cap(engine: Engine) -> None:
    place = place_in(engine)

    async def work() -> None:
        async with counters_of(engine, place) as one, counters_of(engine, place) as two:
            houses = [
                House(costing(7), rules=RULES[:1], counters=counters, worst=10, store_s=60.0) for counters in (one, two)
            ]

            async def call(number: int) -> int:
                try:
                    await houses[number % 2].spend(make_call(tenant="X"))
                except LimitReached:
                    return 0
                return 7

            spent = sum(await asyncio.gather(*(call(number) for number in range(60))))
            assert spent <= 100
            assert spent + 10 > 90, "as much as fits"
            total = sum(state.spent for state in await houses[0].budgets.states())
            assert total == spent * CENT <= DOLLAR

    asyncio.run(work())
