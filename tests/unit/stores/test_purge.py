"""Finding and dropping entries by tenant, model, age and key, in one store and in several."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pennyweight.kept import entry_key, wrapped
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.purge import PurgeWatch, Wanted, entries, purge
from pennyweight.stores.sqlite import FILE, Database, SQLiteKV
from pennyweight.stores.tiered import Level, Tiered
from pennyweight.testing.clock import FakeClock

NOW = 1_790_000_000.0


def key(cache: str, tenant: str, model: str, number: int) -> str:
    return entry_key(cache, tenant, f"{number:064x}", model)


ENTRIES = {
    key("exact", "a", "gpt-5.5", 0x11111111 << 224): 10.0,
    key("exact", "a", "gpt-5.5-mini", 2): 5_000.0,
    key("exact", "a/b", "gpt-5.5", 3): 10.0,
    key("exact", "b", "vendor/gpt-5.5", 4): 10.0,
    key("semantic", "a", "gpt-5.5", 5): 10.0,
}


async def filled(kv: MemoryKV | Tiered) -> None:
    for name, age_s in ENTRIES.items():
        await kv.put(name, wrapped(name, NOW - age_s, b"an answer"))
    await kv.put("budget/2026-11-21/a", b"5")
    await kv.put("exact/a/odd", b"no entry")


def with_store(work: Callable[[Tiered, MemoryKV], Awaitable[None]], folder: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        database = Database(folder / FILE)
        memory = MemoryKV(clock=clock)
        kv = Tiered(
            [Level("memory", memory, clock=clock), Level("sqlite", SQLiteKV(database, clock=clock), clock=clock)]
        )
        await filled(kv)
        await work(kv, memory)
        await kv.close()
        await database.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        (Wanted(tenant="a"), {0, 1, 4}),
        (Wanted(tenant="a/b"), {2}),
        (Wanted(tenant="nobody"), set()),
        (Wanted(model="gpt-5.5"), {0, 2, 4}),
        (Wanted(model="gpt-5.5*"), {0, 1, 2, 4}),
        (Wanted(model="*gpt-5.5"), {0, 2, 3, 4}),
        (Wanted(older_than_s=60), {1}),
        (Wanted(older_than_s=60, tenant="b"), set()),
        (Wanted(key=next(iter(ENTRIES))), {0}),
        (Wanted(key="11111111"), {0}),
        (Wanted(key="1111111"), set()),
        (Wanted(cache="semantic"), {4}),
        (Wanted(cache="exact", tenant="a", model="gpt-5.5-mini", older_than_s=60), {1}),
    ],
)
def test_exactly_what_is_wanted_goes_from_every_store(wanted: Wanted, gone: set[int], tmp_path: Path) -> None:
    names = list(ENTRIES)

    async def work(kv: Tiered, memory: MemoryKV) -> None:
        assert {found.key async for found in entries(kv, wanted, now=NOW)} == {names[n] for n in gone}
        assert await purge(kv, wanted, now=NOW) == len(gone)
        left = {name for name in names if await kv.get(name) is not None}
        assert left == {name for n, name in enumerate(names) if n not in gone}
        assert await kv.get("budget/2026-11-21/a") == b"5"

    with_store(work, tmp_path)


def test_everything_goes_but_what_is_no_entry_of_a_cache(tmp_path: Path) -> None:
    async def work(kv: Tiered, memory: MemoryKV) -> None:
        assert await purge(kv, Wanted(), now=NOW) == len(ENTRIES) + 1
        assert [name for name in ENTRIES if await kv.get(name) is not None] == []
        assert await kv.get("budget/2026-11-21/a") == b"5"

    with_store(work, tmp_path)


def test_an_entry_tells_its_age_and_a_damaged_one_none(tmp_path: Path) -> None:
    names = list(ENTRIES)

    async def work(kv: Tiered, memory: MemoryKV) -> None:
        await kv.put(names[0], b"\x02 cut")
        found = {one.key: one async for one in entries(kv, Wanted(tenant="a"), now=NOW)}
        assert found[names[0]].age_s is None
        assert found[names[1]].age_s == pytest.approx(5_000)
        assert found[names[1]].named.model == "gpt-5.5-mini"
        assert await purge(kv, Wanted(older_than_s=60), now=NOW) == 2, "what is damaged counts as old"

    with_store(work, tmp_path)


def test_as_many_as_wanted_are_shown(tmp_path: Path) -> None:
    async def work(kv: Tiered, memory: MemoryKV) -> None:
        assert len([one async for one in entries(kv, Wanted(), now=NOW, limit=2)]) == 2

    with_store(work, tmp_path)


def test_another_process_hears_of_a_purge(tmp_path: Path) -> None:
    """Its memory has copies of what was purged; they go, and what was left is found again below."""
    names = list(ENTRIES)

    async def work(kv: Tiered, memory: MemoryKV) -> None:
        other = MemoryKV(clock=FakeClock())
        await filled(other)
        watch = PurgeWatch(kv, other)
        assert not await watch.look(first=True)
        assert not await watch.look()
        assert await other.get(names[0]) is not None
        await purge(kv, Wanted(tenant="a"), now=NOW)
        assert await watch.look()
        assert [name for name in names if await other.get(name) is not None] == []
        assert await other.get("budget/2026-11-21/a") == b"5"
        assert not await watch.look()

    with_store(work, tmp_path)
