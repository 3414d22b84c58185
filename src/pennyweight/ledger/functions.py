"""What cached functions saved, in the ledger's table `function_hits`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ..money import PicoUSD

__all__ = ["FunctionDelta", "FunctionLine", "function_lines", "write_functions"]

_DAY_S = 86_400
_MICRO = 1_000_000  # pico-dollars


class FunctionDelta(msgspec.Struct, frozen=True):
    """What came to be counted for one function and tenant; `at` unix seconds, `saved` pico-dollars (estimated)."""

    at: float
    tenant: str
    function: str
    hits: int = 0
    stale: int = 0
    shared: int = 0
    misses: int = 0
    failures: int = 0
    saved_s: float = 0.0
    saved: PicoUSD = 0


class FunctionLine(msgspec.Struct, frozen=True):
    """The sums of one function and tenant. `hit_share`: of its calls, in [0, 1]; shared calls count as answered."""

    tenant: str
    function: str
    hits: int
    stale: int
    shared: int
    misses: int
    failures: int
    saved_s: float
    saved: PicoUSD

    @property
    def hit_share(self) -> float:
        calls = self.hits + self.shared + self.misses
        return (self.hits + self.shared) / calls if calls else 0.0


def write_functions(connection: sqlite3.Connection, deltas: Iterable[FunctionDelta]) -> None:
    """Add them up. Within the caller's transaction."""
    for d in deltas:
        micro, rest = divmod(d.saved, _MICRO)
        day = int(d.at // _DAY_S) * _DAY_S
        counts = (d.hits, d.stale, d.shared, d.misses, d.failures, d.saved_s, micro, rest)
        connection.execute(_ADD, (day, d.tenant, d.function, *counts))


_COUNTS = ("hits", "stale", "shared", "misses", "failures", "saved_s", "saved_micro", "saved_rest")
_ADD = (
    f"INSERT INTO function_hits (day, tenant, function, {', '.join(_COUNTS)}) VALUES (?,?,?,?,?,?,?,?,?,?,?) "
    f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _COUNTS)}"
)


def function_lines(path: Path, *, since: float = 0.0, tenant: str | None = None) -> list[FunctionLine]:
    """The sums since the day of that moment (unix seconds), most seconds saved first. [] where there is no ledger.

    Raises sqlite3.Error.
    """
    if not path.is_file():
        return []
    sums = ", ".join(f"sum({name})" for name in _COUNTS)
    where = "WHERE day >= ?" + ("" if tenant is None else " AND tenant = ?")
    given = (int(since // _DAY_S) * _DAY_S, *(() if tenant is None else (tenant,)))
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'function_hits'").fetchone():
            return []  # written by an older Pennyweight
        rows = connection.execute(
            f"SELECT tenant, function, {sums} FROM function_hits {where} GROUP BY tenant, function "
            "ORDER BY sum(saved_s) DESC, function",
            given,
        ).fetchall()
    return [_line(*row) for row in rows]


def _line(tenant: str, function: str, *sums: Any) -> FunctionLine:
    hits, stale, shared, misses, failures, saved_s, micro, rest = sums
    return FunctionLine(tenant, function, hits, stale, shared, misses, failures, saved_s, micro * _MICRO + rest)
