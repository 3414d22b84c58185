"""The contract suites of `pennyweight.testing` against every store we ship."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from pennyweight.call import Receipt
from pennyweight.clock import SystemClock
from pennyweight.ledger.reading import receipts
from pennyweight.protocols import KV, Leases, Ledger, Tier
from pennyweight.stores.files import FilesKV
from pennyweight.stores.leases import MemoryLeases
from pennyweight.stores.memory import MemoryKV, MemoryLedger
from pennyweight.stores.sealed import Codec, Sealed
from pennyweight.stores.sqlite import FILE, Database, SQLiteKV, SQLiteLedger
from pennyweight.stores.tiered import Level, Tiered
from pennyweight.testing.contracts import (
    KV_CHECKS,
    LEASES_CHECKS,
    LEDGER_CHECKS,
    TIER_CHECKS,
    ReadAll,
    TestingClock,
    sample_receipt,
)


@asynccontextmanager
async def memory_kv(clock: TestingClock) -> AsyncIterator[Tier]:
    yield MemoryKV(clock=clock)


@asynccontextmanager
async def sqlite_kv(clock: TestingClock) -> AsyncIterator[Tier]:
    async with sqlite_database() as database:
        yield SQLiteKV(database, clock=clock)


@asynccontextmanager
async def files_kv(clock: TestingClock) -> AsyncIterator[Tier]:
    with tempfile.TemporaryDirectory() as folder:
        kv = FilesKV(Path(folder) / "cache", clock=clock)
        try:
            yield kv
        finally:
            await kv.close()


@asynccontextmanager
async def sealed_kv(clock: TestingClock) -> AsyncIterator[Tier]:
    yield Sealed(MemoryKV(clock=clock), Codec())


@asynccontextmanager
async def encrypted_kv(clock: TestingClock) -> AsyncIterator[Tier]:
    yield Sealed(MemoryKV(clock=clock), Codec([bytes(32), b"k" * 32]))


@asynccontextmanager
async def tiered_kv(clock: TestingClock) -> AsyncIterator[KV]:
    async with sqlite_database() as database:
        memory, sqlite = MemoryKV(clock=clock), SQLiteKV(database, clock=clock)
        yield Tiered([Level("memory", memory, clock=clock), Level("sqlite", sqlite, clock=clock)])


@asynccontextmanager
async def sqlite_database() -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / FILE)
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def memory_ledger() -> AsyncIterator[tuple[Ledger, ReadAll]]:
    ledger = MemoryLedger()

    async def read_all() -> list[Receipt]:
        return ledger.receipts

    yield ledger, read_all


@asynccontextmanager
async def sqlite_ledger() -> AsyncIterator[tuple[Ledger, ReadAll]]:
    async with sqlite_database() as database:

        async def read_all() -> list[Receipt]:
            await database.read(lambda connection: None)  # makes the file
            return list(receipts(database.path))

        yield SQLiteLedger(database), read_all


TIERS = [memory_kv, sqlite_kv, files_kv, sealed_kv, encrypted_kv]


@pytest.mark.parametrize("check", KV_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("open_kv", [*TIERS, tiered_kv])
def test_kv(check, open_kv) -> None:
    asyncio.run(check(open_kv))


@pytest.mark.parametrize("check", TIER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("open_tier", TIERS)
def test_tier(check, open_tier) -> None:
    asyncio.run(check(open_tier))


@asynccontextmanager
async def memory_leases(clock: TestingClock) -> AsyncIterator[tuple[Leases, Leases]]:
    clock.keep_real_time()
    leases = MemoryLeases(SystemClock())
    yield leases, leases


@pytest.mark.parametrize("check", LEASES_CHECKS, ids=lambda check: check.__name__)
def test_leases(check) -> None:
    asyncio.run(check(memory_leases))


@pytest.mark.parametrize("check", LEDGER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("open_ledger", [memory_ledger, sqlite_ledger])
def test_ledger(check, open_ledger) -> None:
    asyncio.run(check(open_ledger))


def test_a_batch_with_one_bad_receipt_leaves_nothing() -> None:
    """What SQLite cannot store (an integer over 64 bits) refuses the whole batch: it is one transaction."""

    async def run() -> int:
        async with sqlite_database() as database:
            ledger = SQLiteLedger(database)
            with pytest.raises(ValueError, match="cannot store"):
                await ledger.append([sample_receipt("good"), sample_receipt("bad", cost=2**63)])
            await ledger.append([sample_receipt("later")])
            with closing(sqlite3.connect(database.path)) as connection:
                return connection.execute("SELECT count(*) FROM receipts").fetchone()[0]

    assert asyncio.run(run()) == 1
