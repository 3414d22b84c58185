"""The SQLite file: who may read it, what happens to it when something else goes wrong, and how fast it is."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from pennyweight.call import Call, Identity, Outcome, Receipt, Target
from pennyweight.clerk import Clerk, Settings
from pennyweight.errors import StoreError
from pennyweight.ledger.reading import receipts
from pennyweight.request import Done, Request, Wire
from pennyweight.stores.sqlite import FILE, Database, SQLiteKV, SQLiteLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt


def with_database(path: Path, work: Callable[[Database], Awaitable[None]], *, busy_s: float = 0.02) -> None:
    async def run() -> None:
        database = Database(path, busy_s=busy_s)
        try:
            await work(database)
        finally:
            await database.close()

    asyncio.run(run())


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM receipts").fetchone()[0]


def outcome(call_id: str) -> Outcome:
    request = Request(Wire.OPENAI_CHAT, b'{"model":"m"}')
    call = Call(call_id, Identity(), request, request, Target("p", "m", Wire.OPENAI_CHAT), 0.0)
    return Outcome(call, Done(), 200, "p")


def test_only_the_owner_may_read_the_file_its_logs_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data" / FILE
    old = os.umask(0)
    try:

        async def work(database: Database) -> None:
            await SQLiteLedger(database).append([sample_receipt()])
            modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
            assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
            assert path.parent.stat().st_mode & 0o777 == 0o700

        with_database(path, work)
    finally:
        os.umask(old)


def test_a_newer_schema_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def write(database: Database) -> None:
        await SQLiteLedger(database).append([sample_receipt()])

    with_database(path, write)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 999")

    async def refused(database: Database) -> None:
        with pytest.raises(StoreError, match=r"newer Pennyweight \(schema 999.*upgrade"):
            await SQLiteLedger(database).append([sample_receipt("b")])

    with_database(path, refused)
    assert count(path) == 1
    with pytest.raises(StoreError, match="newer Pennyweight"):
        list(receipts(path))


def test_what_is_no_database_is_set_aside_and_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"not a database " * 100)

    async def work(database: Database) -> None:
        with pytest.raises(StoreError, match=FILE):
            await SQLiteLedger(database).append([sample_receipt()])

    with_database(path, work)
    (aside,) = tmp_path.glob(f"{FILE}.damaged-*Z")
    assert aside.read_bytes() == b"not a database " * 100


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def work(database: Database) -> None:
        with pytest.raises(StoreError, match="file"):
            await SQLiteLedger(database).append([sample_receipt()])

    with_database(tmp_path / "file" / "data" / FILE, work)


def test_a_locked_ledger_delays_receipts_and_heals(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt("before")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError, match="locked"):
                await ledger.append([sample_receipt("direct")])
            settings = Settings(batch_s=0.001, retry_s=0.005, retry_max_s=0.01)
            async with Clerk(
                ledger, lambda o: sample_receipt(o.call.id), settle=None, clock=FakeClock(), settings=settings
            ) as clerk:
                for n in range(50):
                    clerk.submit(outcome(str(n)))
                assert not await clerk.flush(0.1)
                assert clerk.counters.queued == clerk.counters.delayed == 50
                assert "locked" in clerk.counters.last_error
                other.execute("ROLLBACK")
                assert await clerk.flush()
                assert clerk.counters.last_error == ""

    with_database(path, work)
    assert count(path) == 51


def test_writing_goes_on_in_a_new_file_when_the_old_one_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt("old")])
        for entry in list(tmp_path.iterdir()):  # noqa: ASYNC240
            entry.rename(tmp_path / f"moved-{entry.name}")
        await ledger.append([sample_receipt("new")])

    with_database(path, work)
    assert [r.call_id for r in receipts(path)] == ["new"]


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from pennyweight.errors import StoreError
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

async def main(path):
    database = Database(path)
    ledger = SQLiteLedger(database)
    await ledger.append([sample_receipt("before")])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(entry.stat().st_size for entry in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, hard))
    batch = [sample_receipt(str(n), finish_reason="x" * 500) for n in range(500)]
    try:
        await ledger.append(batch)
    except StoreError as error:
        print("full:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await ledger.append(batch)
    await database.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_refuses_a_batch_whole_and_heals_when_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: SQLite sees its writes fail half-way."""
    path = tmp_path / FILE
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("full:")
    assert count(path) == 501


def test_a_closed_database_says_so_and_leaves_one_file(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt()])
        await database.close()
        await database.close()
        with pytest.raises(StoreError, match="is closed"):
            await ledger.append([sample_receipt()])

    with_database(tmp_path / FILE, work)
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_two_databases_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def work(database: Database) -> None:
        other = Database(path, busy_s=5)
        mine, theirs = (SQLiteKV(d, clock=FakeClock()) for d in (database, other))
        try:
            await asyncio.gather(*(kv.add("n", 1) for kv in (mine, theirs) for _ in range(20)))
            assert await mine.add("n", 0) == 40
        finally:
            await other.close()

    with_database(path, work, busy_s=5)


