"""Ledgers add up: what a report says is the exact sum of the receipts, however they are grouped."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Receipt, Step, Verdict
from pennyweight.ledger.reading import receipts
from pennyweight.ledger.report import BY, Query, summary
from pennyweight.request import Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

# Large enough that a few of them pass 2^63 pico-dollars, where SQLite's own sum() raises an error.
PICO = st.one_of(st.integers(0, 10**7), st.integers(2**62 - 10**7, 2**62))
NAMES = st.sampled_from(["", "a", "b", "ünïcode 🪙", "x' OR 1=1 --"])
USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 10**12),
    cache_read_tokens=st.integers(0, 10**12),
    output_tokens=st.integers(0, 10**6),
    counted=st.booleans(),
)
STEPS = st.builds(
    Step,
    optimizer=st.sampled_from(["cache", "router"]),
    verdict=st.sampled_from(list(Verdict)),
    saving=PICO,
    spent=st.integers(0, 10**9),
)


@st.composite
def some_receipts(draw: st.DrawFn) -> list[Receipt]:
    found = []
    for n in range(draw(st.integers(0, 12))):
        pricing = draw(st.sampled_from(["priced", "unpriced", "local", "subscription", "free"]))
        known = pricing not in ("unpriced", "subscription")
        receipt = sample_receipt(
            f"call_{n}",
            at=draw(st.floats(0, 4e9)),
            tenant=draw(NAMES),
            session=draw(NAMES),
            agent=draw(NAMES),
            skill=draw(NAMES),
            usage=draw(st.none() | USAGES),
            cost=draw(PICO) if known else None,
            baseline=draw(PICO) if known else None,
            spent=draw(st.integers(0, 10**9)),
            pricing=pricing,
            basis=draw(st.sampled_from(["", "computed", "estimated", "measured"])),
            replayed=draw(st.booleans()),
            trail=tuple(draw(st.lists(STEPS, max_size=3))),
            added_s=draw(st.integers(0, 10**6)) / 10**6,
        )
        found.append(receipt)
    return found


@settings(max_examples=40, deadline=None)
@given(some_receipts())
def test_report_totals_are_the_exact_sums_of_the_receipts(given_receipts: list[Receipt]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        write(path, given_receipts)
        assert list(receipts(path)) == given_receipts
        with_money = [r for r in given_receipts if r.cost is not None and r.baseline is not None]
        used = [r.usage for r in given_receipts if r.usage is not None and not r.replayed]
        for by in BY:
            result = summary(path, Query(by=by))
            for total in (result.total, msgspec.structs.replace(result.total, **sums(result.lines))):
                assert total.calls == len(given_receipts)
                assert total.cost == sum(r.cost for r in with_money)
                assert total.baseline == sum(r.baseline for r in with_money)
                assert total.spent == sum(r.spent for r in with_money)
                for word in ("measured", "computed", "estimated"):
                    wanted = sum(r.baseline - r.cost for r in with_money if r.basis == word)
                    assert getattr(total, f"saved_{word}") == wanted
                assert total.input_tokens == sum(u.input_tokens for u in used)
                assert total.output_tokens == sum(u.output_tokens for u in used)
        steps = [step for r in given_receipts for step in r.trail]
        for earned in result.optimizers:
            mine = [step for step in steps if step.optimizer == earned.optimizer]
            assert earned.asked == len(mine)
            assert earned.saving == sum(step.saving for step in mine if step.verdict is Verdict.ACCEPTED)
            assert earned.spent == sum(step.spent for step in mine)
        assert sum(u.calls for u in result.unpriced) == sum(r.pricing == "unpriced" for r in given_receipts)


def sums(lines) -> dict[str, int]:
    fields = ("calls", "cost", "baseline", "spent", "saved_measured", "saved_computed", "saved_estimated")
    return {name: sum(getattr(line, name) for line in lines) for name in (*fields, "input_tokens", "output_tokens")}


def write(path: Path, given_receipts: list[Receipt]) -> None:
    async def run() -> None:
        database = Database(path)
        try:
            await database.read(lambda connection: None)
            await SQLiteLedger(database).append(given_receipts)
        finally:
            await database.close()

    asyncio.run(run())
