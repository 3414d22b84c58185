"""Vectors in Postgres with pgvector 0.8 or newer: one table, and one HNSW index per length of vector.

Needs the extra `postgres`, and a database in which the extension `vector` is there or may be made.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ...errors import StoreError
from ...protocols import Clock
from .check import floats

__all__ = ["Connections", "PostgresVectors"]

_LOCK = 0x70656E6E7A  # of all sessions that make our table or an index, one at a time
_MOST_INDEXED = 4_000  # values of a halfvec that an index takes (pgvector's README, "HNSW")
_SWEEP_EVERY = 256
_SWEEP = 1000

_TABLE = """
CREATE TABLE IF NOT EXISTS llm_vectors (
    space bytea NOT NULL,
    dimensions int NOT NULL,
    id bytea NOT NULL,
    vector {s}.halfvec NOT NULL,
    expires double precision,
    PRIMARY KEY (space, dimensions, id)
)
"""
# The extension may be in any schema, on the search path or not: {s}.
# An index is for one length, so it is on an expression and only over rows of that length, and queries say both.
_INDEX = """
CREATE INDEX IF NOT EXISTS llm_vectors_{d} ON llm_vectors
USING hnsw ((vector::{s}.halfvec({d})) {s}.halfvec_cosine_ops) WHERE dimensions = {d}
"""
_NEAREST = """
SELECT id, 1 - (vector::{s}.halfvec({d}) OPERATOR({s}.<=>) %s::{s}.halfvec({d})) FROM llm_vectors
WHERE dimensions = {d} AND space = %s AND (expires IS NULL OR expires > %s)
ORDER BY vector::{s}.halfvec({d}) OPERATOR({s}.<=>) %s::{s}.halfvec({d}) LIMIT %s
"""
_PUT = """
INSERT INTO llm_vectors (space, dimensions, id, vector, expires) VALUES (%s, %s, %s, %s::{s}.halfvec, %s)
ON CONFLICT (space, dimensions, id) DO UPDATE SET vector = excluded.vector, expires = excluded.expires
"""
_EXTENSION = """
SELECT extversion, quote_ident(nspname) FROM pg_extension
JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector'
"""
_DROP_LAPSED = """
DELETE FROM llm_vectors WHERE ctid IN
(SELECT ctid FROM llm_vectors WHERE expires <= %s LIMIT %s FOR UPDATE SKIP LOCKED)
"""


class Connections(Protocol):
    """A database: `stores.postgres.Postgres` is one. Raises StoreError, also for what fails within the block."""

    def connection(self) -> AbstractAsyncContextManager[Any]: ...


class PostgresVectors:
    """Protocol: `pennyweight.stores.vectors.lazy.ListedVectors`.

    Vectors are float16 (`halfvec`): a cosine is exact to about 0.0001. Searches go on through the index until enough
    rows of the space are found (`hnsw.iterative_scan`): with pgvector's default, a search in a small space of a large
    table would find nothing. Entries lapse by `clock`, and are deleted some time after.
    """

    def __init__(self, database: Connections, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._made: set[int] = set()  # lengths that have an index; 0: the table itself is there
        self._schema = ""  # that the extension is in, quoted; known once the table is made
        self._making = asyncio.Lock()
        self._adds = 0

    async def add(self, space: str, id: str, vector: bytes, *, ttl_s: float | None = None) -> None:
        values, now = floats(space, vector), self._clock.now()
        await self._make(len(values))
        expires = None if ttl_s is None else now + ttl_s
        async with self._database.connection() as connection:
            await connection.execute(
                _PUT.format(s=self._schema), (_bytes(space), len(values), _bytes(id), _literal(values), expires)
            )
            self._adds += 1
            if self._adds % _SWEEP_EVERY == 0:
                await connection.execute(_DROP_LAPSED, (now, _SWEEP))

    async def nearest(self, space: str, vector: bytes, *, limit: int) -> Sequence[tuple[str, float]]:
        values = floats(space, vector)
        await self._make(len(values))
        if limit < 1:
            return ()
        query = _literal(values)
        given = (query, _bytes(space), self._clock.now(), query, limit)
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            await connection.execute(f"SET LOCAL hnsw.ef_search = {min(max(limit, 64), 1000)}")
            cursor = await connection.execute(_NEAREST.format(d=len(values), s=self._schema), given, binary=True)
            rows = await cursor.fetchall()
        return [(_text(id), max(-1.0, min(1.0, float(cosine)))) for id, cosine in rows]

    async def remove(self, space: str, id: str) -> None:
        await self._make(0)
        async with self._database.connection() as connection:
            statement = "DELETE FROM llm_vectors WHERE space = %s AND id = %s"
            await connection.execute(statement, (_bytes(space), _bytes(id)))

    async def delete(self, prefix: str) -> int:
        await self._make(0)
        where, values = _begins(prefix)
        statement = f"WITH gone AS (DELETE FROM llm_vectors WHERE {where} RETURNING expires) "
        statement += "SELECT count(*) FROM gone WHERE expires IS NULL OR expires > %s"
        async with self._database.connection() as connection:
            row = await (await connection.execute(statement, (*values, self._clock.now()))).fetchone()
        return int(row[0])

    async def spaces(self, prefix: str) -> list[str]:
        """The names that begin so, of spaces that hold something, in order."""
        await self._make(0)
        where, values = _begins(prefix)
        statement = f"SELECT DISTINCT space FROM llm_vectors WHERE {where} AND (expires IS NULL OR expires > %s)"
        async with self._database.connection() as connection:
            rows = await (await connection.execute(statement, (*values, self._clock.now()), binary=True)).fetchall()
        return sorted(_text(row[0]) for row in rows)

    async def ids(self, space: str, *, limit: int) -> list[str]:
        """Up to `limit` ids of that space, in no order."""
        await self._make(0)
        statement = (
            "SELECT DISTINCT id FROM llm_vectors WHERE space = %s AND (expires IS NULL OR expires > %s) LIMIT %s"
        )
        async with self._database.connection() as connection:
            given = (_bytes(space), self._clock.now(), limit)
            rows = await (await connection.execute(statement, given, binary=True)).fetchall()
        return [_text(row[0]) for row in rows]

    async def aclose(self) -> None:
        """The database is its owner's to close."""

    async def _make(self, dimensions: int) -> None:
        """The table, and the index for vectors of that length (0: none). Once per process and length."""
        if dimensions in self._made:
            return
        async with self._making:
            if dimensions in self._made:
                return
            async with self._database.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                if 0 not in self._made:
                    self._schema = await _make_table(connection)
                if 0 < dimensions <= _MOST_INDEXED:
                    await connection.execute(_INDEX.format(d=dimensions, s=self._schema))
            self._made |= {0, dimensions}


