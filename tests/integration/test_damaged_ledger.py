"""Files that are really broken: pages overwritten, cut, emptied, a log that is gone, a disk that is full."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pennyweight.counters import Counter, Move, Take
from pennyweight.errors import StoreError
from pennyweight.ledger.reading import receipts
from pennyweight.ledger.report import Query, summary
from pennyweight.stores.counters.sqlite import SQLiteCounters
from pennyweight.stores.damage import Damage, Doubts, notes
from pennyweight.stores.sqlite import FILE, Database, SQLiteKV, SQLiteLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

PAGE = 4096
MANY = 3_000
SOME_RECEIPTS = slice(120, 124)  # of the leaves: behind those of small tables
NOON = 1_800_014_400.0  # noon UTC
KEY = "daily\n1799971200\nacme\nacme"


def with_database(path: Path, work: Callable[[Database], Awaitable[None]], now: float = NOON) -> None:
    async def run() -> None:
        database = Database(path, now=lambda: now)
        try:
            await work(database)
        finally:
            await database.close()

    asyncio.run(run())


def written(folder: Path, count: int = MANY) -> Path:
    """A ledger of so many receipts, with a counter and a cached answer, closed."""
    path = folder / FILE

    async def work(database: Database) -> None:
        ledger, kv = SQLiteLedger(database), SQLiteKV(database, clock=FakeClock(NOON))
        for start in range(0, count, 500):
            some = range(start, min(start + 500, count))
            await ledger.append([sample_receipt(f"call_{n}", at=1_790_000_000.0 + n) for n in some])
        await kv.put("answer", b"hello" * 3_000)
        await SQLiteCounters(database, now=lambda: NOON).move([Move(KEY, 0, 1_234_567)])

    with_database(path, work)
    return path


async def rebuilt(database: Database) -> Damage:
    """Ask until the file is rebuilt, as the clerk does; what was told of it."""
    ledger = SQLiteLedger(database)
    await database.check()
    await settled(database)
    for _ in range(2_000):
        try:
            await ledger.append([sample_receipt("after")])
        except StoreError:
            await asyncio.sleep(0.005)
            continue
        if database.damages():
            return database.damages()[-1]
        await database.check()
        await asyncio.sleep(0.005)
    raise AssertionError("It was never rebuilt.")


async def settled(database: Database) -> None:
    while database.rebuilding:  # noqa: ASYNC110 - what another thread does has no event
        await asyncio.sleep(0.005)


def rebuild(path: Path) -> Damage:
    """What a process makes of the damaged file."""
    told: list[Damage] = []

    async def work(database: Database) -> None:
        told.append(await rebuilt(database))

    with_database(path, work)
    return told[0]


def ids(path: Path) -> set[str]:
    return {receipt.call_id for receipt in receipts(path)} - {"after"}


def overwrite(path: Path, numbers: Iterable[int], content: bytes = b"\xa5" * PAGE) -> None:
    with path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * PAGE)
            file.write(content)


def pages(path: Path) -> int:
    return path.stat().st_size // PAGE


def kinds(path: Path) -> dict[int, int]:
    """What each page is by its first byte: 0x0d a leaf of a table, 0x05 an inner node of one."""
    whole = path.read_bytes()
    return {at // PAGE + 1: whole[at + (100 if at == 0 else 0)] for at in range(0, len(whole), PAGE)}


def inner(path: Path) -> list[int]:
    """The inner nodes of tables, but for the first page, which is that of the schema."""
    return [number for number, kind in kinds(path).items() if kind == 0x05 and number > 1]


def check_told(path: Path, told: Damage) -> None:
    """The damaged file is kept beside the new one, both for their owner only, and everything tells of it."""
    aside = path.with_name(told.aside)
    assert aside.exists()
    assert aside.name.startswith(f"{FILE}.damaged-20270115T120000Z")
    assert path.stat().st_mode & 0o777 == 0o600
    assert aside.stat().st_mode & 0o777 == 0o600
    assert (path.parent / f"{told.aside}.json").stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.rebuilding*"))
    assert notes(path) == (told,)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert told.saved_receipts == len(ids(path))
    assert summary(path, Query(by="model")).total.calls == told.saved_receipts + 1


def test_overwritten_leaves_cost_only_what_was_on_them(tmp_path: Path) -> None:
    path = written(tmp_path)
    leaves = [number for number, kind in kinds(path).items() if kind == 0x0D][SOME_RECEIPTS]
    overwrite(path, leaves)
    told = rebuild(path)
    check_told(path, told)
    assert MANY * 0.9 < told.saved_receipts < MANY
    assert told.lost_receipts == MANY - told.saved_receipts


def test_an_overwritten_inner_node_costs_nothing(tmp_path: Path) -> None:
    """SQLite finds no way to the leaves below it; they are found by themselves."""
    path = written(tmp_path)
    overwrite(path, inner(path))
    told = rebuild(path)
    check_told(path, told)
    assert ids(path) == {f"call_{n}" for n in range(MANY)}
    assert told.lost_receipts == 0


@pytest.mark.parametrize("size", [100, PAGE])
def test_an_emptied_header_costs_nothing(tmp_path: Path, size: int) -> None:
    path = written(tmp_path)
    overwrite(path, [1], bytes(size))
    told = rebuild(path)
    check_told(path, told)
    assert "file is not a database" in told.reason
    assert ids(path) == {f"call_{n}" for n in range(MANY)}
    assert told.counters_in_doubt


def test_a_cut_file_keeps_what_is_left(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("r+b") as file:
        file.truncate(pages(path) // 2 * PAGE + 1000)
    told = rebuild(path)
    check_told(path, told)
    assert MANY * 0.3 < told.saved_receipts < MANY
    assert ids(path) < {f"call_{n}" for n in range(MANY)}


def test_random_bytes_everywhere_never_crash_it(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = written(tmp_path)
    whole = bytearray(path.read_bytes())
    for _ in range(400):
        whole[chance.randrange(100, len(whole))] = chance.randrange(256)
    path.write_bytes(whole)
    told = rebuild(path)
    check_told(path, told)
    assert told.saved_receipts > MANY // 2
    assert told.lost_receipts is None or told.lost_receipts <= MANY
    for receipt in receipts(path):
        assert receipt.usage is not None


def test_a_file_that_is_no_database_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"my precious notes\n" * 1_000)
    path.chmod(0o600)
    told = rebuild(path)
    check_told(path, told)
    assert path.with_name(told.aside).read_bytes() == b"my precious notes\n" * 1_000


KILLED_WRITER = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA wal_autocheckpoint=0")
rest = ", ".join(row[1] for row in c.execute("PRAGMA table_info(receipts)") if row[1] != "call_id")
c.execute("BEGIN")
c.execute(f"INSERT INTO receipts (call_id, {rest}) SELECT 'log_' || call_id, {rest} FROM receipts LIMIT 200")
c.execute("COMMIT")
os.kill(os.getpid(), 9)
"""


