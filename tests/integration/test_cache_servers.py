"""Redis, Valkey and Postgres killed, paused and started again while callers use the tiers that stand on them.

No caller sees an error or a value that is not its own, nobody waits for long, and all is well again without help.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import redis as redis_py
from tests.engines import Engine, schema_url
from tests.pace import at_some_pace

from pennyweight.clock import SystemClock
from pennyweight.errors import StoreError
from pennyweight.stores.assembly import Servers, open_tiers
from pennyweight.stores.database import Database
from pennyweight.stores.redis import RedisKV, connect
from pennyweight.stores.settings import CacheSettings, MemorySettings, PostgresSettings, RedisSettings
from pennyweight.stores.tiered import Tiered, TierStats


@asynccontextmanager
async def tiers(settings: CacheSettings, folder: Path, key: str = "") -> AsyncIterator[Tiered]:
    database, servers = Database(folder / "db"), Servers(settings)
    made = open_tiers(settings, key=key, data_dir=folder, database=database, servers=servers, clock=SystemClock())
    made.kv.start()
    try:
        await until(lambda: not any(stats.down for stats in made.kv.stats()))
        yield made.kv
    finally:
        await made.close()
        await servers.close()
        await database.close()


async def until(holds, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nothing tells when that is so
            await asyncio.sleep(0.02)


def stats(kv: Tiered, name: str) -> TierStats:
    return next(found for found in kv.stats() if found.name == name)


class Load:
    """Callers that put and get. Of each key the values only ever grow: an older one after a newer would be wrong."""

    def __init__(self, kv: Tiered, *, keys: int = 40) -> None:
        self.kv = kv
        self.prefix = secrets.token_hex(4)
        self.put: dict[str, int] = {f"{self.prefix}/k{n}": 0 for n in range(keys)}
        self.calls = self.hits = 0
        self.running = True

    async def run(self, callers: int = 8) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._caller())

    async def _caller(self) -> None:
        choose = random.Random(7)
        while self.running:
            key = choose.choice(list(self.put))
            before = self.put[key]
            if choose.random() < 0.2:
                self.put[key] += 1
                await self.kv.put(key, value(key, self.put[key]), ttl_s=600)
            else:
                found = await self.kv.get(key)
                if found is not None:
                    self.hits += 1
                    number = int(found[: found.index(b" ")])
                    assert found == value(key, number)
                    assert number >= before, f"{number} came back after {before}"
            self.calls += 1
            await asyncio.sleep(0.001)


def value(key: str, number: int) -> bytes:
    return b"%d " % number + key.encode() * 20


def fleet(redis: Engine, postgres: str) -> CacheSettings:
    """A memory too small to hold everything, so that the servers are asked. Reads may take long on a busy machine."""
    return CacheSettings(
        tiers=("memory", "redis", "postgres"),
        memory=MemorySettings(entries=10),
        redis=RedisSettings(url=redis.url, timeout_s=0.1),
        postgres=PostgresSettings(url=postgres, timeout_s=0.1),
    )


@pytest.mark.parametrize("name", ["redis", "valkey", "postgres"])
def test_a_server_killed_and_started_again_under_load(
    name: str, request: pytest.FixtureRequest, postgres_server: Engine, tmp_path: Path
) -> None:
    killed: Engine = request.getfixturevalue(f"{name}_server")
    redis = request.getfixturevalue("valkey_server" if name == "valkey" else "redis_server")
    tier = "postgres" if name == "postgres" else "redis"

    async def main() -> None:
        async with tiers(fleet(redis, schema_url(postgres_server)), tmp_path) as kv:
            load = Load(kv)
            working = asyncio.create_task(load.run())
            for _ in range(2):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(killed.kill)
                await until(lambda: stats(kv, tier).down)
                calls = load.calls
                await until(lambda calls=calls: load.calls > calls + 50)
                await asyncio.to_thread(killed.start)
                await until(lambda: not stats(kv, tier).down)
                writes = stats(kv, tier).writes
                await until(lambda writes=writes: stats(kv, tier).writes > writes + 10)
            load.running = False
            await working
            assert load.hits > 100
            assert stats(kv, tier).trips >= 2
            assert all(found.spoilt == 0 for found in kv.stats())

    asyncio.run(main())


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_server_that_hangs_costs_little_and_comes_back(
    name: str, request: pytest.FixtureRequest, redis_server: Engine, postgres_server: Engine, tmp_path: Path
) -> None:
    hung: Engine = request.getfixturevalue(f"{name}_server")

    async def main() -> None:
        async with tiers(fleet(redis_server, schema_url(postgres_server)), tmp_path) as kv:
            load = Load(kv)
            working = asyncio.create_task(load.run())
            await asyncio.sleep(0.2)
            hung.pause()
            try:
                await until(lambda: stats(kv, name).down)
                waited = stats(kv, name).timeouts
                calls = load.calls
                await until(lambda: load.calls > calls + 200)
                assert stats(kv, name).timeouts <= waited + 8  # those that were under way: nobody waits for it any more
            finally:
                hung.resume()
            await until(lambda: not stats(kv, name).down)
            load.running = False
            await working

    asyncio.run(main())


def test_an_answer_that_came_too_late_is_nobody_elses(redis_server: Engine) -> None:
    """A connection whose question was given up must not hand its answer to the next one who asks."""

    async def main() -> None:
        async with connect(redis_server.url) as client:
            kv = RedisKV(client, prefix=f"{secrets.token_hex(4)}:")
            for n in range(20):
                await kv.put(f"k{n}", b"%d" % n)
            redis_server.pause()
            try:
                late = [asyncio.create_task(kv.read(f"k{n}")) for n in range(10)]
                await asyncio.sleep(0.05)
                for task in late:
                    task.cancel()
            finally:
                redis_server.resume()
            await asyncio.gather(*late, return_exceptions=True)
            found = await asyncio.gather(*(kv.get(f"k{n}") for n in range(20)))
            assert found == [b"%d" % n for n in range(20)]

    asyncio.run(main())


def test_servers_that_are_down_at_the_start_are_used_once_they_are_up(valkey_server: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        settings = CacheSettings(tiers=("memory", "redis"), redis=RedisSettings(url=valkey_server.url))
        valkey_server.kill()
        database, servers = Database(tmp_path / "db"), Servers(settings)
        made = open_tiers(settings, key="", data_dir=tmp_path, database=database, servers=servers, clock=SystemClock())
        made.kv.start()
        try:
            await made.kv.put("before", b"value")
            assert await made.kv.get("before") == b"value"
            assert await made.kv.get("nothing") is None
            valkey_server.start()

            async def asked() -> None:
                while stats(made.kv, "redis").down:
                    await made.kv.get("nothing")
                    await asyncio.sleep(0.02)

            async with asyncio.timeout(60):
                await asked()
            await made.kv.put("after", b"value")
            await made.kv.flush()
            assert stats(made.kv, "redis").writes >= 1
        finally:
            await made.close()
            await servers.close()
            await database.close()

    asyncio.run(main())


def test_a_poisoned_entry_is_a_miss_and_is_removed(
    redis_server: Engine, postgres_server: Engine, tmp_path: Path
) -> None:
    """Entries changed, cut, emptied, or copied from another tenant's key, behind the gateway's back."""

    async def main() -> None:
        url = schema_url(postgres_server)
        async with tiers(fleet(redis_server, url), tmp_path) as kv:
            prefix = f"{secrets.token_hex(4)}/"
            names = [f"{prefix}{name}" for name in ("changed", "cut", "empty", "copied", "well")]
            for name in names:
                await kv.put(name, name.encode() * 100)
            await kv.flush()
            raw = redis_py.Redis.from_url(redis_server.url)
            changed, cut, empty, copied, well = (b"pennyweight:kv:" + name.encode() for name in names)
            stored = raw.get(changed)
            assert isinstance(stored, bytes)
            raw.set(changed, stored[:-3] + b"!!!")
            raw.set(cut, stored[:40])
            raw.set(empty, b"")
            raw.set(copied, raw.get(well))
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("UPDATE llm_cache SET response = substring(response FOR 30)")
            for _ in range(20):  # push them out of memory
                await kv.put(f"{prefix}{secrets.token_hex(4)}", b"other")
                await kv.flush()
            found = [await kv.get(name) for name in names]
            assert found == [None] * 4 + [names[4].encode() * 100]
            assert stats(kv, "redis").spoilt == 4
            assert stats(kv, "postgres").spoilt == 4
            assert [raw.exists(key) for key in (changed, cut, empty, copied, well)] == [0, 0, 0, 0, 1]
            raw.close()

    asyncio.run(main())


def test_what_servers_hold_is_encrypted(redis_server: Engine, postgres_server: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        import base64
        import os

        url = schema_url(postgres_server)
        settings = fleet(redis_server, url)
        name = f"exact/tenant-x/{'a' * 64}/model-{secrets.token_hex(4)}"
        key, other = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
        async with tiers(settings, tmp_path, key) as kv:
            await kv.put(name, b"a secret answer " * 50)
            await kv.flush()
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT tenant, hash, prompt, response FROM llm_cache").fetchone()
        assert row is not None
        assert row[:3] == ("tenant-x", "a" * 64, "")
        raw = redis_py.Redis.from_url(redis_server.url)
        for stored in (row[3], raw.get(f"pennyweight:kv:{name}")):
            assert b"secret" not in stored
        raw.close()
        async with tiers(settings, tmp_path, f"{other},{key}") as kv:
            assert await kv.get(name) == b"a secret answer " * 50
        async with tiers(settings, tmp_path, other) as kv:
            assert await kv.get(name) is None

    asyncio.run(main())


def test_two_replicas_that_start_at_once_make_one_schema(postgres_server: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        url = schema_url(postgres_server)
        settings = CacheSettings(tiers=("postgres",), postgres=PostgresSettings(url=url, timeout_s=5))

        async def replica(number: int) -> bytes | None:
            folder = tmp_path / f"{number}"
            folder.mkdir(exist_ok=True)
            async with tiers(settings, folder) as kv:
                await kv.put(f"k{number}", b"from %d" % number)
                await kv.flush()
                return await kv.get(f"k{number}")

        found = await asyncio.gather(*(replica(number) for number in range(4)))
        assert found == [b"from %d" % number for number in range(4)]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE llm_cache_schema SET version = 99")
        servers = Servers(settings)
        with pytest.raises(StoreError, match="newer Pennyweight"):
            async with servers.postgres().connection():
                pass
        await servers.close()

    asyncio.run(main())


def test_a_server_that_is_full_is_still_read(redis_server: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        settings = CacheSettings(
            tiers=("memory", "redis"), memory=MemorySettings(entries=10), redis=RedisSettings(redis_server.url, 0.2)
        )
        raw = redis_py.Redis.from_url(redis_server.url)
        async with tiers(settings, tmp_path) as kv:
            prefix = secrets.token_hex(4)
            await kv.put(f"{prefix}/before", b"value" * 100)
            await kv.flush()
            raw.config_set("maxmemory", "1")
            try:
                for n in range(20):
                    await kv.put(f"{prefix}/{n}", b"value" * 100)
                    await kv.flush()
                assert await kv.found(f"{prefix}/before") == (b"value" * 100, "redis")
                assert (stats(kv, "redis").down, stats(kv, "redis").dropped) == (False, 20)
            finally:
                raw.config_set("maxmemory", "0")
            await kv.put(f"{prefix}/after", b"value")
            await kv.flush()
            assert raw.exists(f"pennyweight:kv:{prefix}/after")
        raw.close()

    asyncio.run(main())


@pytest.mark.parametrize("tier", ["redis", "postgres"])
def test_a_password_that_is_wrong_is_told_and_not_quoted(
    tier: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine: Engine = request.getfixturevalue(f"{tier}_server")
    url = engine.url.replace("redis://", "redis://nobody:hunter2@").replace("postgres@", "nobody:hunter2@")

    async def main() -> None:
        settings = CacheSettings(tiers=("memory", tier), redis=RedisSettings(url), postgres=PostgresSettings(url))
        database, servers = Database(tmp_path / "db"), Servers(settings)
        made = open_tiers(settings, key="", data_dir=tmp_path, database=database, servers=servers, clock=SystemClock())
        made.kv.start()
        await made.kv.put("k", b"value")
        assert await made.kv.get("k") == b"value"
        await until(lambda: "a cache tier is down" in caplog.text)
        await made.close()
        await servers.close()
        await database.close()

    asyncio.run(main())
    shown = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "hunter2" not in shown


def test_huge_answers_hold_up_nobody(redis_server: Engine, postgres_server: Engine, tmp_path: Path) -> None:
    """Of 50 MB no tier keeps anything; one of 8 MB is compressed beside the event loop."""

    async def main() -> None:
        async with tiers(fleet(redis_server, schema_url(postgres_server)), tmp_path) as kv:
            prefix = secrets.token_hex(4)
            await kv.put(f"{prefix}/huge", b"small before")
            await kv.flush()
            longest_s = 0.0

            async def watch() -> None:
                """What the loop's thread does between two turns, in its own time: the machine may be busy."""
                nonlocal longest_s
                while True:
                    began = time.thread_time()
                    await asyncio.sleep(0.001)
                    longest_s = max(longest_s, time.thread_time() - began)

            watching = asyncio.create_task(watch())
            large = random.Random(7).randbytes(1 << 20) * 8
            await kv.put(f"{prefix}/large", large)
            await kv.put(f"{prefix}/huge", b"x" * 50_000_000)
            await kv.flush()
            await until(lambda: not stats(kv, "redis").queued)
            assert await kv.get(f"{prefix}/huge") is None  # nor what was there before
            assert await kv.get(f"{prefix}/large") in (large, None)  # a busy machine may take too long for it
            watching.cancel()
            assert longest_s < 0.5

    asyncio.run(main())


