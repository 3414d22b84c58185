"""The contract suite of `pennyweight.testing.vector_contract` against a real Redis and a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from tests.engines import Engine, schema_url

from pennyweight.clock import SystemClock
from pennyweight.errors import StoreError
from pennyweight.protocols import Clock, Vectors
from pennyweight.stores.assembly import Servers
from pennyweight.stores.postgres import Postgres
from pennyweight.stores.redis import connect
from pennyweight.stores.settings import CacheSettings, PostgresSettings, RedisSettings
from pennyweight.stores.vectors.lazy import Settings, open_vectors
from pennyweight.stores.vectors.postgres import PostgresVectors
from pennyweight.stores.vectors.redis import RedisVectors
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.vector_contract import VECTOR_CHECKS, unit


@pytest.mark.parametrize("check", VECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("quantized", [True, False], ids=["q8", "float32"])
def test_vectors_in_redis(check, quantized: bool, redis_server: Engine) -> None:
    @asynccontextmanager
    async def open_vectors(clock: Clock) -> AsyncIterator[Vectors]:
        client = connect(redis_server.url)
        yield RedisVectors(client, clock=clock, quantized=quantized, prefix=f"test:{uuid4().hex}:")
        await client.aclose()

    asyncio.run(check(open_vectors))


@pytest.mark.parametrize("check", VECTOR_CHECKS, ids=lambda check: check.__name__)
def test_vectors_in_postgres(check, postgres_server: Engine) -> None:
    @asynccontextmanager
    async def open_vectors(clock: Clock) -> AsyncIterator[Vectors]:
        database = Postgres(schema_url(postgres_server))
        yield PostgresVectors(database, clock=clock)
        await database.close()

    asyncio.run(check(open_vectors))


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_a_server_that_is_killed_and_comes_back_has_what_it_had(
    store: str, redis_server: Engine, postgres_server: Engine
) -> None:
    """While it is away every use is a StoreError, in bounded time; then all goes on, with nobody's help."""
    engine = redis_server if store == "redis" else postgres_server
    url = redis_server.url if store == "redis" else schema_url(postgres_server)

    async def run() -> None:
        settings = CacheSettings(redis=RedisSettings(url=url), postgres=PostgresSettings(url=url))
        servers = Servers(settings)
        vectors = open_vectors(Settings(store=store), clock=SystemClock(), database=None, servers=servers)
        space = f"acme/{uuid4().hex}"
        await vectors.add(space, "before", unit(1))
        await asyncio.to_thread(engine.kill)
        for use in (vectors.nearest(space, unit(1), limit=1), vectors.add(space, "lost", unit(2))):
            with pytest.raises(StoreError):
                async with asyncio.timeout(60):
                    await use
        await asyncio.to_thread(engine.start)
        async with asyncio.timeout(60):
            while True:
                try:
                    found = await vectors.nearest(space, unit(1), limit=5)
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
        assert [id for id, _ in found] == ["before"]
        await vectors.add(space, "after", unit(2))
        assert sorted(await vectors.ids(space, limit=5)) == ["after", "before"]
        assert await vectors.spaces("acme/") == [space]
        assert await vectors.delete(space) == 2
        await vectors.aclose()
        await servers.close()

    asyncio.run(run())


def test_what_has_lapsed_is_dropped_from_redis(redis_server: Engine) -> None:
    async def run() -> None:
        clock, client, prefix = FakeClock(), connect(redis_server.url), f"test:{uuid4().hex}:"
        vectors = RedisVectors(client, clock=clock, prefix=prefix)
        for n in range(20):
            await vectors.add("s", f"old{n}", unit(n), ttl_s=10)
        await vectors.add("s", "ever", unit(99))
        clock.advance(11)
        for n in range(64):
            await vectors.add("s", "new", unit(1000 + n))
        assert sorted(await vectors.ids("s", limit=100)) == ["ever", "new"]
        await client.aclose()

    asyncio.run(run())


def test_a_redis_without_vector_sets_says_what_to_do(valkey_server: Engine) -> None:
    async def run() -> None:
        client = connect(valkey_server.url)
        with pytest.raises(StoreError, match="use Redis 8"):
            await RedisVectors(client, clock=FakeClock()).nearest("s", unit(1), limit=1)
        await client.aclose()

    asyncio.run(run())


def test_a_small_space_is_found_in_a_large_table(postgres_server: Engine) -> None:
    """pgvector's default looks at 40 neighbours and filters then: of a rare space it would find nothing."""

    async def run() -> None:
        database = Postgres(schema_url(postgres_server))
        vectors = PostgresVectors(database, clock=FakeClock())
        await vectors.add("rare", "one", unit(1, 32))
        async with database.connection() as connection:
            schema = vectors._schema
            await connection.execute(
                "INSERT INTO llm_vectors SELECT 'large'::bytea, 32, convert_to('v' || n, 'UTF8'), "
                f"(SELECT array_agg(random() - 0.5) FROM generate_series(1, 32) WHERE n > 0)::real[]::{schema}.halfvec "
                "FROM generate_series(1, 3000) n"
            )
            await connection.execute("ANALYZE llm_vectors")
            await connection.execute(
                "ALTER TABLE llm_vectors DROP CONSTRAINT llm_vectors_pkey"
            )  # only the graph is left
            await connection.execute("SET enable_seqscan = off")
        assert [id for id, _ in await vectors.nearest("rare", unit(500, 32), limit=3)] == ["one"]
        assert len(await vectors.nearest("large", unit(500, 32), limit=30)) == 30
        await database.close()

    asyncio.run(run())
