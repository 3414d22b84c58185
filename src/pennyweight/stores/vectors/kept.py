"""Vectors in the ledger's SQLite file, so that they outlive the process: written a little later, read by space.

Stored as float16: half the room, and a cosine changes by about 0.00001.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections.abc import Mapping

import numpy as np

from ...errors import StoreError
from ..database import Database
from .space import Floats

__all__ = ["Kept"]

log = logging.getLogger(__name__)

_Entry = tuple[str, str, int]  # space, id, dimensions
_Value = tuple[bytes, float | None]  # float16, expires (unix seconds)
_EVERY_DIMENSION = 0
_QUEUE = 20_000  # changes held while the database is down; past that they are dropped and counted
_EVICT_ROWS = 256


class Kept:
    """The table `vectors`. Changes wait up to `wait_s` to be written together; past `size_bytes` the oldest go.

    What could not be written stays in the queue and is tried again: a database that is down loses nothing that memory
    has, and delays nobody.
    """

    def __init__(self, database: Database, *, wait_s: float = 0.25, size_bytes: int = 1 << 30) -> None:
        self._database = database
        self._wait_s = wait_s
        self._size_bytes = size_bytes
        self._held_bytes: int | None = None  # owned by the writing thread; None: not counted yet
        self._queue: dict[_Entry, _Value | None] = {}  # None: to be removed
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False
        self.dropped = 0  # changes

    def put(self, space: str, id: str, values: Floats, expires: float) -> None:
        blob = values.astype("<f2").tobytes()
        self._enqueue((space, id, len(values)), (blob, None if math.isinf(expires) else expires))

    def remove(self, space: str, id: str) -> None:
        for entry in [entry for entry in self._queue if entry[0] == space and entry[1] == id]:
            del self._queue[entry]
        self._enqueue((space, id, _EVERY_DIMENSION), None)

    async def load(self, space: str, now: float) -> list[tuple[str, Floats, float]]:
        """Id, vector, expires (unix seconds) of all that is kept in that space, oldest first. Raises StoreError."""
        await self.flush()

        def read(connection: sqlite3.Connection) -> list[tuple[str, bytes, float | None]]:
            return connection.execute(
                "SELECT id, vector, expires FROM vectors WHERE space = ? AND (expires IS NULL OR expires > ?) "
                "ORDER BY rowid",
                (space, now),
            ).fetchall()

        found = []
        for id, blob, expires in await self._database.read(read):
            values = np.frombuffer(blob[: len(blob) & ~1], "<f2").astype(np.float32)
            if len(blob) % 2 == 0 and 0.9 < float(values @ values) < 1.1:  # torn rows are passed over
                found.append((id, values, math.inf if expires is None else expires))
        return found

    async def spaces(self, prefix: str) -> list[str]:
        """Names of spaces that begin so. Raises StoreError."""
        await self.flush()
        bounds = (prefix, prefix + "\U0010ffff")
        rows = await self._database.read(
            lambda c: c.execute("SELECT DISTINCT space FROM vectors WHERE space >= ? AND space < ?", bounds).fetchall()
        )
        return [row[0] for row in rows]

    async def delete(self, prefix: str) -> None:
        """Raises StoreError."""
        for entry in [entry for entry in self._queue if entry[0].startswith(prefix)]:
            del self._queue[entry]

        def work(connection: sqlite3.Connection) -> None:
            self._held_bytes = None
            bounds = (prefix, prefix + "\U0010ffff")
            connection.execute("DELETE FROM vectors WHERE space >= ? AND space < ?", bounds)

        await self._database.write(work)

    async def flush(self) -> None:
        """Write what waits. Raises StoreError; what could not be written waits on."""
        if not self._queue:
            return
        batch, self._queue = self._queue, {}
        try:
            await self._database.write(lambda connection: self._write(connection, batch))
        except StoreError:
            self._queue = {**batch, **self._queue}
            raise

    async def aclose(self) -> None:
        self._closed = True
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        try:
            await self.flush()
        except StoreError as error:
            log.warning("vectors could not be kept", extra={"changes": len(self._queue), "detail": str(error)})

    def _enqueue(self, entry: _Entry, value: _Value | None) -> None:
        self._queue.pop(entry, None)
        if len(self._queue) >= _QUEUE:
            del self._queue[next(iter(self._queue))]
            self.dropped += 1
        self._queue[entry] = value
        if self._flushing is None and not self._closed:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        wait_s = self._wait_s
        try:
            while self._queue:
                await asyncio.sleep(wait_s)
                try:
                    await self.flush()
                    wait_s = self._wait_s
                except StoreError as error:
                    log.warning("vectors cannot be kept now", extra={"detail": str(error)})
                    wait_s = min(max(wait_s, 0.25) * 2, 30.0)
        finally:
            self._flushing = None

    # --- on the writing thread ------------------------------------------------------------------------------

    def _write(self, connection: sqlite3.Connection, batch: Mapping[_Entry, _Value | None]) -> None:
        if self._held_bytes is None:
            self._held_bytes = _held(connection)
        for (space, id, dimensions), value in batch.items():
            if value is None:
                connection.execute("DELETE FROM vectors WHERE space = ? AND id = ?", (space, id))
                continue
            blob, expires = value
            connection.execute(
                "DELETE FROM vectors WHERE space = ? AND id = ? AND dimensions = ?", (space, id, dimensions)
            )
            connection.execute(
                "INSERT INTO vectors (space, id, dimensions, vector, expires) VALUES (?, ?, ?, ?, ?)",
                (space, id, dimensions, blob, expires),
            )
            self._held_bytes += len(blob)
        if self._held_bytes > self._size_bytes:
            self._held_bytes = self._evict(connection)

    def _evict(self, connection: sqlite3.Connection) -> int:
        """Delete the oldest down to nine tenths of the bound; the bytes left. What was counted may be less by now."""
        held = _held(connection)
        while held > self._size_bytes * 9 // 10:
            rows = connection.execute(
                "SELECT rowid, length(vector) FROM vectors ORDER BY rowid LIMIT ?", (_EVICT_ROWS,)
            ).fetchall()
            if not rows:
                break
            connection.execute("DELETE FROM vectors WHERE rowid <= ?", (rows[-1][0],))
            held -= sum(row[1] for row in rows)
        return held


def _held(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(sum(length(vector)), 0) FROM vectors").fetchone()[0])