def test_newer_pages_in_the_log_are_used(tmp_path: Path) -> None:
    """Killed before the log was folded in, and then the file broke: the log has what the file had not yet."""
    path = written(tmp_path)
    assert subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path)], check=False).returncode == -signal.SIGKILL
    assert path.with_name(FILE + "-wal").stat().st_size > 0
    leaves = [number for number, kind in kinds(path).items() if kind == 0x0D][SOME_RECEIPTS]
    overwrite(path, leaves)
    told = rebuild(path)
    check_told(path, told)
    assert {f"log_call_{n}" for n in range(200)} <= ids(path)
    assert path.with_name(told.aside + "-wal").exists()


def test_without_its_log_the_file_is_whole_as_of_the_last_folding(tmp_path: Path) -> None:
    """A log that somebody deleted cannot be missed by SQLite: what it alone had is gone, and nothing else."""
    path = written(tmp_path)

    async def work(database: Database) -> None:
        await SQLiteLedger(database).append([sample_receipt("late")])
        path.with_name(FILE + "-wal").unlink()
        await SQLiteLedger(database).append([sample_receipt("later")])

    with_database(path, work)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {f"call_{n}" for n in range(MANY)} <= ids(path)


def test_damage_while_it_runs_is_found_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path)

    async def work(database: Database) -> None:
        ledger = SQLiteLedger(database)
        await ledger.append([sample_receipt("before")])
        assert database.damages() == ()
        overwrite(path, range(2, pages(path) + 1))
        overwrite(path, [1], bytes(PAGE))
        kv = SQLiteKV(database, clock=FakeClock(NOON))
        with pytest.raises(StoreError, match="file is not a database"):
            await kv.get("answer")
        with pytest.raises(StoreError, match="is being rebuilt"):
            await kv.get("answer")
        await settled(database)
        assert database.damages()[0].saved_receipts >= 1
        assert await kv.get("answer") is None
        await kv.put("answer", b"new")
        assert await kv.get("answer") == b"new"

    with caplog.at_level(logging.ERROR):
        with_database(path, work)
    assert "before" in ids(path)  # it was in the log
    assert any("The ledger was damaged" in record.message for record in caplog.records)


