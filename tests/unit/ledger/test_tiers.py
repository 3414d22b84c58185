"""Where the calls to virtual models went."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from pennyweight.ledger.tiers import taken
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt


def test_a_call_that_left_for_no_target_is_none_of_its_calls(tmp_path: Path) -> None:
    async def write() -> None:
        database = Database(tmp_path / FILE)
        to = {"model": "auto", "provider": "cheap", "target_model": "c1"}
        try:
            await SQLiteLedger(database).append(
                [
                    sample_receipt("call_1", **to),
                    sample_receipt("call_2", **to, status=503, error="Overloaded"),
                    sample_receipt("call_3", **to, status=402, error="LimitReached"),
                    sample_receipt("call_4", **to, status=429, error="QuotaSpent"),
                ]
            )
        finally:
            await database.close()

    asyncio.run(write())
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        (share,) = taken(connection, ["auto"], since=0.0).values()
    assert (share.target, share.calls, share.failed) == ("cheap/c1", 2, 1)
