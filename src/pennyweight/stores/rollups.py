"""Rolling receipts up: sums by day that make pages over a large ledger quick, and that never drift from the receipts.

The rollups hold exactly the receipts up to a position; readers add those behind it themselves (ledger/rolled.py). So an
append costs nothing here, and rolling many receipts at once costs a few microseconds for each.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence

from ..errors import StoreError
from .database import Database

__all__ = ["Rollups", "sweep", "unroll"]

_DIMENSIONS = ("provider", "model", "agent", "session", "task", "skill")
_DAY_S, _HOUR_S = 86_400, 3_600

_SUMS = (
    "calls",
    "replayed_calls",
    "failed_calls",
    "unpriced_calls",
    "subscription_calls",
    "input_tokens",
    "cached_tokens",
    "written_tokens",
    "output_tokens",
    "replayed_tokens",
    "latency_ms",
    "cost_micro",
    "cost_rest",
    "baseline_micro",
    "baseline_rest",
    "measured_micro",
    "measured_rest",
    "computed_micro",
    "computed_rest",
    "estimated_micro",
    "estimated_rest",
    "spent_micro",
    "spent_rest",
)
_STEP_SUMS = ("steps", "saving_micro", "saving_rest", "spent_micro", "spent_rest")

_PORTION = 1_000  # receipts rolled in one transaction: some 15 ms of the writing thread, for which others may wait
_PAUSE_S = 0.02  # between portions, so that who waits for the writing thread gets it
_IDLE_TURNS = 1  # without a receipt: quiet
_MOST = 20_000  # receipts that may wait however busy it is: whoever looks first waits a third of a second for them
_LEFT = 500  # receipts that are not worth a transaction: readers sum them in a few milliseconds


class Rollups:
    """Keeps the rollups near the end of the ledger. `run` it as a task.

    While calls come and nobody looks, rolling up waits for two seconds without any: it costs some 20 microseconds of
    CPU per call, which nobody waits for then.
    """

    def __init__(self, database: Database, *, every_s: float = 2.0) -> None:
        self._database = database
        self._every_s = every_s
        self._looked = False

    def look(self) -> None:
        """Somebody looks at figures: until the next turn without, rolling up does not wait."""
        self._looked = True

    async def run(self) -> None:
        """Roll up what gathers, for ever; a ledger that fails is tried again later."""
        left, idle = 0, 0
        while True:
            try:
                behind = await self.behind()
                idle = idle + 1 if behind == left else 0
                looked, self._looked = self._looked, False
                enough = _LEFT if looked or idle >= _IDLE_TURNS else _MOST
                while behind > enough:
                    left, behind = behind, await self.advance()
                    if not looked and behind > max(left - _PORTION, 0):
                        enough = _MOST  # calls come again: the rest waits for the next quiet moment
                    await asyncio.sleep(_PAUSE_S)
                left = behind
            except StoreError:  # the clerk tells of it; figures stay right, they only take longer
                pass
            await asyncio.sleep(self._every_s)

    async def behind(self) -> int:
        """How many receipts are not rolled up yet, at most."""
        return await self._database.read(_behind)

    async def advance(self, portion: int = _PORTION) -> int:
        """Roll up the next receipts, at most `portion`; how many are left. Raises StoreError."""
        return await self._database.write(lambda connection: _advance(connection, portion))


def unroll(connection: sqlite3.Connection, rowids: Sequence[int]) -> None:
    """Delete those receipts, and take them out of the rollups that hold them. Within the caller's transaction."""
    position = _position(connection)
    chosen = json.dumps(list(rowids))
    those = "position IN (SELECT value FROM json_each(?))"
    _add(connection, f"{those} AND position <= ?", (chosen, position), sign=-1)
    connection.execute("DELETE FROM receipts WHERE rowid IN (SELECT value FROM json_each(?))", (chosen,))
    # A rowid past the last that is left is given again: the position must not be beyond it.
    _remember(connection, position)


def sweep(connection: sqlite3.Connection) -> None:
    """Delete what `unroll` brought down to nothing."""
    connection.execute("DELETE FROM rollups WHERE calls = 0")
    connection.execute("DELETE FROM step_rollups WHERE steps = 0")


def _behind(connection: sqlite3.Connection) -> int:
    last = connection.execute("SELECT max(rowid) FROM receipts").fetchone()[0] or 0
    row = connection.execute("SELECT max(position) FROM rollup_state").fetchone()
    return int(last - (row[0] or 0))


def _advance(connection: sqlite3.Connection, portion: int) -> int:
    position = _position(connection)
    until = connection.execute(
        "SELECT max(rowid) FROM (SELECT rowid FROM receipts WHERE rowid > ? ORDER BY rowid LIMIT ?)",
        (position, portion),
    ).fetchone()[0]
    if until is not None:
        _add(connection, "position > ? AND position <= ?", (position, until), sign=1)
        _remember(connection, until)
    return _behind(connection)


