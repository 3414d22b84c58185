"""What the semantic cache has learnt, in the tables `semantic_partitions` and `semantic_pairs`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..standing import Pair, Standing
from .database import Database

__all__ = ["SQLiteStandings"]

_STANDING = Standing.__struct_fields__
_PAIR = Pair.__struct_fields__
_TEXTS = ("asked", "stored", "served", "fresh")
_MOST_CHARS = 4_000  # of each text of a pair

_SAVE = (
    f"INSERT INTO semantic_partitions ({', '.join(_STANDING)}, learnt) "
    f"VALUES ({', '.join('?' * (len(_STANDING) + 1))}) ON CONFLICT (partition) DO UPDATE SET "
    f"{', '.join(f'{name} = excluded.{name}' for name in _STANDING)}, "
    "learnt = coalesce(excluded.learnt, semantic_partitions.learnt)"
)
_ADD = f"INSERT INTO semantic_pairs ({', '.join(_PAIR)}) VALUES ({', '.join('?' * len(_PAIR))})"
_CUT = """
DELETE FROM semantic_pairs WHERE tenant = ? AND id <=
  (SELECT id FROM semantic_pairs WHERE tenant = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_DROP = """
DELETE FROM semantic_partitions WHERE partition IN (SELECT partition FROM (
  SELECT partition, row_number() OVER newest AS place, sum(coalesce(length(learnt), 0)) OVER newest AS held
  FROM semantic_partitions WINDOW newest AS (ORDER BY updated_at DESC, partition ROWS UNBOUNDED PRECEDING)
) WHERE place > ? OR held > ?)"""


class SQLiteStandings:
    """Protocol: `standing.Standings`. Keeps the newest `partitions` of all, as many as `size_bytes` hold of what they
    learnt, and the newest `pairs` of each tenant."""

    def __init__(
        self, database: Database, *, partitions: int = 2_000, size_bytes: int = 256 << 20, pairs: int = 200
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._size_bytes = size_bytes
        self._pairs = pairs

    async def load(self, partition: str) -> bytes | None:
        sql = "SELECT learnt FROM semantic_partitions WHERE partition = ?"
        row = await self._database.read(lambda connection: connection.execute(sql, (partition,)).fetchone())
        return bytes(row[0]) if row and row[0] is not None else None

    async def save(self, standing: Standing, learnt: bytes | None = None) -> None:
        values = (*msgspec.structs.astuple(standing), learnt)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SAVE, values)
            connection.execute(_DROP, (self._partitions, self._size_bytes))

        await self._database.write(work)

    async def add(self, pair: Pair) -> None:
        values = [
            value[:_MOST_CHARS].encode("utf-8", "replace").decode() if name in _TEXTS else value
            for name, value in msgspec.structs.asdict(pair).items()
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD, values)
            connection.execute(_CUT, (pair.tenant, pair.tenant, self._pairs))

        await self._database.write(work)

    async def all(self, *, tenant: str | None = None) -> Sequence[Standing]:
        sql = (
            f"SELECT {', '.join(_STANDING)} FROM semantic_partitions WHERE ? IS NULL OR tenant = ? "
            "ORDER BY asked DESC, partition"
        )
        rows = await self._database.read(lambda connection: connection.execute(sql, (tenant, tenant)).fetchall())
        return [Standing(*row) for row in rows]

    async def pairs(self, *, tenant: str | None = None, limit: int = 50) -> Sequence[Pair]:
        sql = f"SELECT {', '.join(_PAIR)} FROM semantic_pairs WHERE ? IS NULL OR tenant = ? ORDER BY id DESC LIMIT ?"
        rows = await self._database.read(lambda connection: connection.execute(sql, (tenant, tenant, limit)).fetchall())
        return [_pair(row) for row in rows]

    async def forget(self, *, tenant: str | None = None, before: float | None = None) -> int:
        values = (tenant, tenant, before, before)

        def work(connection: sqlite3.Connection) -> int:
            rule = "(? IS NULL OR tenant = ?) AND (? IS NULL OR {} < ?)"
            connection.execute(f"DELETE FROM semantic_pairs WHERE {rule.format('at')}", values)
            gone = connection.execute(f"DELETE FROM semantic_partitions WHERE {rule.format('updated_at')}", values)
            return gone.rowcount

        return await self._database.write(work)


def _pair(row: Sequence[Any]) -> Pair:
    made = dict(zip(_PAIR, row, strict=True))
    return Pair(**made | {"equal": bool(made["equal"])})
