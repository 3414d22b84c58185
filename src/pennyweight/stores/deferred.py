"""The table `lane_calls`: calls whose callers fetch the answer later, sealed as cache entries are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ..routing.batches import Deferred
from .database import Database
from .lanes import taken_over
from .owners import Owner
from .sealed import Codec

__all__ = ["SQLiteDeferred"]


class SQLiteDeferred:
    """Protocol: `routing.batches.DeferredShelf`."""

    def __init__(self, database: Database, codec: Codec, owner: Owner) -> None:
        self._database = database
        self._codec = codec
        self._owner = owner

    async def keep(self, call: Deferred) -> None:
        facts = msgspec.json.encode(msgspec.structs.replace(call, body=b"", answer=b""))
        body, answer = self._codec.seal(call.id, call.body), self._codec.seal(call.id, call.answer)
        # fmt: off
        row = (
            call.id, call.identity.tenant, call.at, call.until, call.state, call.status, call.webhook, call.told,
            call.done_at, self._owner.id, facts, body, answer,
        )
        # fmt: on
        sql = f"INSERT OR REPLACE INTO lane_calls VALUES ({', '.join('?' * len(row))})"
        await self._database.write(lambda connection: connection.execute(sql, row))

    async def load(self) -> Sequence[Deferred]:
        def work(connection: sqlite3.Connection) -> list[Deferred]:
            found: list[Deferred] = []
            for name in taken_over(connection, ("lane_calls",), self._owner):
                left = "owner = ? AND (state = 'waiting' OR (webhook <> '' AND told = 0))"
                rows = connection.execute(
                    f"SELECT facts, body, answer FROM lane_calls WHERE {left} ORDER BY at", (name,)
                )
                found += [call for row in rows if (call := self._opened(*row)) is not None]
                connection.execute("UPDATE lane_calls SET owner = ? WHERE owner = ?", (self._owner.id, name))
            return found

        return await self._database.write(work)

    async def get(self, id: str, tenant: str) -> Deferred | None:
        def work(connection: sqlite3.Connection) -> Deferred | None:
            sql = "SELECT facts, body, answer FROM lane_calls WHERE id = ? AND tenant = ?"
            row = connection.execute(sql, (id, tenant)).fetchone()
            return self._opened(*row) if row is not None else None

        return await self._database.read(work)

    async def of(self, tenant: str, *, limit: int) -> Sequence[Deferred]:
        sql = "SELECT facts FROM lane_calls WHERE tenant = ? ORDER BY at DESC LIMIT ?"
        return await self._database.read(
            lambda connection: [_deferred.decode(row[0]) for row in connection.execute(sql, (tenant, limit))]
        )

    async def drop(self, id: str, tenant: str) -> bool:
        sql = "DELETE FROM lane_calls WHERE id = ? AND tenant = ?"
        return await self._database.write(lambda connection: connection.execute(sql, (id, tenant)).rowcount > 0)

    async def forget(self, before: float) -> None:
        sql = "DELETE FROM lane_calls WHERE done_at < ?"
        await self._database.write(lambda connection: connection.execute(sql, (before,)))

    def _opened(self, facts: bytes, body: bytes, answer: bytes) -> Deferred | None:
        call = _deferred.decode(facts)
        asked, answered = self._codec.open(call.id, body), self._codec.open(call.id, answer)
        if asked is None or answered is None:
            return None
        return msgspec.structs.replace(call, body=asked, answer=answered)


_deferred = msgspec.json.Decoder(Deferred)
