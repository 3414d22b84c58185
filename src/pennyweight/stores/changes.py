"""What the adaptive loop turned, in the table `adaptive_changes`."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from ..adaptive import Change, Outcome
from .database import Database

__all__ = ["SQLiteChanges"]

_COLUMNS = "at, knob, old, new, start, reason, outcome, figures, settled_at, number"


class SQLiteChanges:
    """Protocol: `pennyweight.adaptive.Changes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, change: Change) -> int:
        row = (change.at, change.knob, *map(_stored, (change.old, change.new, change.start)), change.reason)

        def work(connection: sqlite3.Connection) -> int:
            sql = f"INSERT INTO adaptive_changes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 'trial', '', NULL, NULL)"
            return connection.execute(sql, row).lastrowid or 0

        return await self._database.write(work)

    async def settle(self, number: int, outcome: Outcome, figures: str, at: float) -> None:
        sql = "UPDATE adaptive_changes SET outcome = ?, figures = ?, settled_at = ? WHERE number = ?"
        await self._database.write(lambda connection: connection.execute(sql, (outcome, figures, at, number)))

    async def last(self) -> Sequence[Change]:
        """The newest change of every knob."""
        sql = f"""SELECT {_COLUMNS} FROM adaptive_changes
          WHERE number IN (SELECT max(number) FROM adaptive_changes GROUP BY knob) ORDER BY number"""
        return await self._database.read(lambda connection: [_change(row) for row in connection.execute(sql)])


def _change(row: tuple[object, ...]) -> Change:
    at, knob, old, new, start, *rest = row
    return Change(at, knob, _told(old), _told(new), _told(start), *rest)  # type: ignore[arg-type]


def _stored(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _told(value: object) -> float:
    return value if isinstance(value, float) else math.inf
