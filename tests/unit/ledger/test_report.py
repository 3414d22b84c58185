"""Reports: groups, spans, percentiles, and what plain SQL on the views answers."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pennyweight.call import Receipt, Step, Verdict
from pennyweight.ledger.flat import line_json, summary_json
from pennyweight.ledger.reading import receipt
from pennyweight.ledger.report import Query, summary
from pennyweight.request import Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

DOLLAR = 10**12
DOCS = Path(__file__).parents[3] / "docs"


def ledger(folder: Path, found: Iterable[Receipt]) -> Path:
    async def write() -> None:
        database = Database(folder / FILE)
        try:
            await SQLiteLedger(database).append(list(found))
        finally:
            await database.close()

    asyncio.run(write())
    return folder / FILE


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def plain(call_id: str, cost: int, **changes) -> Receipt:
    """A call that nobody changed."""
    same = {"baseline": cost, "spent": 0, "basis": "", "trail": (), "usage": Usage(100, 40, 0, 0, 10)}
    return sample_receipt(call_id, cost=cost, **{**same, **changes})


def test_a_ledger_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / FILE
    result = summary(path, Query())
    assert (result.lines, result.total.calls) == ((), 0)
    assert receipt(path, "a") is None
    assert not path.exists()


def test_days_weeks_and_months_are_utc_and_weeks_begin_on_monday(tmp_path: Path) -> None:
    times = ("2026-11-01T23:59:59.9", "2026-11-02T00:00:00", "2026-11-08T23:59:59", "2026-11-09T00:00:00")
    path = ledger(tmp_path, (plain(str(n), DOLLAR, at=at(time)) for n, time in enumerate(times)))
    keys = {
        by: [(line.key, line.calls) for line in summary(path, Query(by=by)).lines] for by in ("day", "week", "month")
    }
    assert keys == {
        "day": [("2026-11-01", 1), ("2026-11-02", 1), ("2026-11-08", 1), ("2026-11-09", 1)],
        "week": [("2026-10-26", 1), ("2026-11-02", 2), ("2026-11-09", 1)],
        "month": [("2026-11", 4)],
    }


def test_a_span_includes_its_start_and_not_its_end(tmp_path: Path) -> None:
    path = ledger(tmp_path, (plain(str(n), DOLLAR, at=float(n)) for n in range(10)))
    assert summary(path, Query(since=3.0, until=7.0)).total.calls == 4


def test_a_tenant_sees_its_own_calls_only(tmp_path: Path) -> None:
    path = ledger(tmp_path, [plain("a", DOLLAR, tenant="acme"), plain("b", DOLLAR, tenant="acme' OR '1'='1")])
    assert summary(path, Query(tenant="acme")).total.calls == 1
    assert summary(path, Query(tenant="nobody")).total.calls == 0


def test_the_dearest_group_comes_first(tmp_path: Path) -> None:
    path = ledger(tmp_path, [plain("a", 1, model="x"), plain("b", 3, model="y"), plain("c", 1, model="x")])
    assert [line.key for line in summary(path, Query(by="model")).lines] == ["y", "x"]


def test_percentiles_are_by_nearest_rank_and_the_total_is_of_all_calls(tmp_path: Path) -> None:
    found = [plain(str(n), 0, added_s=n / 1000, agent="a" if n <= 100 else "b") for n in range(1, 201)]
    result = summary(ledger(tmp_path, found), Query(by="agent"))
    assert {line.key: (line.added_p50_ms, line.added_p99_ms) for line in result.lines} == {
        "a": (50.0, 99.0),
        "b": (150.0, 199.0),
    }
    assert (result.total.added_p50_ms, result.total.added_p99_ms) == (100.0, 198.0)


def test_a_replayed_answer_consumed_no_tokens(tmp_path: Path) -> None:
    found = [plain("a", DOLLAR), plain("b", 0, baseline=DOLLAR, replayed=True, basis="computed")]
    total = summary(ledger(tmp_path, found), Query()).total
    assert (total.tokens_used, total.cached_tokens, total.replayed_tokens, total.replayed_calls) == (110, 40, 110, 1)
    assert (total.cost, total.baseline, total.saved, total.saved_computed) == (DOLLAR, 2 * DOLLAR, DOLLAR, DOLLAR)
    assert total.basis == "computed"


def test_a_saving_has_all_the_words_that_it_is_made_of(tmp_path: Path) -> None:
    found = [
        plain("a", 0, baseline=1, basis="computed"),
        plain("b", 0, baseline=2, basis="estimated"),
        plain("c", 0, baseline=4, basis="measured"),
    ]
    total = summary(ledger(tmp_path, found), Query()).total
    assert (total.saved, total.basis) == (7, "measured + computed + estimated")


def test_unpriced_and_subscription_calls_are_apart_from_the_money(tmp_path: Path) -> None:
    nothing = {"baseline": None, "trail": (), "usage": Usage(100, 0, 0, 0, 10)}
    found = [
        plain("a", DOLLAR, model="known"),
        sample_receipt("b", cost=None, pricing="unpriced", model="new", target_model="new", spent=7, **nothing),
        sample_receipt("c", cost=None, pricing="subscription", model="plan", **nothing),
    ]
    result = summary(ledger(tmp_path, found), Query(by="model"))
    total = result.total
    assert (total.cost, total.unpriced_calls, total.subscription_calls, total.subscription_tokens) == (
        DOLLAR,
        1,
        1,
        110,
    )
    assert [(u.model, u.calls, u.tokens, u.spent) for u in result.unpriced] == [("new", 1, 110, 7)]
    costs = {line.key: line_json(line)["cost_pico"] for line in result.lines}
    assert costs == {"known": DOLLAR, "new": None, "plan": None}


def test_each_optimizer_is_told_apart(tmp_path: Path) -> None:
    trail = (
        Step("cache", Verdict.ABSTAINED),
        Step("router", Verdict.SHADOWED, 5, 1),
        Step("layout", Verdict.ACCEPTED, 3, 1),
    )
    found = [plain("a", 0, trail=trail), plain("b", 0, trail=(*trail[:2], Step("layout", Verdict.FAILED)))]
    earned = {e.optimizer: e for e in summary(ledger(tmp_path, found), Query()).optimizers}
    assert (earned["cache"].asked, earned["cache"].accepted) == (2, 0)
    assert (earned["router"].shadowed, earned["router"].shadow_saving, earned["router"].saving) == (2, 10, 0)
    layout = earned["layout"]
    assert (layout.accepted, layout.failed, layout.saving, layout.spent) == (1, 1, 3, 1)


def test_a_gateway_may_write_while_a_report_is_read(tmp_path: Path) -> None:
    path = ledger(tmp_path, [plain("a", DOLLAR)])
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM receipts")
        assert summary(path, Query()).total.calls == 1
        writer.execute("ROLLBACK")


def test_a_ledger_on_a_medium_without_writing_can_be_read(tmp_path: Path) -> None:
    path = ledger(tmp_path, [plain("a", DOLLAR)])
    assert not path.with_name(FILE + "-wal").exists()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert summary(path, Query()).total.calls == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_summary_as_json_says_how_a_saving_is_known(tmp_path: Path) -> None:
    path = ledger(tmp_path, [plain("a", DOLLAR, baseline=3 * DOLLAR, basis="estimated")])
    total = summary_json(summary(path, Query()))["total"]
    assert (total["saved_usd"], total["saved_pico"], total["saved_basis"]) == (2.0, 2 * DOLLAR, "estimated")


# --- plain SQL --------------------------------------------------------------------------------------------


def rows(path: Path, sql: str) -> list[dict[str, object]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def test_the_view_of_sessions(tmp_path: Path) -> None:
    found = [
        plain("a", DOLLAR, session="s", at=at("2026-11-01T10:00:00"), model="rare"),
        plain("b", DOLLAR, session="s", at=at("2026-11-01T11:00:00"), model="usual", baseline=2 * DOLLAR),
        plain("c", DOLLAR, session="s", at=at("2026-11-01T12:00:00"), model="usual"),
        plain("d", DOLLAR, session="s", tenant="other"),
    ]
    first, _ = rows(ledger(tmp_path, found), "SELECT * FROM sessions ORDER BY tenant")
    wanted = {
        "session_id": "s", "tenant": "acme", "agent": "main", "created_at": "2026-11-01 10:00:00",
        "last_at": "2026-11-01 12:00:00", "model": "usual", "calls": 3, "tokens_used": 330, "input_tokens": 300,
        "cached_tokens": 120, "output_tokens": 30, "cost": 3.0, "baseline": 4.0, "saved": 1.0,
        "cost_pico": 3 * DOLLAR, "baseline_pico": 4 * DOLLAR, "saved_pico": DOLLAR, "unpriced_calls": 0,
    }  # fmt: skip
    assert {name: first[name] for name in wanted} == wanted


def test_sums_beyond_64_bits_do_not_fail_in_the_views(tmp_path: Path) -> None:
    path = ledger(tmp_path, (plain(str(n), 2**62 + n) for n in range(8)))
    (row,) = rows(path, "SELECT * FROM sessions")
    assert row["cost"] == pytest.approx(8 * 2**62 / 1e12)
    assert row["cost_pico"] == pytest.approx(8 * 2**62)
    assert summary(path, Query()).total.cost == 8 * 2**62 + 28


def test_the_view_of_skill_invocations(tmp_path: Path) -> None:
    found = [plain("a", DOLLAR, skill="mail"), plain("b", DOLLAR, skill="")]
    (row,) = rows(ledger(tmp_path, found), "SELECT * FROM skill_invocations")
    assert (row["skill_name"], row["call_id"], row["tokens_used"], row["cost"]) == ("mail", "a", 110, 1.0)


QUERIES = re.findall(r"```sql\n(.*?)```", (DOCS / "ledger.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("sql", QUERIES)
def test_every_query_in_the_documentation_answers(tmp_path: Path, sql: str) -> None:
    found = [sample_receipt("a"), sample_receipt("b", cost=5, baseline=9, trail=())]
    assert rows(ledger(tmp_path, [*found, sample_receipt("c", tenant="local", session="conv-42")]), sql)


def test_the_documentation_has_queries() -> None:
    assert len(QUERIES) >= 8
