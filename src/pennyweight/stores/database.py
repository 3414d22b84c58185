"""One SQLite file: a thread writes, a thread reads, the event loop never waits for a disk.

`synchronous=NORMAL` in WAL mode: a commit survives the death of the process (kill -9), which is what we promise; only
a power cut may take the last commits with it, and never the file's consistency. See docs/decisions/0004.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import StoreError
from .damage import Damage, notes, notice, rebuild
from .pages import log_damage
from .salvage import damaged, is_damage

__all__ = ["FILE", "Database"]

log = logging.getLogger(__name__)

FILE = "pennyweight.db"

REBUILD_AGAIN_S = 60.0  # after one that failed, for want of room for instance

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


# The fault of what is stored, not of the store: trying again cannot help.
_UNSTORABLE = (
    OverflowError,
    UnicodeError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class Database:
    """A file with one writing and one reading thread, each with a connection of its own.

    Connections are opened when first used and again after a failure, so a disk that was full, a lock that was held or
    a file that was moved away heals by itself. Raises StoreError, and ValueError for what no database could store (an
    integer over 64 bits, half a surrogate pair). `busy_s`: how long to wait for another
    process's lock. Files are made with mode 0600, the folder, if it is not there, with 0700.

    A damaged file is set aside and rebuilt from what can be read (`damage`), on the writing thread; until that is done
    everything asked for is refused with a StoreError. `now`: unix seconds, for the name of the file set aside.
    """

    def __init__(self, path: Path, *, busy_s: float = 0.25, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._busy_s = busy_s
        self._now = now
        self._closed = False
        self._log_seen = False
        self._rebuilding = False
        self._rebuild_after = float("-inf")  # on the monotonic clock
        self._making = threading.Lock()
        self._writer = _Worker(path, self._open_to_write, "pennyweight-write")
        self._reader = _Worker(path, self._open, "pennyweight-read")

    async def write(self, work: Work[T]) -> T:
        """The result of `work`, run in one transaction: all of it is kept, or nothing."""

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result

        return await self._run(self._writer, transaction)

    async def read(self, work: Work[T]) -> T:
        """The result of `work` on the reading connection, which sees what was committed."""
        return await self._run(self._reader, work)

    async def close(self) -> None:
        """Wait for what was asked for, fold the log into the file, and close. Safe to call again."""
        self._closed = True
        await asyncio.to_thread(self._writer.close)  # first: a rebuilding there needs the reading thread
        await asyncio.to_thread(self._reader.close)

    async def check(self) -> None:
        """Read the whole file and see whether it is damaged; if it is, rebuilding begins. For a quiet moment."""
        reason = await asyncio.to_thread(_damage_in, self.path, "quick_check")
        if reason:
            self._begin_rebuild(reason)

    @property
    def rebuilding(self) -> bool:
        return self._rebuilding

    def damages(self) -> tuple[Damage, ...]:
        """What happened to the file before, as long as its notes are kept."""
        return notes(self.path)

    async def _run(self, worker: _Worker, work: Work[T]) -> T:
        if self._closed:
            raise StoreError(f"The database {self.path} is closed.")
        if self._rebuilding:
            raise StoreError(f"The database {self.path} was damaged and is being rebuilt.")
        try:
            return await asyncio.get_running_loop().run_in_executor(worker.threads, worker.run, work)
        except UnicodeDecodeError as error:  # a text in the file, or an error about one: what we store is UTF-8
            self._begin_rebuild("a text in it is not UTF-8")
            raise StoreError(f"The database {self.path} is damaged: a text in it is not UTF-8.") from error
        except _UNSTORABLE as error:
            raise ValueError(f"The database {self.path} cannot store this: {type(error).__name__}.") from error
        except sqlite3.Error as error:
            if is_damage(error):
                self._begin_rebuild(str(error))
            raise StoreError(f"The database {self.path} failed: {error}.") from error
        except OSError as error:
            raise StoreError(f"Cannot use the database {self.path}: {error.strerror or error}.") from error

    def _open(self) -> sqlite3.Connection:
        """Raises sqlite3.DatabaseError for damage that SQLite itself would pass over."""
        if not self._log_seen:
            self._log_seen = True  # from now on the log is ours, and of what others write to it the end may be torn
            reason = log_damage(self.path.with_name(self.path.name + "-wal"))
            if reason:
                raise damaged(reason)
        return self._connect(self.path)

    def _open_to_write(self) -> sqlite3.Connection:
        """What a writing statement keeps in case it must be taken back, and the tables of rolling up, stay in memory:
        they are small. What readers sort may be a whole ledger."""
        connection = self._open()
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    def _connect(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._making:
            _make(path)
        connection = sqlite3.connect(
            path, timeout=self._busy_s, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection

    # --- damage ---------------------------------------------------------------------------------------------

    def _begin_rebuild(self, reason: str) -> None:
        """On the event loop; the work is done on the writing thread, after what it was asked for before."""
        if self._rebuilding or self._closed or time.monotonic() < self._rebuild_after:
            return
        self._rebuilding = True
        log.error("the ledger is damaged, and is being rebuilt", extra={"path": str(self.path), "reason": reason})
        try:
            self._writer.threads.submit(self._rebuild, reason)
        except RuntimeError:  # it was closed meanwhile
            self._rebuilding = False

    def _rebuild(self, reason: str) -> None:
        try:
            self._reader.threads.submit(self._reader.drop).result()
            self._writer.drop()
            log_is_whole = not log_damage(self.path.with_name(self.path.name + "-wal"))
            if log_is_whole and not _damage_in(self.path, "integrity_check"):  # another process did it
                return
            damage = rebuild(self.path, reason, self._connect, self._now())
            if damage is not None:
                facts = msgspec.structs.asdict(damage)
                log.error(notice(damage, self.path.parent), extra={"damage": facts})
        except Exception as error:  # noqa: BLE001 - whatever it was, the damaged file is still there: try again later
            self._rebuild_after = time.monotonic() + REBUILD_AGAIN_S
            self._log_seen = False
            facts = {"path": str(self.path), "error": type(error).__name__, "detail": str(error)}
            log.error("the damaged ledger could not be rebuilt; it was left as it is", extra=facts)
        finally:
            self._rebuilding = False


def _damage_in(path: Path, check: str) -> str:
    """What that check of SQLite finds wrong with the file; "" when nothing, or when it cannot be looked at."""
    if not path.is_file() or not path.stat().st_size:
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=2.0)) as found:
            told = str(found.execute(f"PRAGMA {check}(1)").fetchone()[0])
            return "" if told == "ok" else told.splitlines()[-1]
    except UnicodeDecodeError:
        return "a text in it is not UTF-8"
    except sqlite3.Error as error:
        return str(error) if is_damage(error) else ""


def _make(path: Path) -> None:
    """An empty file of mode 0600: SQLite would make one that all can read. Its log files take the mode of the file.

    A file that is there is not touched: closing it, however opened, would drop all locks that this process's SQLite
    has on it (fcntl locks belong to the process), and the next other process to leave would delete the log under us.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two that make the file at once get in each other's way, and SQLite's busy time does not cover this statement."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if attempt == 99:
                raise
            time.sleep(0.005)


