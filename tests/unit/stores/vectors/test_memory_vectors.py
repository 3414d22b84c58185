from __future__ import annotations

import asyncio
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pennyweight.errors import StoreError
from pennyweight.stores.assembly import Servers
from pennyweight.stores.database import FILE, Database
from pennyweight.stores.settings import CacheSettings
from pennyweight.stores.vectors.kept import Kept
from pennyweight.stores.vectors.lazy import LazyVectors, Settings, open_vectors
from pennyweight.stores.vectors.memory import MemoryVectors
from pennyweight.stores.vectors.reembed import reembed
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.vector_contract import packed, unit


def ids(found) -> list[str]:
    return [id for id, _ in found]


# --- sketches ----------------------------------------------------------------------------------------------


def near(seed: int, dimensions: int, noise: float) -> bytes:
    """The direction of that seed, with so much noise of unit length added."""
    own = struct.unpack(f"<{dimensions}f", unit(seed, dimensions))
    other = struct.unpack(f"<{dimensions}f", unit(seed + 1_000_000, dimensions))
    return packed([a + noise * b for a, b in zip(own, other, strict=True)])


def test_a_large_space_is_sketched_by_itself_and_finds_the_same() -> None:
    """Of directions that have nothing in common, the hardest case for a search that is not exact."""

    async def run() -> None:
        store, exact = MemoryVectors(clock=FakeClock(), flat=500), MemoryVectors(clock=FakeClock(), flat=10_000)
        for n in range(4_000):
            vector = unit(n, 384)
            await store.add("s", f"v{n}", vector)
            await exact.add("s", f"v{n}", vector)
        assert store._spaces["s"].by_dimensions[384].sketched
        assert not exact._spaces["s"].by_dimensions[384].sketched
        for n in range(0, 4_000, 40):
            query = near(n, 384, 0.6)  # a cosine of 0.86
            found = await store.nearest("s", query, limit=5)
            wanted = await exact.nearest("s", query, limit=5)
            assert found[0][0] == wanted[0][0] == f"v{n}"
            assert found[0][1] == pytest.approx(wanted[0][1], abs=1e-4)

    asyncio.run(run())


def test_in_a_sketched_space_what_comes_and_goes_is_right_at_once() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock(), flat=100)
        for n in range(1_000):
            await store.add("s", f"v{n}", unit(n, 200), ttl_s=10 if n % 7 == 0 else None)
        for n in range(0, 500, 3):
            await store.remove("s", f"v{n}")
        await store.add("s", "v1", unit(10_001, 200))
        store._clock.advance(11)  # type: ignore[attr-defined]
        gone = {n for n in range(1_000) if (n < 500 and n % 3 == 0) or n % 7 == 0}
        for n in range(2, 1_000):
            found = ids(await store.nearest("s", unit(n, 200), limit=3))
            assert (f"v{n}" in found) is (n not in gone), n
        assert ids(await store.nearest("s", unit(10_001, 200), limit=1)) == ["v1"]
        assert len(store) == 1_000 - len(gone)

    asyncio.run(run())


def test_many_vectors_that_are_all_alike_hide_no_other() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock(), flat=100)
        for n in range(12_000):
            await store.add("s", f"same{n}", unit(1, 200))
        await store.add("s", "other", unit(2, 200))
        assert ids(await store.nearest("s", unit(2, 200), limit=1)) == ["other"]
        assert len(await store.nearest("s", unit(1, 200), limit=20)) == 20

    asyncio.run(run())


def test_short_vectors_are_always_compared_whole() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock(), flat=100)
        for n in range(3_000):
            await store.add("s", f"v{n}", unit(n, 32))
        assert not store._spaces["s"].by_dimensions[32].sketched
        for n in range(0, 3_000, 100):
            assert ids(await store.nearest("s", unit(n, 32), limit=1)) == [f"v{n}"]

    asyncio.run(run())


# --- the bound ---------------------------------------------------------------------------------------------


