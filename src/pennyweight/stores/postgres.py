"""Bytes and counters in the table `llm_cache` of a Postgres database. Needs the extra `postgres`."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from ..errors import ConfigError, StoreError
from ..kept import named
from ..protocols import Lease
from .breaker import Refused
from .leases import REMEMBER_S, polled

__all__ = ["PostgresKV", "PostgresLeases", "Postgres"]

_LONGEST_S = 100 * 365 * 86_400.0
_CONNECTIONS = 4
_GOING = ("57", "08")  # operator intervention, connection exception
_TOO_MANY_CONNECTIONS = "53300"
_SCHEMA_LOCK = 0x70656E6E79  # "penny": of all sessions that make our tables, one at a time
_SWEEP_EVERY = 256  # puts between two looks for entries that have lapsed
_SWEEP = 1000  # entries dropped at a time


class Postgres:
    """Connections to one database, made when first used and anew after failures, and the tables in it.

    It belongs to one event loop. Raises ConfigError for an address that is none.
    """

    def __init__(self, url: str) -> None:
        try:
            given: dict[str, Any] = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its text may quote the address, and the password in it
            raise ConfigError(
                "The address of Postgres is not valid. Use postgresql://user:password@host:5432/database."
            ) from None
        defaults: dict[str, Any] = {"connect_timeout": "2", "application_name": "pennyweight", "keepalives_idle": "30"}
        self._pool: Any = AsyncConnectionPool(
            make_conninfo(**{**defaults, **given}),
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=2,
            max_waiting=256,
            reconnect_timeout=1,  # given up at once: who asks next tries again
            # Statements are not prepared by name, so that poolers (PgBouncer) may stand between.
            kwargs={"autocommit": True, "prepare_threshold": None},
            open=False,
            name="pennyweight",
        )
        self._opening = asyncio.Lock()
        self._made = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One with our tables in its database. Raises StoreError, also for what fails within."""
        try:
            if not self._made:
                await self._make()
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout, PoolClosed, OSError) as error:
            if isinstance(error, psycopg.errors.UndefinedTable):
                self._made = False  # somebody dropped it: made again when next asked
            raise _failure(error) from error

    async def __aenter__(self) -> Postgres:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pool.close(timeout=1)

    async def _make(self) -> None:
        """The tables, brought up to this version: one session at a time, each step once."""
        async with self._opening:
            if self._made:
                return
            await self._pool.open()
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                await _migrate(connection)
            self._made = True


