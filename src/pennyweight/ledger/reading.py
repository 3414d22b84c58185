"""The ledger file, read: a connection that cannot write, and receipts as they were made."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import msgspec

from ..call import Receipt, Step
from ..errors import StoreError
from ..request import Operation, Usage

__all__ = ["is_made", "of_session", "reading", "receipt", "receipts"]


def of_session(tenant: str = "?", session: str = "?", *, table: str = "receipts") -> str:
    """The SQL term for the receipts of one session, by the index of sessions, which is kept in runs (decision 0043)."""
    runs = "(SELECT run FROM receipt_runs)"
    return f"{table}.run IN {runs} AND {table}.tenant = {tenant} AND {table}.session = {session}"


def receipt(path: Path, call_id: str) -> Receipt | None:
    """The receipt of one call, whole; None when the ledger has none. Raises StoreError."""
    return next(receipts(path, call_id=call_id), None)


def receipts(path: Path, *, call_id: str | None = None) -> Iterator[Receipt]:
    """Every receipt in the order of writing, or that of one call. Raises StoreError."""
    if not is_made(path):
        return
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        where, values = ("WHERE call_id = ?", (call_id,)) if call_id is not None else ("", ())
        for row in connection.execute(f"SELECT * FROM receipts {where} ORDER BY rowid", values):
            yield _receipt(row)


def is_made(path: Path) -> bool:
    """Whether there is a ledger at `path`. A file that is just being made has no tables yet. Raises StoreError."""
    try:
        path.stat()
        with closing(_connect(path)) as connection:
            sql = "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
            return connection.execute(sql).fetchone() is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"Cannot read the ledger {path}: {error.strerror}.") from None
    except sqlite3.Error as error:
        raise StoreError(f"Cannot read the ledger {path}: {error}.{_remedy(error)}") from error


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading. Raises StoreError, for a file of a newer schema too."""
    try:
        with closing(_connect(path)) as connection:
            row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
            known = sum(step.name.endswith(".sql") for step in files("pennyweight.stores").joinpath("sql").iterdir())
            if row[0] > known:
                raise StoreError(
                    f"{path} was written by a newer Pennyweight (schema {row[0]}, this one knows {known}): "
                    "upgrade with `pip install -U pennyweight`."
                )
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"Cannot read the ledger {path}: {error}.{_remedy(error)}") from error


def _remedy(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ""
    return " It is damaged: `pennyweight serve` sets it aside and rebuilds it from what can be read."


def _connect(path: Path) -> sqlite3.Connection:
    """Read-only. A ledger on a medium that cannot be written to is read as it is there."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=2.0, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)
    return connection


_trail = msgspec.json.Decoder(tuple[Step, ...])


def _receipt(row: sqlite3.Row) -> Receipt:
    usage = None
    if row["input_tokens"] is not None:
        usage = Usage(
            input_tokens=row["input_tokens"],
            cache_read_tokens=row["cache_read_tokens"],
            cache_write_5m_tokens=row["cache_write_5m_tokens"],
            cache_write_1h_tokens=row["cache_write_1h_tokens"],
            output_tokens=row["output_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            tier=row["tier"],
            counted=bool(row["counted"]),
            suspect=row["usage_suspect"] if "usage_suspect" in row.keys() else "",  # noqa: SIM118 - a Row's values
        )
    same = (
        "call_id at tenant session agent task skill housekeeping wire provider model target_model pricing basis "
        "answered_by status finish_reason arm ttft_s latency_s added_s error"
    )
    newer = [name for name in ("foreseen_read_tokens", "warm") if name in row.keys()]  # noqa: SIM118 - a Row's values
    return Receipt(
        **{name: row[name] for name in [*same.split(" "), *newer]},
        operation=Operation(row["operation"]),
        usage=usage,
        cost=row["cost_pico"],
        baseline=row["baseline_pico"],
        spent=row["spent_pico"],
        trail=_trail.decode(row["trail"]),
        replayed=bool(row["replayed"]),
        abandoned=bool(row["abandoned"]),
    )
