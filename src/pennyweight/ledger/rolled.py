"""Figures over whole UTC days, quickly: from the rollups, and from the receipts that are not rolled up yet.

Both are read in one transaction, so every figure is exactly that of the receipts, whatever has been rolled up so far.
Money is summed in two parts, as in `report`. Times are unix seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..money import PicoUSD
from .reading import is_made, reading

__all__ = ["DAY_S", "HOUR_S", "Dimension", "Figures", "Rolled", "Said", "Span", "rolled"]

DAY_S, HOUR_S = 86_400, 3_600

Dimension = Literal["all", "tenant", "provider", "model", "agent", "session", "task", "skill"]


class Span(msgspec.Struct, frozen=True):
    """`since`: the beginning of a UTC day, None: from the first receipt. `tenant` None: all."""

    since: int | None = None
    tenant: str | None = None


class Figures(msgspec.Struct, frozen=True):
    """Sums over calls. Tokens are what was consumed; replayed answers consume none. Money as in `report.Line`."""

    calls: int = 0
    replayed_calls: int = 0
    failed_calls: int = 0
    unpriced_calls: int = 0
    subscription_calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0
    replayed_tokens: int = 0
    latency_ms: int = 0
    cost: PicoUSD = 0
    baseline: PicoUSD = 0
    measured: PicoUSD = 0
    computed: PicoUSD = 0
    estimated: PicoUSD = 0
    spent: PicoUSD = 0

    @property
    def saved(self) -> PicoUSD:
        return self.baseline - self.cost

    @property
    def has_money(self) -> bool:
        """Whether any call here has a cost in dollars; if none has, `cost` is 0 for want of a price."""
        return self.calls > self.unpriced_calls + self.subscription_calls


class Said(msgspec.Struct, frozen=True):
    """How often an optimizer's step ended in a verdict, and what those steps named. Savings of steps overlap."""

    optimizer: str
    verdict: str
    steps: int
    saving: PicoUSD
    spent: PicoUSD


_NUMBERS = Figures.__struct_fields__[:11]
_MONEY = Figures.__struct_fields__[11:]
_COLUMNS = (*_NUMBERS, *(f"{name}_{part}" for name in _MONEY for part in ("micro", "rest")))
_BETWEEN = "\x1f"  # a separator that no tenant's name has: names of keys are printable
_ORDERING = ("calls", "cost_micro", "input_tokens")
_MANY = ("session", "agent", "task")
_STEP_COLUMNS = ("steps", "saving_micro", "saving_rest", "spent_micro", "spent_rest")