class Skewed:
    """A clock that is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return time.time() + self._seconds

    def monotonic(self) -> float:
        return time.monotonic() + 1e6 + self._seconds


def test_clocks_of_replicas_may_differ(redis_server: Engine, postgres_server: Engine, tmp_path: Path) -> None:
    """By a day, either way: entries live as long as the server says."""

    async def main(pace: float) -> None:
        settings = fleet(redis_server, schema_url(postgres_server))
        replicas = []
        for number, seconds in enumerate((-86_400.0, 86_400.0)):
            folder = tmp_path / f"{number} {pace}"
            folder.mkdir(exist_ok=True)
            database, servers = Database(folder / "db"), Servers(settings)
            clock = Skewed(seconds)
            made = open_tiers(settings, key="", data_dir=folder, database=database, servers=servers, clock=clock)
            made.kv.start()
            await until(lambda kv=made.kv: not any(found.down for found in kv.stats()))
            replicas.append((made, servers, database))
        slow, fast = (made for made, _, _ in replicas)
        prefix = secrets.token_hex(4)
        for one, other in ((slow, fast), (fast, slow)):
            key = f"{prefix}/{id(one)}"
            await one.kv.put(key, b"value", ttl_s=pace)
            await one.kv.flush()
            assert await other.kv.get(key) == b"value"
            lease = await one.leases.acquire(key, ttl_s=pace)
            assert lease is not None
            assert await other.leases.acquire(key, ttl_s=pace) is None
        await asyncio.sleep(1.2 * pace)
        for one, other in ((slow, fast), (fast, slow)):
            key = f"{prefix}/{id(one)}"
            assert await other.kv.get(key) is None
            assert await other.leases.acquire(key, ttl_s=1.0) is not None
        for made, servers, database in replicas:
            await made.close()
            await servers.close()
            await database.close()

    at_some_pace(lambda pace: asyncio.run(main(pace)))
