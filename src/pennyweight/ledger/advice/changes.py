"""What the adaptive loop did, read from the ledger file."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

from ...adaptive import Change
from ..reading import is_made, reading

__all__ = ["changes"]


def changes(path: Path, *, limit: int = 20) -> tuple[Change, ...]:
    """The newest first. Raises StoreError."""
    if not is_made(path):
        return ()
    sql = """SELECT at, knob, old, new, start, reason, outcome, figures, settled_at, number
      FROM adaptive_changes ORDER BY number DESC LIMIT ?"""
    with reading(path) as connection:
        if not _has_table(connection):
            return ()
        return tuple(_change(row) for row in connection.execute(sql, (limit,)))


def _has_table(connection: sqlite3.Connection) -> bool:
    """A ledger that an older version wrote, and that no gateway has opened since, has none."""
    sql = "SELECT 1 FROM sqlite_master WHERE name = 'adaptive_changes'"
    return connection.execute(sql).fetchone() is not None


def _change(row: tuple[Any, ...]) -> Change:
    at, knob, old, new, start, *rest = row
    old, new, start = (math.inf if value is None else value for value in (old, new, start))
    return Change(at, knob, old, new, start, *rest)