def test_the_check_at_the_start_finds_what_nobody_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path)
    overwrite(path, [[number for number, kind in kinds(path).items() if kind == 0x0D][30]])

    async def work(database: Database) -> None:
        await SQLiteLedger(database).append([sample_receipt("new")])
        assert database.damages() == ()
        await database.check()
        await settled(database)
        assert len(database.damages()) == 1

    with_database(path, work)
    assert "new" in ids(path)


def test_a_healthy_file_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, 100)
    before = path.stat().st_ino

    async def work(database: Database) -> None:
        await database.check()
        assert not database.rebuilding

    with_database(path, work)
    assert path.stat().st_ino == before
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_counters_in_doubt_refuse_for_the_day_and_answers_go_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    overwrite(path, [1], bytes(PAGE))
    told = rebuild(path)
    clock = FakeClock(NOON + 60)

    async def work(database: Database) -> None:
        kv = SQLiteKV(database, clock=clock)
        await kv.put("answer", b"fine")
        assert await kv.get("answer") == b"fine"
        counters = SQLiteCounters(database, now=clock.now, doubts=Doubts(path).notes)
        today = Take(KEY, 5, 100, begins=NOON - 12 * 3600, ends=NOON + 12 * 3600)
        for doubtful in (today, Take("session", 5, 100)):
            with pytest.raises(StoreError, match=rf"not known.*begin anew.*remove {told.aside}.json"):
                await counters.take([doubtful])
        assert await counters.move([Move(KEY, 5, 1)]) == [Counter(1, 0)]  # what is billed is counted all the same
        clock.advance(12 * 3600)
        tomorrow = Take("tomorrow", 5, 100, begins=NOON + 12 * 3600, ends=NOON + 36 * 3600)
        assert (await counters.take([tomorrow, Take("session", 5, 100)])).refused == ()
        with pytest.raises(StoreError):
            await counters.take([msgspec.structs.replace(today, ends=NOON + 20 * 86_400)])  # its month is not over
        path.with_name(told.aside + ".json").unlink()
        assert (await counters.take([today])).refused == ()
        assert database.damages() == ()

    with_database(path, work)


def test_counters_that_were_read_whole_count_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    overwrite(path, [number for number, kind in kinds(path).items() if kind == 0x0D][SOME_RECEIPTS])
    told = rebuild(path)
    assert not told.counters_in_doubt
    clock = FakeClock(NOON + 60)

    async def work(database: Database) -> None:
        kv = SQLiteKV(database, clock=clock)
        counters = SQLiteCounters(database, now=clock.now, doubts=Doubts(path).notes)
        assert (await counters.read(KEY))[KEY] == Counter(1_234_567, 0)
        assert await kv.get("answer") == b"hello" * 3_000

    with_database(path, work)


def test_a_folder_in_the_place_of_the_file_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.mkdir()

    async def work(database: Database) -> None:
        with pytest.raises(StoreError, match=FILE):
            await SQLiteLedger(database).append([sample_receipt()])
        await database.check()
        assert not database.rebuilding
        path.rmdir()
        await SQLiteLedger(database).append([sample_receipt()])

    with_database(path, work)
    assert len(list(receipts(path))) == 1


def test_no_room_for_the_new_file_leaves_the_damaged_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path)
    overwrite(path, [number for number, kind in kinds(path).items() if kind == 0x0D][SOME_RECEIPTS])
    damaged = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def work(database: Database) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
        try:
            await database.check()
            await settled(database)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert database.damages() == ()
        await database.check()  # not again at once
        assert not database.rebuilding

    try:
        with caplog.at_level(logging.ERROR):
            with_database(path, work)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    assert "could not be rebuilt" in caplog.text
    assert path.read_bytes() == damaged
    assert not list(tmp_path.glob("*.rebuilding*"))
    told = rebuild(path)  # with room, it goes on where it was
    check_told(path, told)
    assert len(list(tmp_path.glob("*.damaged-*Z"))) == 1


KILLED = """
import asyncio, os, sys, threading, time
from pathlib import Path
from pennyweight.stores import damage
from pennyweight.stores.sqlite import Database

at = sys.argv[2]
def die(*_args):
    os.kill(os.getpid(), 9)

if at == "note":
    damage._write_note = die
elif at == "salvage":
    real = damage.salvage
    damage.salvage = lambda *args, **more: (real(*args, **more), die())
else:
    Path.replace = die

async def main():
    database = Database(Path(sys.argv[1]), now=lambda: 1_800_014_400.0)
    await database.check()
    while database.rebuilding:
        await asyncio.sleep(0.005)

asyncio.run(main())
"""