def test_receipts_before_a_moment_can_be_forgotten(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt(str(n), at=float(n)) for n in range(2500)])
        assert await ledger.forget(2400.0) == 2400
        assert await ledger.forget(2400.0) == 0

    with_database(path, work)
    assert [r.at for r in receipts(path)] == [float(n) for n in range(2400, 2500)]


def test_five_hundred_receipts_are_one_transaction(tmp_path: Path) -> None:
    """Of ten thousand, one by one would take minutes where a disk is slow."""
    path = tmp_path / FILE
    batch = [sample_receipt(str(n)) for n in range(10_000)]

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append(batch[:1])
        said: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(said.append))
        for start in range(0, len(batch), 500):
            await ledger.append(batch[start : start + 500])
        assert 20 <= sum("COMMIT" in statement for statement in said) <= 40

    with_database(path, work)
    assert count(path) == 10_000


def test_a_receipt_that_cannot_be_stored_takes_its_batch_with_it_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / FILE
    nobodys = msgspec.structs.replace(sample_receipt("2"), tenant=None)  # type: ignore[arg-type]
    batches = [
        [sample_receipt("1"), nobodys, *(sample_receipt(str(n)) for n in range(3, around))] for around in (4, 90)
    ]

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt("0")])
        for batch in batches:
            with pytest.raises(ValueError, match="cannot store this: IntegrityError"):
                await ledger.append(batch)
        await ledger.append([sample_receipt("100")])

    with_database(path, work)
    assert {r.call_id for r in receipts(path)} == {"0", "100"}


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of what a process writes")
def test_a_batch_is_written_to_the_log_and_nowhere_else(tmp_path: Path) -> None:
    """No copy of the pages that it touches: with sessions in no order those are many."""
    path = tmp_path / FILE
    drawn = Random(1)

    def batch(first: int, count: int) -> list[Receipt]:
        return [sample_receipt(str(n), session=f"{drawn.getrandbits(64):016x}") for n in range(first, first + count)]

    def written() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar:")[1].split()[0])

    async def work(database: Database) -> None:
        ledger, log = SQLiteLedger(database), path.with_name(f"{FILE}-wal")
        await ledger.append(batch(0, 2_500))
        before, log_before = written(), log.stat().st_size
        await ledger.append(batch(2_500, 256))
        grown = log.stat().st_size - log_before
        assert 100_000 < grown <= written() - before < grown + 8_192

    with_database(path, work)


def test_only_readers_put_what_they_sort_into_files(tmp_path: Path) -> None:
    """It may be a whole ledger; what a writing statement puts aside is small."""

    async def work(database: Database) -> None:
        assert await database.write(lambda connection: connection.execute("PRAGMA temp_store").fetchone()) == (2,)
        assert await database.read(lambda connection: connection.execute("PRAGMA temp_store").fetchone()) == (0,)

    with_database(tmp_path / FILE, work)


def test_the_kv_stays_within_its_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        clock = FakeClock()
        kv = SQLiteKV(database, clock=clock, size_bytes=10_000)
        await kv.put("lapsed", b"x" * 2000, ttl_s=1)
        await kv.put("old", b"x" * 4000)
        await kv.put("old", b"y" * 4000)  # replaced: does not count twice
        await kv.put("new", b"x" * 4000)
        assert await kv.get("lapsed") is not None
        clock.advance(2)
        await kv.put("newer", b"x" * 1000)
        assert await kv.get("old") == b"y" * 4000
        await kv.put("newest", b"x" * 4000)
        assert [await kv.get(key) is not None for key in ("old", "new", "newer", "newest")] == [False, True, True, True]
        await kv.put("too large", b"x" * 20_000)
        assert await kv.get("too large") is None

    with_database(tmp_path / FILE, work)


def test_what_the_kv_keeps_outlives_the_process(tmp_path: Path) -> None:
    async def put(database: Database) -> None:
        await SQLiteKV(database, clock=FakeClock()).put("key", b"value")

    async def get(database: Database) -> None:
        assert await SQLiteKV(database, clock=FakeClock()).get("key") == b"value"

    with_database(tmp_path / FILE, put)
    with_database(tmp_path / FILE, get)


def test_another_process_that_comes_and_goes_does_not_take_our_log_away(tmp_path: Path) -> None:
    """SQLite's locks belong to the process: one stray close of the file drops them, and the next reader to leave
    believes that it is the last and deletes the log under us."""

    async def main() -> None:
        database = Database(tmp_path / FILE)
        await database.write(lambda connection: connection.execute("CREATE TABLE t (n)"))
        await database.read(lambda connection: connection.execute("SELECT * FROM t").fetchall())
        program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t'); c.close()"
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(tmp_path / FILE)], check=True)
        assert (tmp_path / f"{FILE}-wal").exists()
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)"))
        assert await database.read(lambda connection: connection.execute("SELECT n FROM t").fetchall()) == [(1,)]
        await database.close()

    asyncio.run(main())
