"""Changes of flags in the table `flag_changes`: who switched what, when and why. Rows are only ever added."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ..policy import Change
from ..protocols import Clock
from .database import Database

__all__ = ["SQLiteFlags"]

_FIELDS = ("optimizer", "mode", "share", "by", "kind", "reason", "figures", "configured", "at", "id", "last_receipt")
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM flag_changes"
_NEWEST = f"{_SELECT} WHERE id IN (SELECT max(id) FROM flag_changes WHERE kind <> 'notice' GROUP BY optimizer)"


class SQLiteFlags:
    """Protocol: `policy.Changes`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def latest(self) -> Sequence[Change]:
        return await self._database.read(lambda connection: _changes(connection, _NEWEST))

    async def history(self, limit: int = 50) -> Sequence[Change]:
        """The newest first, notices too."""
        sql = f"{_SELECT} ORDER BY id DESC LIMIT ?"
        return await self._database.read(lambda connection: _changes(connection, sql, (limit,)))

    async def add(self, change: Change, *, after: int | None = None) -> Change | None:
        at = self._clock.now()

        def work(connection: sqlite3.Connection) -> Change | None:
            sql = "SELECT coalesce(max(id), 0) FROM flag_changes WHERE optimizer = ? AND kind <> 'notice'"
            newest = connection.execute(sql, (change.optimizer,)).fetchone()[0]
            if after is not None and newest != after:
                return None
            last = connection.execute("SELECT coalesce(max(rowid), 0) FROM receipts").fetchone()[0]
            # fmt: off
            values = (
                at, change.optimizer, change.kind, change.mode, change.share, change.by, change.reason,
                msgspec.json.encode(change.figures).decode(), change.configured, last,
            )
            # fmt: on
            row = connection.execute(
                "INSERT INTO flag_changes (at, optimizer, kind, mode, share, by, reason, figures, configured, "
                f"last_receipt) VALUES ({', '.join('?' * len(values))})",
                values,
            )
            return msgspec.structs.replace(change, at=at, id=row.lastrowid or 0, last_receipt=last)

        return await self._database.write(work)


def _changes(connection: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> list[Change]:
    return [
        msgspec.convert({**dict(zip(_FIELDS, row, strict=True)), "figures": msgspec.json.decode(row[6])}, Change)
        for row in connection.execute(sql, values)
    ]
