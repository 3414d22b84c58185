"""What cascades have compared and learnt, in the tables `cascade_comparisons` and `cascade_acceptors`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..routing.confidence.acceptor import Acceptor
from ..routing.confidence.comparisons import Comparison, Kind
from .database import Database

__all__ = ["SQLiteComparisons"]

_OF = "tenant = ? AND cheap = ? AND peer = ? AND strong = ?"
_ADD = (
    "INSERT INTO cascade_comparisons (at, tenant, cheap, peer, strong, task, features, keepable, same, "
    "first, last) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CUT = (
    f"DELETE FROM cascade_comparisons WHERE {_OF} AND id <= "
    f"(SELECT id FROM cascade_comparisons WHERE {_OF} ORDER BY id DESC LIMIT 1 OFFSET ?)"
)
_KEEP = (
    "INSERT INTO cascade_acceptors (tenant, cheap, peer, strong, learnt, until) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (tenant, cheap, peer, strong) DO UPDATE SET learnt = excluded.learnt, until = excluded.until"
)
_MOST = 10**15  # a thousand dollars for one answer is a slip
_floats = msgspec.json.Decoder(tuple[float, ...])
_acceptor = msgspec.json.Decoder(Acceptor)


class SQLiteComparisons:
    """Protocol: `routing.confidence.comparisons.Comparisons`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, comparison: Comparison, *, most: int) -> None:
        kind = comparison.kind
        features = msgspec.json.encode(comparison.features).decode()
        told = (comparison.keepable, comparison.same, min(comparison.first, _MOST), min(comparison.last, _MOST))
        values = (comparison.at, *_of(kind), kind.task, features, *told)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD, values)
            connection.execute(_CUT, (*_of(kind), *_of(kind), most))

        await self._database.write(work)

    async def of(self, kind: Kind) -> Sequence[Comparison]:
        columns = "id, at, task, features, keepable, same, first, last"
        sql = f"SELECT {columns} FROM cascade_comparisons WHERE {_OF} ORDER BY id"

        def work(connection: sqlite3.Connection) -> list[Comparison]:
            found = (_comparison(kind, row) for row in connection.execute(sql, _of(kind)))
            return [comparison for comparison in found if comparison is not None]

        return await self._database.read(work)

    async def kinds(self) -> Sequence[tuple[Kind, int]]:
        sql = (
            "SELECT tenant, cheap, peer, strong, count(*) FROM cascade_comparisons "
            "GROUP BY tenant, cheap, peer, strong ORDER BY 5 DESC, 1, 2, 3, 4"
        )
        rows = await self._database.read(lambda connection: connection.execute(sql).fetchall())
        return [(Kind(*row[:4]), row[4]) for row in rows]

    async def acceptor(self, kind: Kind) -> tuple[Acceptor, int] | None:
        sql = f"SELECT learnt, until FROM cascade_acceptors WHERE {_OF}"
        row = await self._database.read(lambda connection: connection.execute(sql, _of(kind)).fetchone())
        if row is None:
            return None
        try:
            return _acceptor.decode(row[0]), int(row[1])
        except (msgspec.DecodeError, ValueError):
            return None  # of a version that wrote it otherwise

    async def keep(self, kind: Kind, acceptor: Acceptor, until: int) -> None:
        values = (*_of(kind), msgspec.json.encode(acceptor).decode(), until)
        await self._database.write(lambda connection: connection.execute(_KEEP, values))


def _of(kind: Kind) -> tuple[str, str, str, str]:
    return kind.tenant, kind.cheap, kind.peer, kind.strong


def _comparison(kind: Kind, row: Sequence[Any]) -> Comparison | None:
    id, at, task, features, keepable, same, first, last = row
    try:
        signs = _floats.decode(features)
    except msgspec.DecodeError:
        return None
    kind = msgspec.structs.replace(kind, task=task)
    return Comparison(at, kind, signs, bool(keepable), bool(same), id, first, last)
