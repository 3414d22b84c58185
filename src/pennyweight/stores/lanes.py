"""The tables of the batch lane: `lane_batches` and `lane_items`. Bodies and answers are sealed, as cache entries are.

Written as the records are told, one transaction each: what was kept survives the death of the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ..routing.batches import Batch, Item
from .database import Database
from .sealed import Codec

__all__ = ["SQLiteShelf"]


class SQLiteShelf:
    """Protocol: `routing.batches.Shelf`. What was sealed with a key that is not there any more cannot be read: `load`
    leaves it out."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def keep(
        self, *, batches: Sequence[Batch] = (), items: Sequence[Item] = (), gone: Sequence[str] = ()
    ) -> None:
        of_batches, of_items = [_row(batch) for batch in batches], [self._item_row(item) for item in items]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(f"INSERT OR REPLACE INTO lane_batches VALUES ({_marks(9)})", of_batches)
            connection.executemany(f"INSERT OR REPLACE INTO lane_items VALUES ({_marks(10)})", of_items)
            connection.executemany("DELETE FROM lane_items WHERE id = ?", [(name,) for name in gone])

        await self._database.write(work)

    async def load(self) -> tuple[Sequence[Batch], Sequence[Item]]:
        def work(connection: sqlite3.Connection) -> tuple[list[Batch], list[Item]]:
            batches = [_batch.decode(row[0]) for row in connection.execute("SELECT facts FROM lane_batches")]
            rows = connection.execute("SELECT facts, body, answer FROM lane_items ORDER BY at")
            items = [self._item(*row) for row in rows]
            return batches, [item for item in items if item is not None]

        return await self._database.read(work)

    async def forget(self, before: float) -> None:
        sql = "DELETE FROM lane_batches WHERE ended_at < ?"
        await self._database.write(lambda connection: connection.execute(sql, (before,)))

    def _item_row(self, item: Item) -> tuple[object, ...]:
        facts = msgspec.json.encode(msgspec.structs.replace(item, body=b"", answer=b""))
        body, answer = self._codec.seal(item.id, item.body), self._codec.seal(item.id, item.answer)
        tenant, done_at = item.call.identity.tenant, item.done_at
        return (item.id, item.batch, tenant, item.at, item.until, item.state, done_at, facts, body, answer)

    def _item(self, facts: bytes, body: bytes, answer: bytes) -> Item | None:
        item = _item.decode(facts)
        opened, answered = self._codec.open(item.id, body), self._codec.open(item.id, answer)
        if opened is None or answered is None:
            return None
        return msgspec.structs.replace(item, body=opened, answer=answered)


_batch = msgspec.json.Decoder(Batch)
_item = msgspec.json.Decoder(Item)


def _row(batch: Batch) -> tuple[object, ...]:
    facts = msgspec.json.encode(batch)
    group = batch.group
    # fmt: off
    return (
        batch.id, group.provider, group.model, batch.at, batch.state, batch.remote, batch.count, batch.ended_at, facts,
    )
    # fmt: on


def _marks(count: int) -> str:
    return ", ".join("?" * count)
