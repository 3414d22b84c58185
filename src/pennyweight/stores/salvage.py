"""What can still be read of a damaged database, put into a fresh one: table by table, past what is gone.

First by SQLite itself, which finds newer pages in the write-ahead log and skips, row by row, what it cannot read; then,
for receipts, from single pages (`pages`). Every row must have the types that its table declares, or it is left out.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from ..call import Step
from ..request import Operation
from . import pages

__all__ = ["Salvaged", "damaged", "is_damage", "salvage"]

_HIGHEST_ROWID = 1 << 40  # more rows than any of our files will have
# The rollups hold what receipts sum to; of the receipts that are left they are summed again.
_MADE_ANEW = frozenset({"schema_version", "rollups", "step_rollups", "rollup_state"})


class Salvaged(msgspec.Struct, frozen=True):
    """How many rows of each table were saved; which tables could not be read whole; how many receipts are lost
    (None: that cannot be told)."""

    rows: dict[str, int]
    broken: tuple[str, ...]
    lost_receipts: int | None


class _Table(msgspec.Struct, frozen=True):
    name: str
    columns: tuple[tuple[str, str, bool], ...]  # name, declared type, whether it must not be NULL
    by_rowid: bool

    @property
    def names(self) -> str:
        return ", ".join(f'"{name}"' for name, _, _ in self.columns)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is broken: malformed, or no database."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damaged(reason: str) -> sqlite3.DatabaseError:
    """The error for damage that we have found and SQLite has not."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def salvage(damaged: Path, fresh: sqlite3.Connection, *, log_damaged: bool = False) -> Salvaged:
    """Copy what is readable in the file `damaged` (and its log beside it) into `fresh`, which has the schema.

    log_damaged: SQLite does not see all of the log, so nothing that it reads is whole. Raises sqlite3.Error where
    `fresh` cannot be written.
    """
    rows: dict[str, int] = {}
    broken: list[str] = []
    expected: set[int] = set()  # rowids that receipts have by an index of theirs
    source = _opened(damaged)
    for table in _tables(fresh):
        if source is None:
            broken.append(table.name)
            continue
        whole = _copy(source, fresh, table)
        if not whole or log_damaged:
            broken.append(table.name)
        if table.name == "receipts":
            expected = _indexed(source)
    if source is not None:
        source.close()
    if "receipts" in broken:
        _carve(damaged, fresh, next(table for table in _tables(fresh) if table.name == "receipts"))
    for table in _tables(fresh):
        rows[table.name] = int(fresh.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0])
    return Salvaged(rows, tuple(broken), _lost(fresh, expected, whole="receipts" not in broken))


def _opened(path: Path) -> sqlite3.Connection | None:
    """A connection for reading that has the log in sight if it can; None when SQLite takes it for no database."""
    uri = path.absolute().as_uri()
    for mode in ("mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"{uri}?{mode}", uri=True, timeout=2.0, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            connection.close()
            continue
        return connection
    return None


def _tables(connection: sqlite3.Connection) -> list[_Table]:
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    found = []
    for name, text in connection.execute(sql).fetchall():
        if name not in _MADE_ANEW:
            columns = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
            described = tuple((column[1], column[2].upper(), bool(column[3])) for column in columns)
            found.append(_Table(name, described, "WITHOUT ROWID" not in text.upper()))
    return found


# --- by SQLite --------------------------------------------------------------------------------------------


def _copy(source: sqlite3.Connection, fresh: sqlite3.Connection, table: _Table) -> bool:
    """Whether the table could be read whole. One that the damaged file never had is whole."""
    try:
        there = source.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table.name,)
        ).fetchone()
        known = {row[1] for row in source.execute(f'PRAGMA table_info("{table.name}")')}
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    if there is None:
        return True
    shared = msgspec.structs.replace(table, columns=tuple(c for c in table.columns if c[0] in known))
    if not table.by_rowid:
        return _copy_in_order(source, fresh, shared)
    whole = True

    def noted(_error: Exception) -> None:
        nonlocal whole
        whole = False

    sql = f'SELECT rowid, {shared.names} FROM "{table.name}" WHERE rowid > ? ORDER BY rowid'
    _insert(fresh, shared, ((row[0], row[1:]) for row in _past_damage(source, sql, noted)))
    return whole


def _past_damage(
    source: sqlite3.Connection, sql: str, noted: Callable[[Exception], None]
) -> Iterator[tuple[int, *tuple[pages.Value, ...]]]:
    """Every row that can be read. After an error reading starts again at the next rowid from which it works."""
    last = -_HIGHEST_ROWID
    while True:
        try:
            for row in source.execute(sql, (last,)):
                last = row[0]
                yield row
            return
        except (sqlite3.Error, UnicodeDecodeError) as error:
            noted(error)
        start = _next_start(source, sql, max(last, 0))
        if start is None:
            return
        last = start