def test_memory_stays_bounded_and_the_least_recently_used_go_first() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock(), size_bytes=4 << 20)
        for n in range(12_000):
            await store.add(f"tenant{n % 3}", f"v{n}", unit(n, 128))
            if n % 50 == 0:  # these are asked for again and again
                for wanted in range(3):
                    await store.nearest(f"tenant{wanted}", unit(wanted, 128), limit=1)
            assert store.size_bytes < 1.2 * (4 << 20)
        assert 3_000 < len(store) < 6_000
        for wanted in range(3):
            assert ids(await store.nearest(f"tenant{wanted}", unit(wanted, 128), limit=1)) == [f"v{wanted}"]
        assert ids(await store.nearest("tenant1", unit(4, 128), limit=1)) != ["v4"]
        assert ids(await store.nearest("tenant2", unit(11_999, 128), limit=1)) == ["v11999"]

    asyncio.run(run())


def test_many_small_spaces_are_bounded_too() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock(), size_bytes=2 << 20)
        for n in range(3_000):
            await store.add(f"space{n}", "v", unit(n, 64))
        assert store.size_bytes < 1.3 * (2 << 20)
        assert len(store._spaces) < 1_000
        assert ids(await store.nearest("space2999", unit(2_999, 64), limit=1)) == ["v"]

    asyncio.run(run())


# --- kept over a restart -----------------------------------------------------------------------------------


async def _open(folder: Path, clock: FakeClock, **settings: int) -> tuple[MemoryVectors, Database]:
    database = Database(folder / FILE)
    return MemoryVectors(clock=clock, kept=Kept(database, **settings)), database