async def _make_table(connection: Any) -> str:
    """The extension and the table; the schema that the extension is in. Raises StoreError for one that is too old."""
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    version, schema = await (await connection.execute(_EXTENSION)).fetchone()
    if tuple(map(int, version.split(".")[:2])) < (0, 8):
        raise StoreError(f"pgvector {version} cannot search within a space: version 0.8 or newer is needed.")
    await connection.execute(_TABLE.format(s=schema))
    await connection.execute(
        "CREATE INDEX IF NOT EXISTS llm_vectors_expires ON llm_vectors (expires) WHERE expires IS NOT NULL"
    )
    return str(schema)


def _literal(values: array[float]) -> str:
    return "[" + ",".join(["%.6g" % value for value in values]) + "]"  # noqa: UP031 - a third faster than format()


def _begins(prefix: str) -> tuple[str, tuple[bytes, ...]]:
    start = _bytes(prefix)
    whole = start.rstrip(b"\xff")
    if not whole:
        return "space >= %s", (start,)
    return "space >= %s AND space < %s", (start, whole[:-1] + bytes([whole[-1] + 1]))


def _bytes(text: str) -> bytes:
    """Names as bytes: a text of Postgres holds no NUL, and sorts as its locale pleases."""
    return text.encode("utf-8", "surrogatepass")


def _text(name: Any) -> str:
    return bytes(name).decode("utf-8", "surrogatepass")
