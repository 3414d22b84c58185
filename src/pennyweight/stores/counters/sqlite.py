"""Counters in the table `budget_counters` of the ledger's file: every change is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from ...counters import KEEP_S, MOST, Counter, Move, Take, Taken, bounded
from ...errors import StoreError
from ..damage import Damage
from ..database import Database

__all__ = ["SQLiteCounters"]

_SWEEP_EVERY = 4_096  # takes between two looks for counters whose windows are long past
_DAY_S = 86_400

_PUT = (
    "INSERT INTO budget_counters (key, spent, held, ends, changed) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET spent = excluded.spent, held = excluded.held, changed = excluded.changed"
)


class SQLiteCounters:
    """Protocol: `Counters`. Processes on this machine may share the file.

    doubts: what happened to the file. Counters that may have been lost are refused: for the rest of their window, and
    those without one for the rest of the UTC day. now: as of `MemoryCounters`.
    """

    def __init__(
        self, database: Database, *, now: Callable[[], float], doubts: Callable[[], Sequence[Damage]] = tuple
    ) -> None:
        self._database = database
        self._now = now
        self._doubts = doubts
        self._takes = 0

    async def take(self, wanted: Sequence[Take]) -> Taken:
        now = self._now()
        self._refuse_doubtful(wanted, now)
        self._takes += 1
        sweeping = self._takes % _SWEEP_EVERY == 0

        def work(connection: sqlite3.Connection) -> Taken:
            found = [_counter(connection, take.key) for take in wanted]
            refused = tuple(
                at for at, take in enumerate(wanted) if found[at].total + bounded(take.amount) > min(take.limit, MOST)
            )
            if refused:
                return Taken(refused, tuple(found))
            after = [_moved(was, 0, bounded(take.amount)) for was, take in zip(found, wanted, strict=True)]
            for take, counter in zip(wanted, after, strict=True):
                connection.execute(_PUT, (take.key, counter.spent, counter.held, take.ends, now))
            if sweeping:
                _sweep(connection, now)
            return Taken((), tuple(after))

        return await self._database.write(work)

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        now = self._now()

        def work(connection: sqlite3.Connection) -> list[Counter]:
            after = []
            for move in moves:
                counter = _moved(_counter(connection, move.key), bounded(move.spent), -bounded(move.held))
                connection.execute(_PUT, (move.key, counter.spent, counter.held, None, now))
                after.append(counter)
            return after

        return await self._database.write(work)

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        def work(connection: sqlite3.Connection) -> dict[str, Counter]:
            rows = connection.execute(
                "SELECT key, spent, held FROM budget_counters WHERE key >= ? AND key < ? LIMIT ?",
                (prefix, prefix + "\U0010ffff", limit),
            )
            return {key: Counter(spent, held) for key, spent, held in rows}

        return await self._database.read(work)

    async def reset(self, key: str) -> bool:
        sql = "UPDATE budget_counters SET spent = 0, held = 0 WHERE key = ?"
        return await self._database.write(lambda connection: connection.execute(sql, (key,)).rowcount > 0)

    def _refuse_doubtful(self, wanted: Sequence[Take], now: float) -> None:
        for damage in self._doubts():
            if not damage.counters_in_doubt:
                continue
            for take in wanted:
                if take.ends is None:
                    doubtful = now // _DAY_S <= damage.at // _DAY_S
                else:
                    doubtful = take.begins <= damage.at < take.ends
                if doubtful:
                    raise StoreError(
                        "What was spent is not known, because the ledger was damaged, so its limits refuse until "
                        f"they begin anew. To lift this, remove {damage.aside}.json from the data folder."
                    )


def _counter(connection: sqlite3.Connection, key: str) -> Counter:
    row = connection.execute("SELECT spent, held FROM budget_counters WHERE key = ?", (key,)).fetchone()
    return Counter() if row is None else Counter(row[0], row[1])


def _moved(counter: Counter, spent: int, held: int) -> Counter:
    return Counter(max(bounded(counter.spent + spent), 0), max(bounded(counter.held + held), 0))


def _sweep(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM budget_counters WHERE ends < ?", (now - KEEP_S,))
    connection.execute("DELETE FROM budget_counters WHERE ends IS NULL AND changed < ?", (now - 10 * KEEP_S,))
