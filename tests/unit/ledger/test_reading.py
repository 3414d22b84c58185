"""A ledger that is just being made is an empty one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pennyweight.ledger.reading import is_made, receipt
from pennyweight.ledger.report import Query, summary


def test_a_file_without_tables_is_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "pennyweight.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    assert path.exists()
    assert not is_made(path)
    assert receipt(path, "call_1") is None
    assert summary(path, Query()).total.calls == 0
    connection.close()
