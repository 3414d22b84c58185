"""Rollups never drift: whatever was rolled up, forgotten or renumbered, figures are the sums of the receipts."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Receipt, Step, Verdict
from pennyweight.ledger.reading import receipts
from pennyweight.ledger.rolled import DAY_S, HOUR_S, Dimension, Figures, Span, rolled
from pennyweight.request import Usage
from pennyweight.stores.database import migrate
from pennyweight.stores.rollups import Rollups
from pennyweight.stores.salvage import salvage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

DIMENSIONS: tuple[Dimension, ...] = ("provider", "model", "agent", "session", "task", "skill", "tenant")
# Large enough that a few of them pass 2^63 pico-dollars.
PICO = st.one_of(st.integers(0, 10**7), st.integers(2**62 - 10**7, 2**62))
NAMES = st.sampled_from(["", "a", "b", "x' OR 1=1 --"])
USAGES = st.builds(
    Usage, input_tokens=st.integers(0, 10**12), cache_read_tokens=st.just(7), cache_write_1h_tokens=st.just(5)
)
STEPS = st.builds(
    Step,
    optimizer=st.sampled_from(["cache", "router"]),
    verdict=st.sampled_from([Verdict.ACCEPTED, Verdict.SHADOWED, Verdict.ABSTAINED]),
    saving=PICO,
    spent=st.integers(0, 10**9),
)


@st.composite
def receipt(draw: st.DrawFn) -> Receipt:
    priced = draw(st.booleans())
    return sample_receipt(
        f"call_{draw(st.integers(0, 40))}",  # few ids, so that some are written twice
        at=draw(st.integers(0, 8)) * 21_600 + 0.5,  # two days and a bit, in steps of six hours
        tenant=draw(NAMES),
        session=draw(NAMES),
        agent=draw(NAMES),
        model=draw(NAMES),
        skill=draw(NAMES),
        usage=draw(st.none() | USAGES),
        cost=draw(PICO) if priced else None,
        baseline=draw(PICO) if priced else None,
        spent=draw(st.integers(0, 10**9)),
        pricing="priced" if priced else "unpriced",
        basis=draw(st.sampled_from(["", "computed", "estimated", "measured"])),
        replayed=draw(st.booleans()),
        status=draw(st.sampled_from([200, 500])),
        trail=tuple(draw(st.lists(STEPS, max_size=3))),
        latency_s=draw(st.integers(0, 5_000)) / 1000,
    )


ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.lists(receipt(), max_size=12)),
    st.tuples(st.just("roll"), st.integers(1, 10)),
    st.tuples(st.just("forget"), st.integers(0, 9).map(lambda n: n * 21_600.0)),
    st.tuples(st.just("vacuum"), st.none()),
)


def by_hand(found: Iterable[Receipt]) -> Figures:
    names = Figures.__struct_fields__
    sums = dict.fromkeys(names, 0)
    for r in found:
        usage = r.usage or Usage()
        used, money = not r.replayed, r.cost is not None and r.baseline is not None
        saved = r.baseline - r.cost if r.cost is not None and r.baseline is not None else 0
        one = {
            "calls": 1,
            "replayed_calls": r.replayed,
            "failed_calls": r.status >= 400,
            "unpriced_calls": r.pricing == "unpriced",
            "input_tokens": used * usage.input_tokens,
            "cached_tokens": used * usage.cache_read_tokens,
            "written_tokens": used * (usage.cache_write_5m_tokens + usage.cache_write_1h_tokens),
            "output_tokens": used * usage.output_tokens,
            "replayed_tokens": r.replayed * (usage.input_tokens + usage.output_tokens),
            "latency_ms": round(r.latency_s * 1000),
            "cost": r.cost or 0,
            "baseline": r.baseline or 0,
            "spent": r.spent if money else 0,
        }
        if r.basis:
            one[r.basis] = saved
        for name, amount in one.items():
            sums[name] += amount
    return Figures(**sums)


def groups(found: Iterable[Receipt], key: Any) -> dict[Any, Figures]:
    sorted_out: dict[Any, list[Receipt]] = defaultdict(list)
    for r in found:
        sorted_out[key(r)].append(r)
    return {name: by_hand(some) for name, some in sorted_out.items()}


def check(path: Path) -> None:
    held = list(receipts(path))
    with rolled(path) as ledger:
        assert ledger is not None
        for span in (Span(), Span(DAY_S), Span(DAY_S, "a")):
            seen = [r for r in held if r.at >= (span.since or 0) and span.tenant in (None, r.tenant)]
            assert ledger.total(span) == by_hand(seen)
            for step_s in (HOUR_S, DAY_S):
                assert ledger.series(span, step_s) == groups(seen, lambda r, s=step_s: int(r.at) // s * s)
            for name in DIMENSIONS:
                assert dict(ledger.groups(span, name)) == groups(seen, lambda r, n=name: getattr(r, n))
            want = groups(seen, lambda r: (r.tenant, r.session))
            for recent in (True, False):
                told = ledger.sessions(span, 100, recent=recent)
                assert {(tenant, session): sums for tenant, session, sums in told} == want
            steps = [(s.optimizer, s.verdict.value, s) for r in seen for s in r.trail]
            assert {(s.optimizer, s.verdict): (s.steps, s.saving, s.spent) for s in ledger.said(span)} == {
                key: (len(some), sum(s.saving for s in some), sum(s.spent for s in some))
                for key in {step[:2] for step in steps}
                if (some := [step[2] for step in steps if step[:2] == key])
            }


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, max_size=10))
def test_figures_are_those_of_the_receipts(actions: list[tuple[str, Any]]) -> None:
    async def run(path: Path) -> None:
        database = Database(path)
        ledger, rollups = SQLiteLedger(database), Rollups(database)
        try:
            await ledger.append([])
            await database.write(lambda _connection: None)
            for action, value in actions:
                if action == "append":
                    await ledger.append(value)
                elif action == "roll":
                    await rollups.advance(value)
                elif action == "forget":
                    await ledger.forget(value)
                else:
                    with closing(sqlite3.connect(path, isolation_level=None)) as other:
                        other.execute("VACUUM")
                check(path)
            while await rollups.advance():
                pass
            check(path)
        finally:
            await database.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / FILE))


@settings(max_examples=10, deadline=None)
@given(st.lists(receipt(), min_size=45, max_size=60), st.integers(0, 2), st.integers(20, 60))
def test_many_sessions_of_few_agents_are_summed_as_others_are(found: list[Receipt], agents: int, portion: int) -> None:
    made = [
        msgspec.structs.replace(
            one, call_id=f"c{n}", session=f"s{n}", agent=f"a{n % (agents + 1)}", task="", skill="", model=f"m{n % 2}"
        )
        for n, one in enumerate(found)
    ]

    async def run(path: Path) -> None:
        database = Database(path)
        ledger, rollups = SQLiteLedger(database), Rollups(database)
        try:
            await ledger.append(made)
            await rollups.advance(portion)
            check(path)
            await rollups.advance()
            check(path)
            await ledger.forget(50_000.0)
            check(path)
        finally:
            await database.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / FILE))


def test_rollups_of_rows_that_were_renumbered_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def run() -> None:
        database = Database(path)
        ledger, rollups = SQLiteLedger(database), Rollups(database)
        await ledger.append([sample_receipt(f"call_{n}", at=float(n)) for n in range(20)])
        await rollups.advance()
        await ledger.forget(10.0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE receipts SET rowid = rowid - 10")  # as VACUUM may, and some versions do
            assert other.execute("SELECT min(rowid), max(rowid) FROM receipts").fetchone() == (1, 10)
        await ledger.append([sample_receipt(f"later_{n}", at=30.0) for n in range(15)])
        check(path)
        assert await rollups.advance() == 0
        check(path)
        await database.close()

    asyncio.run(run())


def test_what_is_saved_of_a_damaged_ledger_is_summed_anew(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def run() -> None:
        database = Database(path)
        ledger, rollups = SQLiteLedger(database), Rollups(database)
        await ledger.append([sample_receipt(f"call_{n}", at=float(n)) for n in range(20)])
        await rollups.advance()
        await database.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as damaged:
            damaged.execute("DELETE FROM receipts WHERE rowid BETWEEN 5 AND 9")  # a page that cannot be read
        with closing(sqlite3.connect(tmp_path / "fresh.db", isolation_level=None)) as fresh:
            migrate(fresh, tmp_path / "fresh.db")
            salvage(path, fresh)
        check(tmp_path / "fresh.db")

    asyncio.run(run())


class Scripted(Rollups):
    """Rollups of a ledger that grows as told: how many receipts come before each turn (below 0: somebody
    looks as well), and during each portion."""

    def __init__(self, path: Path, turns: Iterable[int], during: Iterable[int] = ()) -> None:
        super().__init__(Database(path), every_s=0.0)
        self.turns, self.during = iter(turns), iter(during)
        self.waiting = 0
        self.seen: list[tuple[str, int]] = []

    async def behind(self) -> int:
        come = next(self.turns, None)
        if come is None:
            raise asyncio.CancelledError
        if come < 0:
            self.look()
        self.waiting += abs(come)
        self.seen.append(("turn", self.waiting))
        return self.waiting

    async def advance(self, portion: int = 1_000) -> int:
        self.waiting = max(self.waiting - portion, 0) + next(self.during, 0)
        self.seen.append(("rolled", self.waiting))
        return self.waiting


def play(rollups: Scripted) -> list[tuple[str, int]]:
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(rollups.run())
    return rollups.seen


def test_while_it_is_busy_rolling_up_waits_until_somebody_looks(tmp_path: Path) -> None:
    seen = play(Scripted(tmp_path / FILE, [900, 900, 1, -1]))
    assert seen == [("turn", 900), ("turn", 1_800), ("turn", 1_801), ("turn", 1_802), ("rolled", 802), ("rolled", 0)]


def test_a_turn_without_calls_is_quiet_and_calls_that_come_again_end_it(tmp_path: Path) -> None:
    seen = play(Scripted(tmp_path / FILE, [4_000, 0, 10, 0], during=[0, 5]))
    assert seen == [
        ("turn", 4_000),
        ("turn", 4_000),
        ("rolled", 3_000),
        ("rolled", 2_005),  # five calls came: the rest waits
        ("turn", 2_015),
        ("turn", 2_015),
        ("rolled", 1_015),
        ("rolled", 15),
    ]


def test_however_busy_it_is_no_more_wait_than_a_look_can_bear(tmp_path: Path) -> None:
    seen = play(Scripted(tmp_path / FILE, [15_000, 6_500, 100], during=[300] * 9))
    assert seen == [
        ("turn", 15_000),
        ("turn", 21_500),
        ("rolled", 20_800),
        ("rolled", 20_100),
        ("rolled", 19_400),
        ("turn", 19_500),
    ]


def test_the_task_rolls_up_what_gathers(tmp_path: Path) -> None:
    path = tmp_path / FILE

    async def run() -> None:
        database = Database(path)
        ledger, rollups = SQLiteLedger(database), Rollups(database, every_s=0.01)
        await ledger.append([sample_receipt(f"call_{n}", at=float(n)) for n in range(2_500)])
        task = asyncio.create_task(rollups.run())
        async with asyncio.timeout(60):
            while await rollups.behind() > 500:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        check(path)
        await database.close()

    asyncio.run(run())
