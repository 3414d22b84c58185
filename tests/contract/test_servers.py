"""The contract suites of `pennyweight.testing` against real Redis, Valkey and Postgres servers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from tests.engines import Engine, schema_url
from tests.pace import at_some_pace

from pennyweight.clock import SystemClock
from pennyweight.protocols import KV, Leases, Tier
from pennyweight.stores.postgres import Postgres, PostgresKV, PostgresLeases
from pennyweight.stores.redis import RedisKV, RedisLeases, connect
from pennyweight.stores.sealed import Codec, Sealed
from pennyweight.stores.tiered import Level, LevelSettings, Tiered
from pennyweight.testing.contracts import KV_CHECKS, LEASES_CHECKS, TIER_CHECKS, TestingClock

Opener = Callable[[TestingClock], AbstractAsyncContextManager[Any]]


def redis_tier(engine: Engine) -> Opener:
    @asynccontextmanager
    async def opened(clock: TestingClock) -> AsyncIterator[Tier]:
        clock.keep_real_time()
        client = connect(engine.url)
        async with client:
            yield RedisKV(client, prefix=f"[*]{secrets.token_hex(6)}:")  # as a pattern, it would match other keys

    return opened


def postgres_tier(engine: Engine) -> Opener:
    @asynccontextmanager
    async def opened(clock: TestingClock) -> AsyncIterator[Tier]:
        clock.keep_real_time()
        async with Postgres(schema_url(engine)) as database:
            yield PostgresKV(database)

    return opened


def tiered(redis: Opener, postgres: Opener) -> Opener:
    """Redis over Postgres, as a fleet has them. No memory on top, which would answer in their place."""

    @asynccontextmanager
    async def opened(clock: TestingClock) -> AsyncIterator[KV]:
        async with redis(clock) as second, postgres(clock) as third:
            time = SystemClock()  # theirs: one that jumps would let entries lapse on their way
            behind = LevelSettings(timeout_s=5, write_timeout_s=5, delete_timeout_s=30, behind=True)
            codec = Codec([b"k" * 32])
            levels = [
                Level("redis", Sealed(second, codec), clock=time, settings=behind),
                Level("postgres", Sealed(third, codec), clock=time, settings=behind),
            ]
            await asyncio.gather(second.read("warm"), third.read("warm"))  # connected: time begins when one writes
            kv = Tiered(levels)
            try:
                yield kv
            finally:
                await kv.close()

    return opened


def keeps_its_promises(check: Any, opener: Opener) -> None:
    def test(pace: float) -> None:
        @asynccontextmanager
        async def opened(clock: TestingClock) -> AsyncIterator[Any]:
            async with opener(clock) as store:
                clock.keep_real_time(0.1 * pace)
                yield store

        asyncio.run(check(opened))

    at_some_pace(test)


@pytest.fixture(params=["redis", "valkey", "postgres"])
def open_tier(request: pytest.FixtureRequest) -> Opener:
    make = postgres_tier if request.param == "postgres" else redis_tier
    return make(request.getfixturevalue(f"{request.param}_server"))


@pytest.mark.parametrize("check", [*KV_CHECKS, *TIER_CHECKS], ids=lambda check: check.__name__)
def test_tier(check: Any, open_tier: Opener) -> None:
    keeps_its_promises(check, open_tier)


@pytest.mark.parametrize("check", KV_CHECKS, ids=lambda check: check.__name__)
def test_tiered(check: Any, redis_server: Engine, postgres_server: Engine) -> None:
    keeps_its_promises(check, tiered(redis_tier(redis_server), postgres_tier(postgres_server)))


@pytest.fixture(params=["redis", "valkey", "postgres"])
def open_leases(request: pytest.FixtureRequest) -> Opener:
    engine: Engine = request.getfixturevalue(f"{request.param}_server")

    @asynccontextmanager
    async def on_redis(clock: TestingClock) -> AsyncIterator[tuple[Leases, Leases]]:
        clock.keep_real_time()
        prefix = f"{secrets.token_hex(6)}:"
        async with connect(engine.url) as here, connect(engine.url) as there:
            yield RedisLeases(here, prefix=prefix), RedisLeases(there, prefix=prefix)

    @asynccontextmanager
    async def on_postgres(clock: TestingClock) -> AsyncIterator[tuple[Leases, Leases]]:
        clock.keep_real_time()
        url = schema_url(engine)
        async with Postgres(url) as here, Postgres(url) as there:
            yield PostgresLeases(here), PostgresLeases(there)

    return on_postgres if request.param == "postgres" else on_redis


@pytest.mark.parametrize("check", LEASES_CHECKS, ids=lambda check: check.__name__)
def test_leases(check: Any, open_leases: Opener) -> None:
    keeps_its_promises(check, open_leases)
