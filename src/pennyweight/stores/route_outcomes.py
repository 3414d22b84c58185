"""Outcomes that the router learns from, in the table `route_outcomes`."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from typing import Any

from ..routing.learning.outcomes import Acted, Told, source_of, task_type
from .database import Database

__all__ = ["SQLiteOutcomes"]

_COLUMNS = "at, tenant, agent, task, model, success, source, weight, call_id, text, hard, features, vector, declared"
_ADD = (
    f"INSERT INTO route_outcomes ({_COLUMNS}) VALUES ({', '.join('?' * 14)}) "
    "ON CONFLICT (call_id, source) WHERE call_id <> '' DO UPDATE SET at = excluded.at, success = excluded.success, "
    "weight = excluded.weight, task = excluded.task, hard = excluded.hard, features = excluded.features, "
    "vector = CASE WHEN length(excluded.vector) > 0 THEN excluded.vector ELSE route_outcomes.vector END"
)
_CUT = """
DELETE FROM route_outcomes WHERE tenant = ? AND id <=
  (SELECT id FROM route_outcomes WHERE tenant = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""


class SQLiteOutcomes:
    """Protocol: `routing.learning.outcomes.Keeper`. Keeps the newest `rows` of each tenant."""

    def __init__(self, database: Database, *, rows: int = 50_000) -> None:
        self._database = database
        self._rows = rows

    async def add(self, told: Sequence[Told], acted: Sequence[Acted] = ()) -> None:
        values = [_values(one, one.success, one.source, one.weight) for one in told]
        values += [_values(one, None, "", 0.0) for one in acted]
        if not values:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_ADD, values)
            for tenant in {value[1] for value in values}:
                connection.execute(_CUT, (tenant, tenant, self._rows))

        await self._database.write(work)

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        sql = (
            f"SELECT {_COLUMNS} FROM route_outcomes WHERE success IS NOT NULL AND (? IS NULL OR tenant = ?) "
            "ORDER BY id DESC LIMIT ?"
        )
        rows = await self._database.read(lambda connection: connection.execute(sql, (tenant, tenant, limit)).fetchall())
        return [_told(*row) for row in reversed(rows)]

    async def acted(self, call_id: str) -> Acted | None:
        sql = f"SELECT {_COLUMNS} FROM route_outcomes WHERE call_id = ? LIMIT 1"
        row = await self._database.read(lambda connection: connection.execute(sql, (call_id,)).fetchone())
        return None if row is None else _acted(*row)

    async def forget(self, before: float | None = None, *, tenant: str | None = None) -> int:
        """Drop what is of that tenant and older than that moment (unix seconds). How many rows.

        By age only what calls said: a file that was learnt from has no day of its own.
        """
        sql = (
            "DELETE FROM route_outcomes WHERE (? IS NULL OR tenant = ?) "
            "AND (? IS NULL OR (at < ? AND source <> 'file'))"
        )
        given = (tenant, tenant, before, before)
        return await self._database.write(lambda connection: connection.execute(sql, given).rowcount)


def _values(one: Acted | Told, success: float | None, source: str, weight: float) -> tuple[Any, ...]:
    features = array("f", one.features).tobytes()
    return (
        one.at,
        one.tenant,
        one.agent,
        one.task,
        one.model,
        success,
        source,
        weight,
        one.call_id,
        one.text,
        one.hard,
        features,
        one.vector,
        one.declared,
    )


def _told(
    at: float,
    tenant: str,
    agent: str,
    task: str,
    model: str,
    success: float,
    source: str,
    weight: float,
    call_id: str,
    text: str,
    hard: float,
    features: bytes,
    vector: bytes,
    declared: str,
) -> Told:
    return Told(
        at,
        tenant,
        task_type(task),
        model,
        success,
        source_of(source),
        weight,
        agent,
        call_id,
        text,
        hard,
        _floats(features),
        bytes(vector),
        declared,
    )


def _acted(
    at: float,
    tenant: str,
    agent: str,
    task: str,
    model: str,
    _success: float | None,
    _source: str,
    _weight: float,
    call_id: str,
    text: str,
    hard: float,
    features: bytes,
    vector: bytes,
    declared: str,
) -> Acted:
    return Acted(
        at, tenant, task_type(task), model, agent, call_id, text, hard, _floats(features), bytes(vector), declared
    )


def _floats(raw: bytes) -> tuple[float, ...]:
    found = array("f")
    found.frombytes(raw)
    return tuple(found)
