"""Counters in a table of a Postgres database, shared by all replicas. Needs the extra `postgres`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ...counters import KEEP_S, MOST, Counter, Move, Take, Taken, bounded
from ..postgres import Postgres

__all__ = ["PostgresCounters"]

_AT_ONCE = (
    3  # of the pool's connections: caches and leases want some, and the rows are taken one after the other anyway
)
_SWEEP_EVERY = 4_096

_TAKE = "SELECT refused, spent_now, held_now FROM budget_take(%s::bytea[], %s::numeric[], %s::numeric[], %s::float8[])"
_MOVE = """
WITH moved AS (
  INSERT INTO budget_counters AS was (key, spent)
  SELECT k, greatest(s, 0) FROM unnest(%s::bytea[], %s::numeric[], %s::numeric[]) AS m(k, h, s) ORDER BY k
  ON CONFLICT (key) DO UPDATE SET changed = statement_timestamp(),
    spent = least(greatest(was.spent + (SELECT s FROM unnest(%s::bytea[], %s::numeric[]) AS x(k, s)
      WHERE k = was.key), 0), %s),
    held = least(greatest(was.held - (SELECT h FROM unnest(%s::bytea[], %s::numeric[]) AS x(k, h)
      WHERE k = was.key), 0), %s)
  RETURNING key, spent, held
) SELECT key, spent, held FROM moved
"""
_READ = "SELECT key, spent, held FROM budget_counters WHERE key >= %s AND key < %s LIMIT %s"
_RESET = "UPDATE budget_counters SET spent = 0, held = 0, changed = statement_timestamp() WHERE key = %s"
_SWEEP = (
    "DELETE FROM budget_counters WHERE ends < statement_timestamp() - make_interval(secs => %s) "
    "OR (ends IS NULL AND changed < statement_timestamp() - make_interval(secs => %s))"
)


class PostgresCounters:
    """Protocol: `Counters`. Each change is one statement; what is old goes by the server's clock."""

    def __init__(self, database: Postgres) -> None:
        self._database = database
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._takes = 0

    async def take(self, wanted: Sequence[Take]) -> Taken:
        values = (
            [_bytes(take.key) for take in wanted],
            [bounded(take.amount) for take in wanted],
            [min(take.limit, MOST) for take in wanted],
            [take.ends for take in wanted],
        )
        async with self._room, self._database.connection() as connection:
            rows = await (await connection.execute(_TAKE, values)).fetchall()
            self._takes += 1
            if self._takes % _SWEEP_EVERY == 0:
                await connection.execute(_SWEEP, (KEEP_S, 10 * KEEP_S))
        refused = tuple(at for at, row in enumerate(rows) if row[0])
        return Taken(refused, tuple(Counter(int(spent), int(held)) for _, spent, held in rows))

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        keys = [_bytes(move.key) for move in moves]
        held, spent = [bounded(move.held) for move in moves], [bounded(move.spent) for move in moves]
        values = (keys, held, spent, keys, spent, MOST, keys, held, MOST)
        async with self._room, self._database.connection() as connection:
            rows = await (await connection.execute(_MOVE, values)).fetchall()
        found = {bytes(key): Counter(int(spent), int(held)) for key, spent, held in rows}
        return [found[key] for key in keys]

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        start = _bytes(prefix)
        async with self._database.connection() as connection:
            rows = await (await connection.execute(_READ, (start, start + b"\xff", limit))).fetchall()
        return {bytes(key).decode("utf-8", "surrogatepass"): Counter(int(s), int(h)) for key, s, h in rows}

    async def reset(self, key: str) -> bool:
        async with self._database.connection() as connection:
            return bool((await connection.execute(_RESET, (_bytes(key),))).rowcount)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