def test_entries_survive_a_restart_but_for_those_that_lapsed_or_were_removed(tmp_path: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        store, database = await _open(tmp_path, clock)
        for n in range(50):
            await store.add("acme/e1", f"v{n}", unit(n), ttl_s=100 if n < 10 else None)
        await store.add("acme/e1", "v20", unit(2_020))
        await store.add("bolt/e1", "v1", unit(1))
        await store.remove("acme/e1", "v30")
        await store.aclose()
        await database.close()

        clock.advance(101)
        store, database = await _open(tmp_path, clock)
        assert len(store) == 0  # nothing is read before it is asked for
        assert ids(await store.nearest("acme/e1", unit(2_020), limit=1)) == ["v20"]
        assert len(store) == 39
        found = await store.nearest("acme/e1", unit(45), limit=1)
        assert found[0][0] == "v45"
        assert found[0][1] == pytest.approx(1, abs=1e-4)
        assert await store.spaces("") == ["acme/e1", "bolt/e1"]
        assert await store.delete("acme/") == 39
        await store.aclose()
        await database.close()

        store, database = await _open(tmp_path, clock)
        assert list(await store.nearest("acme/e1", unit(45), limit=1)) == []
        assert ids(await store.nearest("bolt/e1", unit(1), limit=1)) == ["v1"]
        await store.aclose()
        await database.close()

    asyncio.run(run())


def test_what_is_kept_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    async def run() -> None:
        store, database = await _open(tmp_path, FakeClock(), size_bytes=100 * 400)
        for n in range(300):
            await store.add("s", f"v{n}", unit(n))
            if n % 50 == 0:
                await store.settled()
        await store.settled()
        with closing(sqlite3.connect(database.path)) as connection:
            kept = [row[0] for row in connection.execute("SELECT id FROM vectors")]
        assert len(kept) <= 100
        assert "v299" in kept
        assert "v0" not in kept
        await store.aclose()
        await database.close()

    asyncio.run(run())


def test_a_database_that_is_down_delays_nobody_and_loses_nothing_that_memory_has(tmp_path: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        store, database = await _open(tmp_path, clock)
        await store.add("s", "before", unit(1))
        await store.settled()
        await store.aclose()
        await database.close()

        file, hidden = tmp_path / FILE, tmp_path / "hidden"
        file.rename(hidden)
        file.mkdir()  # so no database can be opened there
        store, database = await _open(tmp_path, clock)
        await store.add("s", "during", unit(2))
        assert ids(await store.nearest("s", unit(2), limit=5)) == ["during"]
        with pytest.raises(StoreError):
            await store.settled()

        file.rmdir()
        hidden.rename(file)
        clock.advance(31)
        assert sorted(ids(await store.nearest("s", unit(1), limit=5))) == ["before", "during"]
        await store.aclose()
        await database.close()
        store, database = await _open(tmp_path, clock)
        assert sorted(ids(await store.nearest("s", unit(1), limit=5))) == ["before", "during"]
        await store.aclose()
        await database.close()

    asyncio.run(run())


def test_a_torn_row_is_passed_over(tmp_path: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        store, database = await _open(tmp_path, clock)
        await store.add("s", "good", unit(1))
        await store.add("s", "torn", unit(2))
        await store.add("s", "odd", unit(3))
        await store.aclose()
        await database.close()
        with closing(sqlite3.connect(database.path)) as connection, connection:
            connection.execute("UPDATE vectors SET vector = substr(vector, 1, 399) WHERE id = 'torn'")
            connection.execute("UPDATE vectors SET vector = zeroblob(400) WHERE id = 'odd'")
        store, database = await _open(tmp_path, clock)
        assert ids(await store.nearest("s", unit(1), limit=5)) == ["good"]
        await store.aclose()
        await database.close()

    asyncio.run(run())


# --- made when it is used ----------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys, pennyweight.app\n"
        "assert not {'numpy', 'usearch', 'redis', 'psycopg'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_lazy_store_is_made_once_and_closed_only_if_it_was() -> None:
    async def run() -> None:
        made = []

        def make() -> MemoryVectors:
            made.append(MemoryVectors(clock=FakeClock()))
            return made[-1]

        unused = LazyVectors(make)
        await unused.aclose()
        assert made == []
        used = LazyVectors(make)
        await used.add("s", "a", unit(1))
        assert ids(await used.nearest("s", unit(1), limit=1)) == ["a"]
        assert await used.spaces("") == ["s"]
        assert await used.ids("s", limit=5) == ["a"]
        assert len(made) == 1
        await used.aclose()

    asyncio.run(run())


def test_without_keep_nothing_is_written(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / FILE)
        servers = Servers(CacheSettings())
        store = open_vectors(Settings(keep=False), clock=FakeClock(), database=database, servers=servers)
        await store.add("s", "a", unit(1))
        await store.aclose()
        rows = await database.read(lambda c: c.execute("SELECT count(*) FROM vectors").fetchone())
        assert rows == (0,)
        await database.close()

    asyncio.run(run())


# --- another embedder --------------------------------------------------------------------------------------


class Seeds:
    """An embedder whose texts are numbers."""

    fingerprint = "seeds/48"
    dimensions = 48

    async def embed(self, text: str) -> bytes:
        if text == "13":
            raise StoreError("no vector for 13")
        return unit(int(text), 48)


def test_a_space_is_embedded_anew_and_goes_on_after_a_failure() -> None:
    async def run() -> None:
        store = MemoryVectors(clock=FakeClock())
        for n in range(100):
            await store.add("acme/old", f"v{n}", unit(n, 32))
        texts: dict[str, tuple[str, float | None]] = {f"v{n}": (str(n), None) for n in range(90)}

        async def text_of(id: str) -> tuple[str, float | None] | None:
            return texts.get(id)

        with pytest.raises(StoreError):
            await reembed(store, Seeds(), text_of, old="acme/old", new="acme/new", pause_s=0)
        texts["v13"] = ("1300", None)
        await reembed(store, Seeds(), text_of, old="acme/old", new="acme/new", pause_s=0)
        assert await store.spaces("acme/") == ["acme/new"]
        assert sorted(await store.ids("acme/new", limit=1000)) == sorted(texts)
        assert ids(await store.nearest("acme/new", unit(1300, 48), limit=1)) == ["v13"]
        with pytest.raises(ValueError, match="into itself"):
            await reembed(store, Seeds(), text_of, old="s", new="s")

    asyncio.run(run())
