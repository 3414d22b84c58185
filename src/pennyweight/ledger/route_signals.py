"""What the ledger holds of how good answers were: signals on calls, with the receipts of those calls."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

__all__ = ["Signal", "signals_of"]

_SQL = """
SELECT s.at, r.tenant, r.agent, r.provider, r.target_model, r.housekeeping, s.kind, s.value, s.call_id
FROM signals s JOIN receipts r ON r.call_id = s.call_id
WHERE s.call_id <> '' AND s.kind IN ('feedback', 'judge', 'tools') AND r.status = 200 AND r.replayed = 0
ORDER BY s.at
"""


class Signal(msgspec.Struct, frozen=True):
    """One word on one call. value: feedback -1 to 1, judge and tools 0 to 1."""

    at: float
    tenant: str
    agent: str
    provider: str
    model: str
    housekeeping: str
    kind: str
    value: float
    call_id: str


def signals_of(path: Path) -> list[Signal]:
    """The oldest first; [] where there is no ledger. Raises sqlite3.Error."""
    if not path.is_file():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'signals'").fetchone():
            return []
        return [Signal(*row) for row in connection.execute(_SQL)]