@pytest.mark.parametrize("at", ["salvage", "note", "replace"])
def test_kill_9_while_it_is_rebuilt_loses_nothing_more(tmp_path: Path, at: str) -> None:
    path = written(tmp_path)
    overwrite(path, inner(path))
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), at], check=False, env={**os.environ, "PYTHONPATH": source}
    )
    assert done.returncode == -signal.SIGKILL
    told = rebuild(path)
    assert ids(path) == {f"call_{n}" for n in range(MANY)}
    assert len(list(tmp_path.glob("*.damaged-*Z"))) == 1
    assert told.saved_receipts == MANY


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from pennyweight.errors import StoreError
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)

async def main():
    database = Database(Path(sys.argv[1]))
    try:
        await SQLiteLedger(database).append([sample_receipt("x")])
        print("written")
    except StoreError as error:
        print("refused", error)
    await database.check()
    await database.close()

asyncio.run(main())
"""


def test_a_folder_that_may_not_be_written_is_an_error_and_the_file_stays(tmp_path: Path) -> None:
    path = written(tmp_path, 10)
    before = path.read_bytes()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    source = str(Path(__file__).parents[2] / "src")
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)],
            check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source},
        )  # fmt: skip
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.startswith("refused"), done.stdout + done.stderr
    assert path.read_bytes() == before


def test_kill_9_in_the_middle_of_writing_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / FILE
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from pennyweight.stores.sqlite import Database, SQLiteLedger\n"
        "from pennyweight.testing.contracts import sample_receipt\n"
        "async def main():\n"
        "    ledger = SQLiteLedger(Database(Path(sys.argv[1])))\n"
        "    for n in range(10**6):\n"
        "        await ledger.append([sample_receipt(f'{n}_{m}') for m in range(200)])\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    for round_ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}
        ) as process:
            assert process.stdout is not None
            for _ in range(5 + 7 * round_):
                process.stdout.readline()
            time.sleep(0.003 * round_)
            process.kill()

        async def work(database: Database) -> None:
            await database.check()
            assert not database.rebuilding
            assert database.damages() == ()

        with_database(path, work)
        path.unlink()


KILLED_BEGINNER = """
import asyncio, os, sys
from pathlib import Path
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

async def main():
    ledger = SQLiteLedger(Database(Path(sys.argv[1])))
    for n in range(100):
        await ledger.append([sample_receipt(f"call_{n}")])
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


@pytest.fixture
def unfolded(tmp_path: Path) -> Path:
    """A ledger of a process that was killed before anything was folded in: all of it is in the log."""
    path = tmp_path / FILE
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-c", KILLED_BEGINNER, str(path)]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": source})
    assert done.returncode == -signal.SIGKILL
    return path


def test_a_log_that_is_whole_is_no_damage(unfolded: Path) -> None:
    async def work(database: Database) -> None:
        await SQLiteLedger(database).append([sample_receipt("after")])
        assert database.damages() == ()

    with_database(unfolded, work)
    assert ids(unfolded) == {f"call_{n}" for n in range(100)}


def test_a_log_that_was_torn_by_the_kill_is_no_damage(unfolded: Path) -> None:
    log = unfolded.with_name(FILE + "-wal")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1_000)

    async def work(database: Database) -> None:
        await SQLiteLedger(database).append([sample_receipt("after")])
        assert database.damages() == ()

    with_database(unfolded, work)
    assert ids(unfolded) == {f"call_{n}" for n in range(99)}


@pytest.mark.parametrize("place", ["header", "first", "middle"])
def test_a_damaged_log_is_not_passed_over(unfolded: Path, place: str) -> None:
    """SQLite would begin with what comes before the damage: here an empty ledger."""
    log = unfolded.with_name(FILE + "-wal")
    frames = (log.stat().st_size - 32) // (24 + PAGE)
    at = {"header": 0, "first": 32 + 24 + 500, "middle": 32 + frames // 2 * (24 + PAGE) + 24 + 500}[place]
    with log.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 32)
    told: list[Damage] = []

    async def work(database: Database) -> None:
        with pytest.raises(StoreError, match="log is damaged"):
            await SQLiteLedger(database).append([sample_receipt("after")])
        await settled(database)
        await SQLiteLedger(database).append([sample_receipt("after")])
        told.extend(database.damages())

    with_database(unfolded, work)
    assert len(ids(unfolded)) >= 99
    assert "log is damaged" in told[0].reason
    assert told[0].counters_in_doubt
    check_told(unfolded, told[0])
