"""The tables of the batch lane: `lane_batches` and `lane_items`. Bodies and answers are sealed, as cache entries are.

Written as the records are told, one transaction each: what was kept survives the death of the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ..routing.batches import Batch, Item
from .database import Database
from .owners import Owner
from .sealed import Codec

__all__ = ["SQLiteShelf", "taken_over"]


class SQLiteShelf:
    """Protocol: `routing.batches.Shelf`. What was sealed with a key that is not there any more cannot be read: `load`
    leaves it out. Each App has what its `owner` began, and takes over what nobody has any more."""

    def __init__(self, database: Database, codec: Codec, owner: Owner) -> None:
        self._database = database
        self._codec = codec
        self._owner = owner

    async def keep(
        self, *, batches: Sequence[Batch] = (), items: Sequence[Item] = (), gone: Sequence[str] = ()
    ) -> None:
        of_batches, of_items = (
            [_row(batch, self._owner.id) for batch in batches],
            [self._item_row(item) for item in items],
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(f"INSERT OR REPLACE INTO lane_batches VALUES ({_marks(10)})", of_batches)
            connection.executemany(f"INSERT OR REPLACE INTO lane_items VALUES ({_marks(11)})", of_items)
            connection.executemany("DELETE FROM lane_items WHERE id = ?", [(name,) for name in gone])

        await self._database.write(work)

    async def load(self) -> tuple[Sequence[Batch], Sequence[Item]]:
        def work(connection: sqlite3.Connection) -> tuple[list[Batch], list[Item]]:
            for name in taken_over(connection, ("lane_batches", "lane_items"), self._owner):
                connection.execute("UPDATE lane_batches SET owner = ? WHERE owner = ?", (_TAKEN, name))
                connection.execute("UPDATE lane_items SET owner = ? WHERE owner = ?", (_TAKEN, name))
            facts = connection.execute("SELECT facts FROM lane_batches WHERE owner = ?", (_TAKEN,))
            batches = [_batch.decode(row[0]) for row in facts]
            rows = connection.execute(
                "SELECT facts, body, answer FROM lane_items WHERE owner = ? ORDER BY at", (_TAKEN,)
            )
            items = [self._item(*row) for row in rows]
            for table in ("lane_batches", "lane_items"):
                connection.execute(f"UPDATE {table} SET owner = ? WHERE owner = ?", (self._owner.id, _TAKEN))
            return batches, [item for item in items if item is not None]

        return await self._database.write(work)

    async def forget(self, before: float) -> None:
        sql = "DELETE FROM lane_batches WHERE ended_at < ?"
        await self._database.write(lambda connection: connection.execute(sql, (before,)))

    def _item_row(self, item: Item) -> tuple[object, ...]:
        facts = msgspec.json.encode(msgspec.structs.replace(item, body=b"", answer=b""))
        body, answer = self._codec.seal(item.id, item.body), self._codec.seal(item.id, item.answer)
        tenant, done_at = item.call.identity.tenant, item.done_at
        return (
            item.id,
            item.batch,
            tenant,
            item.at,
            item.until,
            item.state,
            done_at,
            self._owner.id,
            facts,
            body,
            answer,
        )

    def _item(self, facts: bytes, body: bytes, answer: bytes) -> Item | None:
        item = _item.decode(facts)
        opened, answered = self._codec.open(item.id, body), self._codec.open(item.id, answer)
        if opened is None or answered is None:
            return None
        return msgspec.structs.replace(item, body=opened, answer=answered)


_batch = msgspec.json.Decoder(Batch)
_item = msgspec.json.Decoder(Item)


def _row(batch: Batch, owner: str) -> tuple[object, ...]:
    facts = msgspec.json.encode(batch)
    group = batch.group
    # fmt: off
    return (
        batch.id, group.provider, group.model, batch.at, batch.state, batch.remote, batch.count, batch.ended_at, owner,
        facts,
    )
    # fmt: on


def taken_over(connection: sqlite3.Connection, tables: Sequence[str], owner: Owner) -> list[str]:
    """The owners of rows who live no more. In one transaction with what follows from it, or two take the same."""
    names = {row[0] for table in tables for row in connection.execute(f"SELECT DISTINCT owner FROM {table}")}
    return [name for name in names if name != owner.id and not owner.lives(name)]


_TAKEN = ""


def _marks(count: int) -> str:
    return ", ".join("?" * count)
