"""Entries as files: bounded, private, whole or not there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pennyweight.errors import StoreError
from pennyweight.stores.files import FilesKV
from pennyweight.testing.clock import FakeClock


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("??/*") if path.is_file()]


def test_files_are_private_and_survive(tmp_path: Path) -> None:
    async def main() -> None:
        kv = FilesKV(tmp_path / "cache", clock=FakeClock())
        await kv.put("a", b"value")
        await kv.close()
        (path,) = entries(tmp_path / "cache")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
        again = FilesKV(tmp_path / "cache", clock=FakeClock())
        assert await again.get("a") == b"value"
        await again.close()
        with pytest.raises(StoreError, match="closed"):
            await again.get("a")

    asyncio.run(main())


@pytest.mark.parametrize("bounds", [{"count": 50}, {"size_bytes": 50 * 1100}])
def test_the_longest_unused_go_first(tmp_path: Path, bounds: dict[str, int]) -> None:
    async def main() -> None:
        kv = FilesKV(tmp_path, clock=FakeClock(), **bounds)
        await kv.put("lapsed", b"x" * 1000, ttl_s=0)
        for n in range(40):
            await kv.put(f"k{n}", b"x" * 1000)
        for path in entries(tmp_path):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        assert await kv.get("k7") is not None  # used again
        for n in range(40, 80):
            await kv.put(f"k{n}", b"x" * 1000)
        kept = {n for n in range(80) if await kv.get(f"k{n}") is not None}
        assert 7 in kept
        assert 79 in kept
        assert len(kept) <= 53  # of some 1,024 bytes each
        assert len(entries(tmp_path)) == len(kept)
        await kv.put("huge", b"x" * 60_000_000 if "count" in bounds else b"x" * 60_000)
        assert (await kv.get("huge") is not None) == ("count" in bounds)
        await kv.close()

    asyncio.run(main())


def test_a_file_that_is_no_whole_entry_is_a_miss(tmp_path: Path) -> None:
    async def main() -> None:
        kv = FilesKV(tmp_path, clock=FakeClock())
        await kv.put("a", b"value" * 100)
        await kv.put("b", b"other" * 100)
        one, two = entries(tmp_path)
        whole = one.read_bytes()
        for data in (b"", whole[:-1], whole[:20], whole + b"x", b"no entry at all", two.read_bytes()):
            one.write_bytes(data)
            found = {await kv.get("a"), await kv.get("b")}
            assert None in found
            assert found <= {None, b"value" * 100, b"other" * 100}
        await kv.put("a", b"again")
        await kv.put("b", b"again")
        assert await kv.get("a") == await kv.get("b") == b"again"
        await kv.close()

    asyncio.run(main())


def test_what_a_dead_process_left_is_cleared_away(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "ab"
        folder.mkdir()
        old, young = folder / ".new-old", folder / ".new-young"
        for path in (old, young):
            path.write_bytes(b"half an entry")
        os.utime(old, (1_000_000_000, 1_000_000_000))
        kv = FilesKV(tmp_path, clock=FakeClock())
        await kv.put("a", b"value")  # counts what is there
        assert not old.exists()
        assert young.exists()
        assert list(await kv.keys("", limit=10)) == ["a"]
        await kv.close()

    asyncio.run(main())


def test_a_folder_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_text("in the way")
        kv = FilesKV(tmp_path / "file" / "cache", clock=FakeClock())
        with pytest.raises(StoreError, match="cache"):
            await kv.put("a", b"value")
        await kv.close()

    asyncio.run(main())


def test_two_processes_worth_of_stores_count_together(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = FilesKV(tmp_path, clock=FakeClock()), FilesKV(tmp_path, clock=FakeClock())
        totals = await asyncio.gather(*(kv.add("n", 1) for kv in (one, two) for _ in range(30)))
        assert sorted(totals) == list(range(1, 61))
        await one.close()
        await two.close()

    asyncio.run(main())
