"""Receipts, and bytes and counters, in one SQLite file."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from itertools import chain, repeat

import msgspec

from ..call import Receipt
from ..errors import StoreError
from ..protocols import Clock
from .database import FILE, Database
from .rollups import sweep, unroll

__all__ = ["FILE", "Database", "SQLiteKV", "SQLiteLedger"]

# fmt: off
_COLUMNS = (
    "call_id", "at", "tenant", "session", "agent", "task", "skill", "housekeeping", "wire", "operation", "provider",
    "model", "target_model", "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "output_tokens", "reasoning_tokens", "tier", "counted", "replayed", "cost_pico", "baseline_pico", "spent_pico",
    "pricing", "basis", "answered_by", "trail", "status", "finish_reason", "arm", "ttft_s", "latency_s", "added_s",
    "error", "abandoned", "foreseen_read_tokens", "warm", "usage_suspect", "run",
)
# fmt: on
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
# Many rows in one statement: each statement gives up Python's lock and takes it back once, and the event loop's thread
# wants it meanwhile. Row by row that handing to and fro cost as much as the writing (see bench/LOG.md).
# OR FAIL: a statement that could be taken back alone copies every page that it touches to a file first, more than half
# of all that is written. Nobody needs that: what fails here takes its whole transaction with it.
_INSERTS = {
    rows: f"INSERT OR FAIL INTO receipts ({', '.join(_COLUMNS)}) VALUES {', '.join([_ROW] * rows)} "
    "ON CONFLICT (call_id) DO NOTHING"  # a batch whose commit was not heard of may be written again
    for rows in (256, 64, 16, 4, 1)
}

_encode = msgspec.json.Encoder().encode
_NO_USAGE = (None,) * 8


class SQLiteLedger:
    """Receipts in the table `receipts`. A batch is one transaction; a receipt that is already there is left as is."""

    def __init__(self, database: Database, *, run_rows: int = 4096) -> None:
        """run_rows: receipts in the first runs of the index of sessions."""
        self._database = database
        self._run_rows = run_rows

    async def append(self, receipts: Sequence[Receipt]) -> None:
        def insert(connection: sqlite3.Connection) -> None:
            last = connection.execute("SELECT max(rowid) FROM receipts").fetchone()[0]
            at, run = 0, _run(last or 0, self._run_rows)
            for size, statement in _INSERTS.items():
                while len(receipts) - at >= size:
                    values = list(chain.from_iterable(map(_row, receipts[at : at + size], repeat(run))))
                    connection.execute(statement, values)
                    at += size

        if receipts:
            await self._database.write(insert)

    async def forget(self, before: float) -> int:
        """Delete the receipts of calls before that moment (unix seconds); how many. A little at a time."""

        def some(connection: sqlite3.Connection) -> int:
            found = connection.execute("SELECT rowid FROM receipts WHERE at < ? LIMIT 1000", (before,)).fetchall()
            if found:
                unroll(connection, [row[0] for row in found])
            return len(found)

        forgotten = 0
        while count := await self._database.write(some):
            forgotten += count
        if forgotten:
            await self._database.write(sweep)
        return forgotten


_RUNS = 64


def _run(rows: int, run_rows: int) -> int:
    """The run of the index of sessions that a receipt behind so many others belongs to (decision 0043).

    Short runs are quick to write, few are quick to look through (a third of a microsecond each): there are 64 of
    `run_rows`, and then they grow with the ledger: of 4,096, 150 in a million receipts and 300 in ten.
    """
    equal = run_rows * _RUNS
    return rows // run_rows if rows < equal else _RUNS + int(_RUNS * math.log(rows / equal))


def _row(r: Receipt, run: int) -> tuple[object, ...]:
    """The receipt as the values of `_COLUMNS`. Booleans as integers: of them sqlite3 asks its adapters first, which
    takes longer than binding the value."""
    u = r.usage
    # fmt: off
    usage: tuple[object, ...] = _NO_USAGE if u is None else (
        u.input_tokens, u.cache_read_tokens, u.cache_write_5m_tokens, u.cache_write_1h_tokens,
        u.output_tokens, u.reasoning_tokens, u.tier, +u.counted,
    )
    return (
        r.call_id, r.at, r.tenant, r.session, r.agent, r.task, r.skill, r.housekeeping, r.wire, str(r.operation),
        r.provider, r.model, r.target_model, *usage, +r.replayed, r.cost, r.baseline, r.spent, r.pricing, r.basis,
        r.answered_by, _encode(r.trail).decode(), r.status, r.finish_reason, r.arm, r.ttft_s, r.latency_s, r.added_s,
        r.error, +r.abandoned, r.foreseen_read_tokens, r.warm, "" if u is None else u.suspect, run,
    )
    # fmt: on


# --- bytes and counters -----------------------------------------------------------------------------------


class SQLiteKV:
    """A KV in the table `kv`. Past `size_bytes` of values, what expired goes first and then the oldest entries.

    Several processes may share the file: counters are read and written in one transaction.
    """

    def __init__(self, database: Database, *, clock: Clock, size_bytes: int = 1 << 30) -> None:
        self._database = database
        self._clock = clock
        self._size_bytes = size_bytes
        self._held_bytes: int | None = None  # owned by the writing thread; None: not counted yet

    async def get(self, key: str) -> bytes | None:
        now = self._clock.now()
        return await self._database.read(lambda connection: _get(connection, key, now))

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        now = self._clock.now()
        found = await self._database.read(lambda connection: _read(connection, key, now))
        if found is None:
            return None
        value, expires = found
        return value, None if expires is None else expires - now

    async def remove(self, key: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            self._grow(connection, -_drop(connection, key))

        await self._database.write(work)

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        values = (*_range(prefix), self._clock.now(), limit)

        def work(connection: sqlite3.Connection) -> list[str]:
            statement = "SELECT key FROM kv WHERE key >= ? AND key < ? AND (expires IS NULL OR expires > ?) LIMIT ?"
            return [row[0] for row in connection.execute(statement, values)]

        return await self._database.read(work)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        now = self._clock.now()
        expires = None if ttl_s is None else now + ttl_s

        def work(connection: sqlite3.Connection) -> None:
            # Deleted first, so that a replaced entry counts as new and its old size is known.
            self._grow(connection, len(value) - _drop(connection, key))
            connection.execute("INSERT INTO kv (key, value, expires) VALUES (?, ?, ?)", (key, value, expires))
            self._evict(connection, now)

        await self._database.write(work)

    async def delete(self, prefix: str) -> int:
        def work(connection: sqlite3.Connection) -> int:
            self._held_bytes = None
            return connection.execute("DELETE FROM kv WHERE key >= ? AND key < ?", _range(prefix)).rowcount

        return await self._database.write(work)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> int:
            held = _get(connection, key, now)
            total = _number(key, held) + amount
            value = b"%d" % total
            if held is None:
                self._grow(connection, len(value) - _drop(connection, key))
                expires = None if ttl_s is None else now + ttl_s
                connection.execute("INSERT INTO kv (key, value, expires) VALUES (?, ?, ?)", (key, value, expires))
            else:
                self._grow(connection, len(value) - len(held))
                connection.execute("UPDATE kv SET value = ? WHERE key = ?", (value, key))
            return total

        return await self._database.write(work)

    def _grow(self, connection: sqlite3.Connection, size_bytes: int) -> None:
        if self._held_bytes is None:
            self._held_bytes = connection.execute("SELECT coalesce(sum(length(value)), 0) FROM kv").fetchone()[0]
        self._held_bytes += size_bytes

    def _evict(self, connection: sqlite3.Connection, now: float) -> None:
        """Back to nine tenths of the bound, so that not every put has to evict."""
        if self._held_bytes is None or self._held_bytes <= self._size_bytes:
            return
        connection.execute("DELETE FROM kv WHERE expires <= ?", (now,))
        held = connection.execute("SELECT coalesce(sum(length(value)), 0) FROM kv").fetchone()[0]
        goal = self._size_bytes * 9 // 10
        while held > goal:
            for rowid, size in connection.execute("SELECT rowid, length(value) FROM kv ORDER BY rowid LIMIT 64"):
                connection.execute("DELETE FROM kv WHERE rowid = ?", (rowid,))
                held -= size
                if held <= goal:
                    break
        self._held_bytes = held


def _range(prefix: str) -> tuple[str, str]:
    """U+10FFFF is no character that a key ends in: everything with the prefix sorts below it."""
    return prefix, prefix + "\U0010ffff"


def _read(connection: sqlite3.Connection, key: str, now: float) -> tuple[bytes, float | None] | None:
    """The value and when it lapses."""
    row = connection.execute(
        "SELECT value, expires FROM kv WHERE key = ? AND (expires IS NULL OR expires > ?)", (key, now)
    ).fetchone()
    return None if row is None else (bytes(row[0]), row[1])


def _get(connection: sqlite3.Connection, key: str, now: float) -> bytes | None:
    found = _read(connection, key, now)
    return None if found is None else found[0]


def _drop(connection: sqlite3.Connection, key: str) -> int:
    """Bytes freed."""
    row = connection.execute("SELECT length(value) FROM kv WHERE key = ?", (key,)).fetchone()
    if row is None:
        return 0
    connection.execute("DELETE FROM kv WHERE key = ?", (key,))
    return int(row[0])


def _number(key: str, value: bytes | None) -> int:
    try:
        return 0 if value is None else int(value)
    except ValueError:
        raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None