def _next_start(source: sqlite3.Connection, sql: str, failed: int) -> int | None:
    """The least rowid after `failed` beyond which a row can be read; None when there is none."""

    def works(start: int) -> bool:
        try:
            return source.execute(sql + " LIMIT 1", (start,)).fetchone() is not None
        except (sqlite3.Error, UnicodeDecodeError):
            return False

    step = 1
    while not works(failed + step):
        step *= 2
        if step > _HIGHEST_ROWID:
            return None
    below, above = failed + step // 2, failed + step
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if works(middle) else (middle, above)
    return above


def _copy_in_order(source: sqlite3.Connection, fresh: sqlite3.Connection, table: _Table) -> bool:
    """A table without rowids, up to the first damage."""
    whole = True

    def read() -> Iterator[tuple[None, tuple[pages.Value, ...]]]:
        nonlocal whole
        try:
            for row in source.execute(f'SELECT {table.names} FROM "{table.name}"'):
                yield None, row
        except (sqlite3.Error, UnicodeDecodeError):
            whole = False

    _insert(fresh, table, read())
    return whole


def _indexed(source: sqlite3.Connection) -> set[int]:
    """The rowids that the index by time has, as far as it can be read."""
    found: set[int] = set()
    try:
        for (rowid,) in source.execute("SELECT rowid FROM receipts INDEXED BY receipts_at ORDER BY at"):
            found.add(rowid)
    except (sqlite3.Error, UnicodeDecodeError):
        pass
    return found


# --- by pages ---------------------------------------------------------------------------------------------


_OLDEST_RECEIPT = 37  # columns of the first schema; later ones were added behind


def _carve(damaged: Path, fresh: sqlite3.Connection, table: _Table) -> None:
    """Receipts that only their own pages still tell of. They are never changed once written, so any copy is right."""
    waiting: dict[int, list[tuple[int | None, Sequence[pages.Value]]]] = {}

    def put(length: int) -> None:
        _insert(fresh, msgspec.structs.replace(table, columns=table.columns[:length]), waiting.pop(length))

    with contextlib.suppress(OSError):
        for rowid, values in pages.rows(damaged):
            if _OLDEST_RECEIPT <= len(values) <= len(table.columns):
                alike = waiting.setdefault(len(values), [])
                alike.append((rowid, values))
                if len(alike) >= 1000:
                    put(len(values))
    for length in list(waiting):
        put(length)


def _insert(fresh: sqlite3.Connection, table: _Table, rows: Iterable[tuple[int | None, Sequence[pages.Value]]]) -> None:
    """Those rows that are what the table declares and that it does not have yet, in portions of a transaction each."""
    marks = ", ".join("?" * (len(table.columns) + table.by_rowid))
    names = f"rowid, {table.names}" if table.by_rowid else table.names
    sql = f'INSERT OR IGNORE INTO "{table.name}" ({names}) VALUES ({marks})'
    portion: list[Sequence[pages.Value]] = []
    for rowid, values in rows:
        if _fits(table, values):
            portion.append((rowid, *values) if table.by_rowid else values)
        if len(portion) >= 1000:
            _commit(fresh, sql, portion)
            portion = []
    _commit(fresh, sql, portion)


def _commit(fresh: sqlite3.Connection, sql: str, portion: Sequence[Sequence[pages.Value]]) -> None:
    fresh.execute("BEGIN IMMEDIATE")
    fresh.executemany(sql, portion)
    fresh.execute("COMMIT")


_TYPES: dict[str, tuple[type, ...]] = {"TEXT": (str,), "INTEGER": (int,), "REAL": (float, int), "BLOB": (bytes,)}


def _fits(table: _Table, values: Sequence[pages.Value]) -> bool:
    if len(values) != len(table.columns):
        return False
    for (name, kind, must), value in zip(table.columns, values, strict=True):
        if value is None:
            if must:
                return False
        elif not isinstance(value, _TYPES.get(kind, (object,))):
            return False
        elif name in _READABLE and not _READABLE[name](str(value)):
            return False  # whoever reads the receipts would fail on it
    return True


_trail = msgspec.json.Decoder(tuple[Step, ...])


def _is_trail(text: str) -> bool:
    try:
        _trail.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


_READABLE: dict[str, Callable[[str], bool]] = {
    "trail": _is_trail,
    "operation": {str(operation) for operation in Operation}.__contains__,
}


def _lost(fresh: sqlite3.Connection, expected: set[int], *, whole: bool) -> int | None:
    """Receipts that are missing: by the index that had them, or, where that is gone too, by gaps in their numbers.

    Numbers are given without gaps, and what is forgotten with time is forgotten from the lowest on. A gap longer than
    all that was saved is a number that was damaged itself.
    """
    if whole:
        return 0
    with closing(fresh.execute("SELECT rowid FROM receipts ORDER BY rowid")) as cursor:
        saved = [row[0] for row in cursor]
    if expected:
        return len(expected.difference(saved))
    gaps = (after - before - 1 for before, after in itertools.pairwise(saved))
    return sum(gap for gap in gaps if gap <= len(saved)) or None
