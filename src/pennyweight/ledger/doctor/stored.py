"""Findings in the ledger's file: added to, and read back. No prompt text is among their columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..reading import is_made, reading
from .finding import Finding

__all__ = ["KEPT", "forget", "read", "store"]

KEPT = 20_000  # rows; the ones not seen for longest go first

# fmt: off
_PLAIN = (
    "tenant", "session", "code", "provider", "model", "client", "calls", "tokens", "prompt_tokens", "first_at",
    "last_at", "dearest", "call_id", "place", "what", "at_byte", "at_token", "gap_s", "ttl_s",
)
# fmt: on
_COLUMNS = (*_PLAIN, "place_kind", "cost_pico", "names")
_WORSE = ("call_id", "place", "what", "names", "at_byte", "at_token", "gap_s", "ttl_s")

_UPSERT = f"""
INSERT INTO findings ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (tenant, session, code, provider, model, place_kind) DO UPDATE SET
  calls = calls + excluded.calls, tokens = tokens + excluded.tokens,
  prompt_tokens = prompt_tokens + excluded.prompt_tokens, cost_pico = cost_pico + excluded.cost_pico,
  client = excluded.client, first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
  {", ".join(f"{name} = iif(excluded.dearest > dearest, excluded.{name}, {name})" for name in _WORSE)},
  dearest = max(dearest, excluded.dearest)
"""


def store(connection: sqlite3.Connection, findings: Iterable[Finding]) -> None:
    """Add findings to those that are there, in the caller's transaction."""
    connection.executemany(_UPSERT, [_row(finding) for finding in findings])
    (count,) = connection.execute("SELECT count(*) FROM findings").fetchone()
    if count > KEPT:
        oldest = "SELECT last_at FROM findings ORDER BY last_at LIMIT 1 OFFSET ?"
        connection.execute(f"DELETE FROM findings WHERE last_at < ({oldest})", (count - KEPT * 9 // 10,))


def forget(connection: sqlite3.Connection, before: float) -> None:
    """Delete findings that were last seen before that moment (unix seconds)."""
    connection.execute("DELETE FROM findings WHERE last_at < ?", (before,))


def _row(finding: Finding) -> tuple[object, ...]:
    plain = [getattr(finding, name) for name in _PLAIN]
    return (*plain, finding.where, finding.cost, msgspec.json.encode(finding.names).decode())


def read(path: Path, *, since: float = 0.0, tenant: str | None = None) -> tuple[Finding, ...]:
    """Findings that were seen since then (unix seconds). tenant: None for all. Raises StoreError."""
    if not is_made(path):
        return ()
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'findings'").fetchone():
            return ()  # a ledger that an earlier version wrote, and nobody has served from since
        where, values = ("AND tenant = ?", (since, tenant)) if tenant is not None else ("", (since,))
        rows = connection.execute(f"SELECT * FROM findings WHERE last_at >= ? {where}", values).fetchall()
    return tuple(_finding(row) for row in rows)


def _finding(row: sqlite3.Row) -> Finding:
    return Finding(
        **{name: row[name] for name in _PLAIN},
        where=row["place_kind"],
        cost=row["cost_pico"],
        names=tuple(msgspec.json.decode(row["names"], type=list[str])),
    )