class PostgresKV:
    """A Tier in the table `llm_cache`. Entries lapse by the server's clock, and are deleted some time after.

    keep_prompts: whether `put_answer`'s prompt is stored too, in the clear, for an operator who wants to read it.
    """

    def __init__(self, database: Postgres, *, keep_prompts: bool = False) -> None:
        self._database = database
        self.keeps_prompts = keep_prompts
        self._puts = 0

    async def get(self, key: str) -> bytes | None:
        found = await self.read(key)
        return None if found is None else found[0]

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_READ, (_bytes(key),), binary=True)
            found: tuple[bytes, float | None] | None = await cursor.fetchone()
            return found

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self.put_answer(key, value, prompt="", ttl_s=ttl_s)

    async def put_answer(self, key: str, value: bytes, *, prompt: str, ttl_s: float | None = None) -> None:
        tenant, hash_ = _named(key)
        values = (_bytes(key), tenant, hash_, _text(prompt) if self.keeps_prompts else "", value, _interval(ttl_s))
        async with self._database.connection() as connection:
            await connection.execute(_PUT, values)
            self._puts += 1
            if self._puts % _SWEEP_EVERY == 0:
                await connection.execute(_DROP_LAPSED, (_SWEEP,))

    async def remove(self, key: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM llm_cache WHERE key = %s", (_bytes(key),))

    async def delete(self, prefix: str) -> int:
        where, values = _range(prefix)
        async with self._database.connection() as connection:
            # What has lapsed is dropped too, and not counted: nobody could have had it.
            statement = f"WITH gone AS (DELETE FROM llm_cache WHERE {where} RETURNING expires_at) {_COUNT_LIVE}"
            cursor = await connection.execute(statement, values)
            return int((await cursor.fetchone())[0])

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        where, values = _range(prefix)
        statement = f"SELECT key FROM llm_cache WHERE {where} AND {_LIVE} LIMIT %s"
        async with self._database.connection() as connection:
            cursor = await connection.execute(statement, (*values, limit))
            return [bytes(row[0]).decode("utf-8", "surrogatepass") for row in await cursor.fetchall()]

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        tenant, hash_ = _named(key)
        values = (_bytes(key), tenant, hash_, b"%d" % amount, _interval(ttl_s), str(amount))
        try:
            async with self._database.connection() as connection:
                cursor = await connection.execute(_ADD, values)
                return int((await cursor.fetchone())[0])
        except (StoreError, ValueError) as error:
            if isinstance(error, ValueError) or isinstance(error.__cause__, psycopg.DataError):
                raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None
            raise


# fmt: off
_READ = (
    "SELECT response, extract(epoch FROM expires_at - statement_timestamp())::float8 FROM llm_cache "
    "WHERE key = %s AND (expires_at IS NULL OR expires_at > statement_timestamp())"
)
_PUT = (
    "INSERT INTO llm_cache (key, tenant, hash, prompt, response, expires_at) "
    "VALUES (%s, %s, %s, %s, %s, statement_timestamp() + make_interval(secs => %s)) "
    "ON CONFLICT (key) DO UPDATE SET tenant = excluded.tenant, hash = excluded.hash, prompt = excluded.prompt, "
    "response = excluded.response, created_at = excluded.created_at, expires_at = excluded.expires_at"
)
_ADD = (
    "INSERT INTO llm_cache AS held (key, tenant, hash, response, expires_at) "
    "VALUES (%s, %s, %s, %s, statement_timestamp() + make_interval(secs => %s)) "
    "ON CONFLICT (key) DO UPDATE SET "
    "response = CASE WHEN held.expires_at <= statement_timestamp() THEN excluded.response ELSE "
    "convert_to((convert_from(held.response, 'UTF8')::numeric + %s::numeric)::text, 'UTF8') END, "
    "expires_at = CASE WHEN held.expires_at <= statement_timestamp() THEN excluded.expires_at ELSE held.expires_at END "
    "RETURNING convert_from(response, 'UTF8')"
)
_LIVE = "(expires_at IS NULL OR expires_at > statement_timestamp())"
_COUNT_LIVE = f"SELECT count(*) FROM gone WHERE {_LIVE}"
_DROP_LAPSED = (
    "DELETE FROM llm_cache WHERE key IN (SELECT key FROM llm_cache "
    "WHERE expires_at <= statement_timestamp() LIMIT %s FOR UPDATE SKIP LOCKED)"
)
# fmt: on


class PostgresLeases:
    """Leases among all that use one database, in the table `llm_lease`; its clock decides when one lapses."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        token = uuid.uuid4().bytes
        async with self._database.connection() as connection:
            cursor = await connection.execute(_ACQUIRE, (_bytes(key), token, _interval(ttl_s), REMEMBER_S))
            taken = await cursor.fetchone()
        return None if taken is None else _Lease(self, key, token, ttl_s)

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        async def look() -> tuple[bool, bytes]:
            async with self._database.connection() as connection:
                cursor = await connection.execute(_LOOK, (REMEMBER_S, _bytes(key)))
                found = await cursor.fetchone()
            return (False, b"") if found is None else (found[0], bytes(found[1]))

        return await polled(look, timeout_s)

    async def renew(self, key: str, token: bytes, ttl_s: float) -> bool:
        async with self._database.connection() as connection:
            done = await connection.execute(_RENEW, (_interval(ttl_s), _bytes(key), token))
            return bool(done.rowcount)

    async def release(self, key: str, token: bytes, word: bytes) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, (word, _bytes(key), token))


# fmt: off
_ACQUIRE = (  # leases of old are dropped on the way
    "WITH taken AS (INSERT INTO llm_lease AS held (key, token, expires_at) "
    "VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s)) "
    "ON CONFLICT (key) DO UPDATE SET token = excluded.token, word = '', expires_at = excluded.expires_at, "
    "released_at = NULL WHERE held.released_at IS NOT NULL OR held.expires_at <= clock_timestamp() RETURNING key), "
    "old AS (DELETE FROM llm_lease WHERE expires_at < clock_timestamp() - make_interval(secs => %s) "
    "AND key NOT IN (SELECT key FROM taken)) SELECT key FROM taken"
)
_LOOK = (
    "SELECT released_at IS NULL AND expires_at > clock_timestamp(), "
    "CASE WHEN released_at > clock_timestamp() - make_interval(secs => %s) THEN word ELSE '' END "
    "FROM llm_lease WHERE key = %s"
)
_RENEW = (
    "UPDATE llm_lease SET expires_at = clock_timestamp() + make_interval(secs => %s) "
    "WHERE key = %s AND token = %s AND released_at IS NULL AND expires_at > clock_timestamp()"
)
_RELEASE = (
    "UPDATE llm_lease SET word = %s, released_at = clock_timestamp() "
    "WHERE key = %s AND token = %s AND released_at IS NULL AND expires_at > clock_timestamp()"
)
# fmt: on


class _Lease:
    def __init__(self, leases: PostgresLeases, key: str, token: bytes, ttl_s: float) -> None:
        self._leases = leases
        self._key = key
        self._token = token
        self._ttl_s = ttl_s

    async def renew(self) -> bool:
        return await self._leases.renew(self._key, self._token, self._ttl_s)

    async def release(self, word: bytes = b"") -> None:
        with contextlib.suppress(StoreError):  # it lapses
            await self._leases.release(self._key, self._token, word)


async def _migrate(connection: Any) -> None:
    """Raises StoreError for tables of a newer version."""
    steps = _steps()
    there = await (await connection.execute("SELECT to_regclass('llm_cache_schema') IS NOT NULL")).fetchone()
    version = 0
    if there[0]:
        version = int((await (await connection.execute("SELECT max(version) FROM llm_cache_schema")).fetchone())[0])
    if version > len(steps):
        raise StoreError(
            f"The table llm_cache was made by a newer Pennyweight (schema {version}, this one knows {len(steps)}): "
            "upgrade with `pip install -U pennyweight`, or name another database."
        )
    if version == 0:
        await connection.execute("CREATE TABLE llm_cache_schema (version int NOT NULL)")
        await connection.execute("INSERT INTO llm_cache_schema VALUES (0)")
    for number, sql in enumerate(steps[version:], start=version + 1):
        await connection.execute(sql)
        await connection.execute("UPDATE llm_cache_schema SET version = %s", (number,))


def _steps() -> list[str]:
    """The files of `sql/postgres` in the order of their numbers; the first leads from nothing to schema 1."""
    folder = files(__package__).joinpath("sql", "postgres")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text("utf-8") for name in names]


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _named(key: str) -> tuple[str, str]:
    """Tenant and hash of a cache's key, "" for other keys: for people who read the table."""
    parts = named(key)
    return ("", "") if parts is None else (_text(parts.tenant), parts.digest)


def _text(value: str) -> str:
    """What Postgres takes as text."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def _interval(ttl_s: float | None) -> float | None:
    """None adds nothing to a moment but NULL: an entry without an end."""
    return None if ttl_s is None else min(ttl_s, _LONGEST_S)


def _range(prefix: str) -> tuple[str, tuple[bytes, ...]]:
    """The condition for keys that begin so, and its values. No UTF-8 has the byte FF."""
    start = _bytes(prefix)
    return "key >= %s AND key < %s", (start, start + b"\xff")


def _failure(error: Exception) -> StoreError:
    """Without what the server or the driver says: it may quote values, and the address with its password."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, psycopg.OperationalError | PoolTimeout | PoolClosed | OSError) and state is None:
        return StoreError(f"Postgres cannot be reached ({type(error).__name__}).")
    if state is not None and (state[:2] in _GOING or state == _TOO_MANY_CONNECTIONS):
        return StoreError(f"Postgres is starting or stopping (SQLSTATE {state}).")
    return Refused(f"Postgres refused ({type(error).__name__}, SQLSTATE {state}).")