class Rolled:
    """One consistent look at a ledger. Made by `rolled`."""

    def __init__(self, connection: sqlite3.Connection, position: int) -> None:
        self._connection = connection
        self._position = position  # receipts up to here are in the rollups

    def series(self, span: Span, step_s: int) -> dict[int, Figures]:
        """By the beginning of each day (step_s 86,400) or hour (3,600) that has calls, in order."""
        rows = self._sums("start", f"at / {step_s} * {step_s}", "all", step_s, span, "ORDER BY 1")
        return {row[0]: _figures(row[1:]) for row in rows}

    def groups(self, span: Span, dimension: Dimension, limit: int = -1) -> list[tuple[str, Figures]]:
        """By the value of a dimension, dearest first; at most `limit`, unless that is below 0."""
        rolled_as, key = ("all", "tenant") if dimension == "tenant" else (dimension, "key")
        order = f"ORDER BY sum(cost_micro) DESC, sum(input_tokens) DESC, 1 LIMIT {int(limit)}"
        rows = self._sums(key, "''" if dimension == "all" else dimension, rolled_as, DAY_S, span, order)
        return [(row[0], _figures(row[1:])) for row in rows]

    def sessions(self, span: Span, limit: int, *, recent: bool) -> list[tuple[str, str, Figures]]:
        """(tenant, session, figures): the dearest, or those of the latest days first."""
        order = f"ORDER BY {'max(day) DESC, ' if recent else ''}sum(cost_micro) DESC, 1 LIMIT {int(limit)}"
        owned = f"tenant || '{_BETWEEN}' || "
        rows = self._sums(f"{owned}key", f"{owned}session", "session", DAY_S, span, order)
        found = []
        for row in rows:
            tenant, _, session = row[0].partition(_BETWEEN)
            found.append((tenant, session, _figures(row[1:])))
        return found

    def total(self, span: Span) -> Figures:
        return next((figures for _, figures in self.groups(span, "all")), Figures())

    def said(self, span: Span) -> tuple[Said, ...]:
        """What optimizers said, by optimizer and verdict."""
        where, values = _where(("start >= ?", span.since), ("tenant = ?", span.tenant))
        behind, more = self._where_behind(span)
        columns = f"optimizer, verdict, {', '.join(_STEP_COLUMNS)}"
        sql = f"""SELECT optimizer, verdict, {_summed(_STEP_COLUMNS)}
          FROM (SELECT {columns} FROM step_rollups WHERE {self._any} AND {where}
                UNION ALL SELECT {columns} FROM step_sums WHERE {behind})
          GROUP BY 1, 2 HAVING sum(steps) ORDER BY 1, 2"""
        return tuple(
            Said(row[0], row[1], row[2], _join(*row[3:5]), _join(*row[5:7]))
            for row in self._connection.execute(sql, (*values, *more))
        )

    def first_day(self, tenant: str | None = None) -> int | None:
        """The beginning of the first day with a receipt."""
        where, values = _where(("tenant = ?", tenant))
        row = self._connection.execute(f"SELECT min(at) FROM receipts WHERE {where}", values).fetchone()
        return None if row[0] is None else int(row[0]) // DAY_S * DAY_S

    def select(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """Other rows as of the same moment."""
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(sql, tuple(values)).fetchall()

    def _sums(
        self, rolled_key: str, key: str, dimension: str, span_s: int, span: Span, order: str
    ) -> list[tuple[Any, ...]]:
        """Rows of (key, sums…): what is rolled up and what is not, added by SQLite, which lets other threads run.

        Where there are many keys and few are wanted, these are found first: sorting whole rows is the slow part.
        """
        where, values = _where(
            ("dimension = ?", dimension),
            ("span_s = ?", span_s),
            ("start >= ?", span.since),
            ("tenant = ?", span.tenant),
        )
        behind, more = self._where_behind(span)
        both = (*values, *more)

        def grouped(columns: tuple[str, ...], sums: str, only: str) -> str:
            listed = ", ".join(columns)
            return f"""SELECT named{sums}
              FROM (SELECT {rolled_key} AS named, start AS day, {listed} FROM rollups WHERE {self._any} AND {where}
                    UNION ALL SELECT {key} AS named, at AS day, {listed} FROM receipt_sums WHERE {behind})
              {only} GROUP BY 1 HAVING sum(calls) {order}"""

        only = ""
        if "LIMIT" in order and dimension in _MANY:
            found = self._connection.execute(grouped(_ORDERING, "", ""), both).fetchall()
            both = (*both, json.dumps([row[0] for row in found]))
            only = "WHERE named IN (SELECT value FROM json_each(?))"
        return self._connection.execute(grouped(_COLUMNS, f", {_summed(_COLUMNS)}", only), both).fetchall()

    @property
    def _any(self) -> str:
        """Whether the rollups count at all."""
        return "true" if self._position else "false"

    def _where_behind(self, span: Span) -> tuple[str, tuple[Any, ...]]:
        # The + keeps SQLite from an index on tenant or time: the few receipts behind the position are the quicker way.
        return _where(("position > ?", self._position), ("+at >= ?", span.since), ("+tenant = ?", span.tenant))


@contextmanager
def rolled(path: Path) -> Iterator[Rolled | None]:
    """A look at the ledger file, None where there is none yet. Raises StoreError."""
    if not is_made(path):
        yield None
        return
    with reading(path) as connection:
        connection.execute("BEGIN")  # every query sees the same moment
        yield Rolled(connection, _position(connection))


def _position(connection: sqlite3.Connection) -> int:
    """0 where nothing is rolled up, or where the rollups are of rows that were renumbered since."""
    row = connection.execute(
        "SELECT s.position FROM rollup_state s JOIN receipts r ON r.rowid = s.position AND r.call_id = s.call_id"
    ).fetchone()
    return int(row[0]) if row else 0


def _where(*terms: tuple[str, Any]) -> tuple[str, tuple[Any, ...]]:
    used = [(term, value) for term, value in terms if value is not None]
    return " AND ".join(term for term, _ in used) or "true", tuple(value for _, value in used)


def _summed(columns: Iterable[str]) -> str:
    return ", ".join(f"sum({name})" for name in columns)


def _figures(found: tuple[int, ...]) -> Figures:
    numbers, money = found[: len(_NUMBERS)], found[len(_NUMBERS) :]
    return Figures(*numbers, *(_join(money[i], money[i + 1]) for i in range(0, len(money), 2)))


def _join(micro: int, rest: int) -> PicoUSD:
    return micro * 1_000_000 + rest
