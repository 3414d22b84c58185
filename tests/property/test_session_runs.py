"""A session is found whole, however its receipts lie in the runs of the ledger's index of sessions."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Receipt
from pennyweight.errors import NotFound
from pennyweight.gateway.dashboard.figures import Asked, calls, sessions
from pennyweight.ledger.experiment import Row
from pennyweight.ledger.reading import of_session, reading, receipts
from pennyweight.ledger.rolled import rolled
from pennyweight.ledger.signals import Signals
from pennyweight.ledger.trials import Earlier
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

NAMES = ("", "a", "b")
WHOSE = st.lists(st.tuples(st.sampled_from(("t", "u")), st.sampled_from(NAMES)), min_size=1, max_size=40)


def made(whose: Sequence[tuple[str, str]]) -> list[Receipt]:
    return [
        sample_receipt(
            f"call_{n:03d}", at=float(n), tenant=tenant, session=session, agent=f"agent-{n}", model=f"m{n * n % 7 % 3}"
        )
        for n, (tenant, session) in enumerate(whose)
    ]


async def played(path: Path, found: Sequence[Receipt], batch: int, run_rows: int, forgotten: int) -> None:
    """Written in batches; the oldest are forgotten in the middle, so that a run begins late or is gone."""
    database = Database(path)
    ledger = SQLiteLedger(database, run_rows=run_rows)
    try:
        for start in range(0, len(found), batch):
            await ledger.append(found[start : start + batch])
        await ledger.forget(float(forgotten))
        signals = Signals(database, FakeClock())
        held = {(r.tenant, r.session) for r in found[forgotten:]}
        for tenant in ("t", "u"):
            for name in NAMES[1:]:
                try:
                    said = await signals.rate("feedback", 1.0, tenant=tenant, session=name)
                except NotFound:
                    assert (tenant, name) not in held
                else:
                    assert (said.tenant, said.session) == (tenant, name)
                    assert (tenant, name) in held
    finally:
        await database.close()


ONE_SESSION = "SELECT * FROM sessions WHERE tenant = ? AND session_id = ?"


def check(path: Path) -> None:
    """By the index as by going through all."""
    held = list(receipts(path))
    asked = Asked(now=100.0, tenant=None, range="all")
    with rolled(path) as ledger:
        assert ledger is not None
        for tenant, name in {(r.tenant, r.session) for r in held}:
            own = [r for r in held if (r.tenant, r.session) == (tenant, name)]
            shown = calls(ledger, asked, session=(tenant, name))["calls"]
            assert [call["call_id"] for call in shown] == [r.call_id for r in reversed(own)]
            before = (own[-1].at, own[-1].call_id)
            earlier = calls(ledger, asked, session=(tenant, name), before=before)["calls"]
            assert [call["call_id"] for call in earlier] == [r.call_id for r in reversed(own[:-1])]
        last = {(r.tenant, r.session): r.agent for r in held}
        for order in ("recent", "cost"):
            told = sessions(ledger, asked, order)["sessions"]
            assert {(row["tenant"], row["session"]): row["agent"] for row in told} == last
    with reading(path) as connection:
        rowids = dict(connection.execute("SELECT call_id, rowid FROM receipts"))
        look = Earlier(connection)
        for r in held:
            for after in (0, rowids[r.call_id] - 3):
                row = Row(r.tenant, r.session, False, "", "", "", rowids[r.call_id], 0, 0, 0, 0, 0.0, 0, 0, 0)
                expected = any(
                    after < rowids[o.call_id] < rowids[r.call_id] and (o.tenant, o.session) == (r.tenant, r.session)
                    for o in held
                )
                assert look(row, after) is expected
        shown = {(row[1], row[0]): row for row in connection.execute("SELECT * FROM sessions")}
        for whose, row in shown.items():
            assert connection.execute(ONE_SESSION, whose).fetchall() == [row]
        named = connection.execute("SELECT tenant, session_id, calls, model FROM sessions").fetchall()
    counted = {whose: Counter(r.model for r in held if (r.tenant, r.session) == whose) for whose in last}
    usual = {whose: min(models, key=lambda name: (-models[name], name)) for whose, models in counted.items()}
    assert {(t, s): (calls, model) for t, s, calls, model in named} == {
        whose: (models.total(), usual[whose]) for whose, models in counted.items()
    }


@settings(max_examples=25, deadline=None)
@given(WHOSE, st.integers(1, 9), st.integers(1, 5), st.integers(0, 10))
def test_sessions_are_found_whole_in_any_run(
    whose: list[tuple[str, str]], batch: int, run_rows: int, forgotten: int
) -> None:
    found = made(whose)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        asyncio.run(played(path, found, batch, run_rows, forgotten))
        check(path)


def test_runs_are_used_and_grow_with_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / FILE
    found = made([("t", "a")] * 400)
    asyncio.run(played(path, found, 1, 2, 0))
    with closing(sqlite3.connect(path)) as connection:
        sizes = [row[0] for row in connection.execute("SELECT count(*) FROM receipts GROUP BY run ORDER BY run")]
        runs = [row[0] for row in connection.execute("SELECT run FROM receipt_runs")]
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT 1 FROM receipts WHERE {of_session()}",
            ("t", "a"),
        ).fetchall()
        one = connection.execute(f"EXPLAIN QUERY PLAN {ONE_SESSION}", ("t", "a")).fetchall()
    assert sizes[:64] == [2] * 64
    assert sizes[-2] > 4
    assert runs == sorted(set(runs))
    assert len(runs) == len(sizes) < 150
    assert "receipts_session (run=? AND tenant=? AND session=?)" in plan[0][3]
    (how,) = [step[3] for step in one if "receipts" in step[3] and "COVERING" not in step[3]]
    assert "receipts_session (run=? AND tenant=? AND session=?)" in how, "plain SQL asks for one session by the index"


def test_a_ledger_from_before_the_runs_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / FILE
    steps = sorted(
        entry.name for entry in files("pennyweight.stores").joinpath("sql").iterdir() if entry.name.endswith(".sql")
    )
    before = steps[: steps.index("0020_session_runs.sql")]
    found = made([("t", "a"), ("t", "b"), ("u", "a")] * 5)
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in before:
            connection.executescript(files("pennyweight.stores").joinpath("sql", name).read_text("utf-8"))
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES (?)", (len(before),))
    old = tmp_path / "newer" / FILE
    asyncio.run(played(old, found, 4, 4, 0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ATTACH ? AS newer", (str(old),))
        columns = [row[1] for row in connection.execute("PRAGMA table_info(receipts)")]
        assert "run" not in columns
        names = ", ".join(columns)
        connection.execute(f"INSERT INTO receipts ({names}) SELECT {names} FROM newer.receipts WHERE at < 8")
    asyncio.run(played(path, found, 4, 4, 0))  # those that are there already stay as they are
    check(path)
    with closing(sqlite3.connect(path)) as connection:
        runs = connection.execute("SELECT run, count(*) FROM receipts GROUP BY run").fetchall()
    assert runs == [(0, 8), (2, 4), (3, 3)]
    assert [r.call_id for r in receipts(path)] == [r.call_id for r in found]