def _position(connection: sqlite3.Connection) -> int:
    """The rowid up to which receipts are rolled up. Rollups of a table that was renumbered are dropped: 0."""
    row = connection.execute("SELECT position, call_id FROM rollup_state").fetchone()
    if row is None:
        return 0
    found = connection.execute("SELECT call_id FROM receipts WHERE rowid = ?", (row[0],)).fetchone()
    if found is not None and found[0] == row[1]:
        return int(row[0])
    for table in ("rollups", "step_rollups", "rollup_state"):
        connection.execute(f"DELETE FROM {table}")
    return 0


def _remember(connection: sqlite3.Connection, position: int) -> None:
    connection.execute("DELETE FROM rollup_state")
    connection.execute(
        "INSERT INTO rollup_state SELECT rowid, call_id FROM receipts WHERE rowid <= ? ORDER BY rowid DESC LIMIT 1",
        (position,),
    )


def _add(connection: sqlite3.Connection, where: str, values: tuple[object, ...], *, sign: int) -> None:
    """Add what those receipts sum to, or take it away (sign -1).

    In steps: a session's calls of one hour agree in all that is grouped by, so a busy ledger's receipts first shrink
    to few rows, and each dimension groups those. Many sessions of few agents and tasks shrink again, without it.
    """
    connection.execute(_GATHER.format(where=where, sign="" if sign > 0 else "-"), values)
    rows, *distinct = connection.execute(_DISTINCT).fetchone()
    table = "shrunk" if max(distinct) * _MANY_SESSIONS <= rows else "gathered"
    for statement in ((_SHRINK,) if table == "shrunk" else ()) + _SPREAD[table]:
        connection.execute(statement)
    for made in {"gathered", table}:
        connection.execute(f"DROP TABLE temp.{made}")
    connection.execute(_STEPS.format(where=where.replace("position", "rowid"), sign="" if sign > 0 else "-"), values)


_KEYS = ("tenant", *_DIMENSIONS)
_GATHER = (
    f"CREATE TEMP TABLE gathered AS SELECT at / {_HOUR_S} * {_HOUR_S} AS hour, {', '.join(_KEYS)}, "
    f"{', '.join(f'{{sign}}sum({name}) AS {name}' for name in _SUMS)} "
    f"FROM receipt_sums WHERE {{where}} GROUP BY {', '.join(map(str, range(1, len(_KEYS) + 2)))}"
)


_MANY_SESSIONS = 20  # to an agent, a task, a skill: else shrinking costs what it saves
_DISTINCT = (
    "SELECT count(*), count(DISTINCT agent), count(DISTINCT model), count(DISTINCT task), count(DISTINCT skill) "
    "FROM temp.gathered"
)
_SHARED = tuple(key for key in _KEYS if key != "session")
_SHRINK = (
    f"CREATE TEMP TABLE shrunk AS SELECT hour, {', '.join(_SHARED)}, {', '.join(f'sum({n}) AS {n}' for n in _SUMS)} "
    f"FROM temp.gathered GROUP BY {', '.join(map(str, range(1, len(_SHARED) + 2)))}"
)


def _spread(dimension: str, key: str, span_s: int, table: str) -> str:
    return (
        f"INSERT INTO rollups (dimension, span_s, start, tenant, key, {', '.join(_SUMS)}) "
        f"SELECT '{dimension}', {span_s}, hour / {span_s} * {span_s} AS began, tenant, {key} AS named, "
        f"{', '.join(f'sum({name})' for name in _SUMS)} "
        f"FROM temp.{table} WHERE true GROUP BY began, tenant, named "
        f"ON CONFLICT (dimension, span_s, start, tenant, key) DO UPDATE SET {_grown(_SUMS)}"
    )


def _grown(sums: Sequence[str]) -> str:
    return ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)


_SPREAD = {
    table: (
        _spread("all", "''", _HOUR_S, table),
        _spread("all", "''", _DAY_S, table),
        *(_spread(name, name, _DAY_S, "gathered" if name == "session" else table) for name in _DIMENSIONS),
    )
    for table in ("gathered", "shrunk")
}

# Most trails are those of other calls to the letter: each is read once. The sums are those of the view step_sums.
_STEPS = f"""
INSERT INTO step_rollups (start, tenant, optimizer, verdict, {", ".join(_STEP_SUMS)})
SELECT day, tenant, coalesce(json_extract(s.value, '$.optimizer'), ''),
  coalesce(json_extract(s.value, '$.verdict'), ''), {{sign}}sum(times),
  {{sign}}sum(coalesce(json_extract(s.value, '$.saving'), 0) / 1000000 * times),
  {{sign}}sum(coalesce(json_extract(s.value, '$.saving'), 0) % 1000000 * times),
  {{sign}}sum(coalesce(json_extract(s.value, '$.spent'), 0) / 1000000 * times),
  {{sign}}sum(coalesce(json_extract(s.value, '$.spent'), 0) % 1000000 * times)
FROM (SELECT CAST(at AS INTEGER) / {_DAY_S} * {_DAY_S} AS day, tenant, trail, count(*) AS times
      FROM receipts WHERE {{where}} AND trail <> '[]' GROUP BY 1, 2, 3) r, json_each(r.trail) s
WHERE true GROUP BY 1, 2, 3, 4
ON CONFLICT (start, tenant, optimizer, verdict) DO UPDATE SET {_grown(_STEP_SUMS)}
"""