class _Worker:
    """One thread with one connection, opened when needed, dropped after an error or when the file was replaced."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], name: str) -> None:
        self.threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def run(self, work: Work[T]) -> T:
        if self._connection is not None and self._identity() != self._file:
            self.drop()  # somebody moved the file away: writing on would fill a file without a name
        if self._connection is None:
            self._connection = self._connect()
            self._file = self._identity()
        try:
            return work(self._connection)
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            if isinstance(error, sqlite3.Error) and not isinstance(error, _UNSTORABLE):
                self.drop()
            raise

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was closed before
            self.threads.submit(self.drop).result()
        self.threads.shutdown()

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _identity(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to this version, each step in a transaction. Raises StoreError for a newer one."""
    steps = _migrations()
    if _version(connection) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")  # two processes may start at once: look again under the lock
    try:
        version = _version(connection)
        if version > len(steps):
            raise StoreError(
                f"{path} was written by a newer Pennyweight (schema {version}, this one knows {len(steps)}): "
                "upgrade with `pip install -U pennyweight`, or choose another folder with --data."
            )
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        for sql in steps[version:]:
            for statement in _statements(sql):
                connection.execute(statement)
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (?)", (len(steps),))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone() if known else None
    return int(row[0] or 0) if row else 0


def _migrations() -> list[str]:
    """The files of `sql/` in the order of their numbers; the first leads from nothing to schema 1."""
    folder = files(__package__).joinpath("sql")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text("utf-8") for name in names]


def _statements(sql: str) -> Iterator[str]:
    text = ""
    for line in sql.splitlines(keepends=True):
        text += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(text):
            yield text
            text = ""
