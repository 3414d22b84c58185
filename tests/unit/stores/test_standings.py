"""What the semantic cache has learnt is kept, the newest first, within its bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from pennyweight.standing import NoStandings, Pair, Standing
from pennyweight.stores.database import Database
from pennyweight.stores.standings import SQLiteStandings

ONE = Standing("p0", "a", "r", "learning", asked=3, updated_at=1.0)
PAIR = Pair(1.0, "a", "p0", "r", "c", "asked", "stored", "served", "fresh", True, 0.9)


def test_standings_and_what_was_learnt_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        store = SQLiteStandings(Database(tmp_path / "s.db"))
        assert await store.load("p0") is None
        await store.save(ONE, b"learnt")
        await store.save(msgspec.structs.replace(ONE, asked=4, state="open"))
        assert await store.load("p0") == b"learnt", "counts alone leave it as it is"
        assert await store.all(tenant="a") == [msgspec.structs.replace(ONE, asked=4, state="open")]
        assert await store.all(tenant="b") == []

    asyncio.run(main())


def test_the_oldest_partitions_give_way_by_number_and_by_size(tmp_path: Path) -> None:
    async def main() -> None:
        store = SQLiteStandings(Database(tmp_path / "s.db"), partitions=5, size_bytes=100)
        for number in range(8):
            await store.save(msgspec.structs.replace(ONE, partition=f"p{number}", updated_at=float(number)), b"x")
        assert {standing.partition for standing in await store.all()} == {"p3", "p4", "p5", "p6", "p7"}
        await store.save(msgspec.structs.replace(ONE, partition="big", updated_at=9.0), b"x" * 99)
        assert {standing.partition for standing in await store.all()} == {"big", "p7"}

    asyncio.run(main())


def test_pairs_are_few_per_tenant_and_their_texts_are_cut(tmp_path: Path) -> None:
    async def main() -> None:
        store = SQLiteStandings(Database(tmp_path / "s.db"), pairs=2)
        for number in range(4):
            await store.add(msgspec.structs.replace(PAIR, call_id=f"c{number}", fresh="long " * 2000 + "\ud800"))
        await store.add(msgspec.structs.replace(PAIR, tenant="b"))
        mine = await store.pairs(tenant="a")
        assert [pair.call_id for pair in mine] == ["c3", "c2"]
        assert all(len(pair.fresh) == 4000 for pair in mine)
        assert len(await store.pairs()) == 3
        assert await store.forget(tenant="b") == 0
        assert len(await store.pairs()) == 2

    asyncio.run(main())


def test_nothing_can_be_kept_too() -> None:
    async def main() -> None:
        nothing = NoStandings()
        await nothing.save(ONE, b"x")
        await nothing.add(PAIR)
        assert (await nothing.load("p0"), await nothing.all(), await nothing.pairs(), await nothing.forget()) == (
            None,
            (),
            (),
            0,
        )

    asyncio.run(main())
