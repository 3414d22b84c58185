"""The book of cache hits: what is counted, kept over failures, and told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.call import Outcome, Receipt, Step, Verdict
from pennyweight.errors import StoreError
from pennyweight.hits import Audit, Pair, looked
from pennyweight.ledger.hits import HitBook, HitLine, hit_lines, summed
from pennyweight.request import Done, Operation, Usage
from pennyweight.stores.sqlite import FILE, Database
from pennyweight.testing.backend import make_call

NOW = 1_790_000_000.0
USAGE = Usage(input_tokens=90, output_tokens=10)


def finished(
    cache: str = "exact_cache",
    tier: str = "memory",
    *,
    verdict: Verdict = Verdict.ACCEPTED,
    tenant: str = "local",
    call_id: str = "c",
    key: str = "",
) -> tuple[Receipt, Outcome]:
    """A call of which `cache` said so, as the clerk tells it."""
    call = make_call(b'{"model":"m"}', tenant=tenant, call_id=call_id).note(Step(cache, verdict))
    if cache != "coalesce":
        looked(call, cache, tier, key)
    hit = verdict is Verdict.ACCEPTED
    outcome = Outcome(call, Done(USAGE, "stop"), 200, cache if hit else "p")
    receipt = Receipt(
        call_id=call_id, at=NOW, tenant=tenant, session="", agent="", task="", skill="", housekeeping="",
        wire="openai_chat", operation=Operation.GENERATE, provider="p", model="m", target_model="m", usage=USAGE,
        cost=0 if hit else 3_000_000, baseline=3_000_000, spent=0, pricing="priced", trail=call.trail, status=200,
        finish_reason="stop", replayed=hit, answered_by=outcome.answered_by,
    )  # fmt: skip
    return receipt, outcome


def book_of(tmp_path: Path, work: Callable[[HitBook], Any], **settings: Any) -> list[HitLine]:
    """What stands in the book after `work`."""

    async def run() -> None:
        database = Database(tmp_path / FILE)
        book = HitBook(database, FakeClock(), **settings)
        work(book)
        await book.flush()
        await database.close()

    asyncio.run(run())
    return hit_lines(tmp_path / FILE)


def test_hits_misses_and_money_by_store(tmp_path: Path) -> None:
    def work(book: HitBook) -> None:
        for _ in range(3):
            book(*finished())
        book(*finished(tier="redis"))
        book(*finished(tier="", verdict=Verdict.ABSTAINED))

    lines = book_of(tmp_path, work)
    assert [(line.tier, line.looks, line.hits) for line in lines] == [("memory", 3, 3), ("redis", 1, 1), ("", 1, 0)]
    assert [(line.saved, line.tokens) for line in lines] == [(9_000_000, 300), (3_000_000, 100), (0, 0)]
    (whole,) = summed(lines, ("cache",))
    assert (whole.looks, whole.hits, whole.hit_rate) == (5, 4, 0.8)
    assert lines[0].route == "p/m"


def test_a_cache_that_only_watches_has_no_hits(tmp_path: Path) -> None:
    (line,) = book_of(tmp_path, lambda book: book(*finished(verdict=Verdict.SHADOWED)))
    assert (line.looks, line.hits, line.shadowed, line.saved) == (1, 0, 1, 0)


def test_calls_that_no_cache_looked_at_are_not_counted(tmp_path: Path) -> None:
    receipt, outcome = finished(tier="", verdict=Verdict.ABSTAINED)
    outcome.call.facts.clear()
    assert book_of(tmp_path, lambda book: book(receipt, outcome)) == []


def test_an_answer_that_was_shared_in_flight_is_a_hit(tmp_path: Path) -> None:
    (line,) = book_of(tmp_path, lambda book: book(*finished("coalesce")))
    assert (line.cache, line.tier, line.hits, line.saved) == ("coalesce", "in flight", 1, 3_000_000)


def test_figures_are_told_by_the_name_of_the_route(tmp_path: Path) -> None:
    (line,) = book_of(tmp_path, lambda book: book(*finished()), route=lambda call: "gpt-*")
    assert line.route == "gpt-*"


def test_two_flushes_add_up(tmp_path: Path) -> None:
    book_of(tmp_path, lambda book: book(*finished()))
    (line,) = book_of(tmp_path, lambda book: book(*finished()))
    assert (line.looks, line.saved) == (2, 6_000_000)


def test_tenants_are_told_apart(tmp_path: Path) -> None:
    book_of(tmp_path, lambda book: [book(*finished(tenant=name)) for name in ("a", "b", "b")])
    assert [(line.tenant, line.hits) for line in hit_lines(tmp_path / FILE)] == [("b", 2), ("a", 1)]
    assert [line.tenant for line in hit_lines(tmp_path / FILE, tenant="a")] == ["a"]


def test_days_before_are_left_out(tmp_path: Path) -> None:
    book_of(tmp_path, lambda book: book(*finished()))
    assert len(hit_lines(tmp_path / FILE, since=NOW)) == 1
    assert hit_lines(tmp_path / FILE, since=NOW + 2 * 86_400) == []


def test_no_ledger_has_no_lines(tmp_path: Path) -> None:
    assert hit_lines(tmp_path / FILE) == []


def test_the_valid_hit_rate_is_by_audits_and_bounded(tmp_path: Path) -> None:
    def work(book: HitBook) -> None:
        for _ in range(10):
            book(*finished())
        for number in range(100):
            book.audited(Audit("exact_cache", valid=number >= 3, route="p/m", tier="memory", call_id=str(number)))
        book.audited(Audit("exact_cache", valid=False, route="p/m", tier="memory", source="expired", call_id="old"))

    (line,) = book_of(tmp_path, work)
    assert (line.audited, line.wrong, line.compared, line.changed) == (100, 3, 1, 1)
    assert line.valid_hit_rate == pytest.approx(0.97)
    assert line.wrong_at_most == pytest.approx(0.0757, abs=1e-4)
    assert line.valid_at_least == pytest.approx(1 - 0.0757, abs=1e-4)


def test_without_audits_nothing_is_said_of_validity(tmp_path: Path) -> None:
    (line,) = book_of(tmp_path, lambda book: book(*finished()))
    assert (line.valid_hit_rate, line.valid_at_least, line.wrong_at_most, line.wrong_share) == (None, None, 1.0, None)


def test_what_callers_report_counts_where_it_is_worse(tmp_path: Path) -> None:
    def work(book: HitBook) -> None:
        for _ in range(4):
            book(*finished())
        book.audited(Audit("exact_cache", valid=False, route="p/m", tier="memory", source="feedback", call_id="1"))
        book.audited(Audit("exact_cache", valid=False, route="p/m", tier="memory", source="feedback", call_id="2"))
        # The same caller thinks better of it.
        book.audited(Audit("exact_cache", valid=True, route="p/m", tier="memory", source="feedback", call_id="2"))

    (line,) = book_of(tmp_path, work)
    assert (line.rated, line.reported, line.valid_hit_rate) == (2, 1, 0.75)


def test_the_last_pairs_are_kept_apart_by_tenant_and_never_on_disk(tmp_path: Path) -> None:
    secret = "what only alice may see"

    async def run() -> None:
        database = Database(tmp_path / FILE)
        book = HitBook(database, FakeClock())
        for number in range(30):
            pair = Pair(f"{secret} {number}", "fresh" * 1_000, "kept")
            book.audited(Audit("exact_cache", valid=False, tenant="alice", call_id=str(number), pair=pair))
        book.audited(Audit("exact_cache", valid=True, tenant="bob"))
        await book.flush()
        await database.close()
        assert [kept.pair.asked for kept in book.pairs("alice")[:2]] == [f"{secret} 29", f"{secret} 28"]
        assert len(book.pairs("alice")) == 20
        assert len(book.pairs("alice")[0].pair.answer) == 2_000
        assert book.pairs("bob") == []
        assert book.tenants() == ["alice"]

    asyncio.run(run())
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_audits_without_a_call_are_each_counted(tmp_path: Path) -> None:
    (line,) = book_of(tmp_path, lambda book: [book.audited(Audit("semantic_cache", valid=True)) for _ in range(3)])
    assert line.audited == 3


def test_a_hit_is_remembered_with_its_key(tmp_path: Path) -> None:
    book = HitBook(Database(tmp_path / FILE), FakeClock())
    book(*finished(call_id="c1", key="exact/k", tenant="t"))
    book(*finished(call_id="c2", verdict=Verdict.ABSTAINED, tier=""))
    served = book.served("c1")
    assert served is not None
    assert (served.key, served.tenant, served.cache) == ("exact/k", "t", "exact_cache")
    assert book.served("c2") is None


class Failing:
    """Rows that are down until told otherwise."""

    def __init__(self, database: Database) -> None:
        self.down = True
        self._database = database

    async def read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return await self._database.read(work)

    async def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self.down:
            raise StoreError("down")
        return await self._database.write(work)


def test_nothing_is_lost_or_counted_twice_while_the_database_is_down(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / FILE)
        rows = Failing(database)
        book = HitBook(rows, FakeClock())
        book(*finished())
        book.audited(Audit("exact_cache", valid=True, route="p/m", tier="memory", call_id="a"))
        with pytest.raises(StoreError):
            await book.flush()
        book(*finished())
        rows.down = False
        await book.flush()
        await book.flush()
        await database.close()

    asyncio.run(run())
    (line,) = hit_lines(tmp_path / FILE)
    assert (line.looks, line.hits, line.audited) == (2, 2, 1)


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / FILE)
        book = HitBook(database, FakeClock())
        book(*finished())
        await book.flush()
        await book.forget(NOW + 3 * 86_400)
        await database.close()

    asyncio.run(run())
    assert hit_lines(tmp_path / FILE) == []


def test_many_models_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.ledger.hits._GROUPS", 5)
    receipt, outcome = finished()

    def work(book: HitBook) -> None:
        for number in range(20):
            book(msgspec.structs.replace(receipt, model=f"m{number}"), outcome)

    assert len(book_of(tmp_path, work)) == 5
