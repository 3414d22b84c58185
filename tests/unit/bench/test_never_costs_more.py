"""The bench that holds sessions with and without us against each other: its material, its sums, what it must see."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bench.adversaries import ADVERSARIES
from bench.cells import Cell, PriceClass, Session, play
from bench.material import default_data, files_in, healthy, recorded, stretched
from bench.never_costs_more import LIST_PRICE, Result, Task, figures, perform, tasks
from bench.sessions import CLIENTS, GAPS, LONGEST_TOKENS, calls_of, plans

from pennyweight.capture.format import Recorded
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer


def _session(client: str, *, gaps: str = "seconds", calls: int = 12) -> list[Recorded]:
    plan = next(plan for plan in plans(60, 3, calls=(calls, calls)) if plan.client == client)
    return calls_of(type(plan)(**{**_fields(plan), "gaps": gaps, "tools": 4, "head": 2_000, "result": (500, 900)}))


def _fields(plan: object) -> dict[str, object]:
    return {name: getattr(plan, name) for name in plan.__struct_fields__}  # type: ignore[attr-defined]


def test_every_client_and_gap_comes_up_and_a_seed_gives_the_same_sessions() -> None:
    made = plans(60, 7)
    assert {plan.client for plan in made} == set(CLIENTS)
    assert {plan.gaps for plan in made} == set(GAPS)
    assert made == plans(60, 7)
    assert calls_of(made[0]) == calls_of(made[0])
    assert all(5 <= plan.calls <= 60 for plan in made)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_made_up_session_grows_by_what_is_new(client: str) -> None:
    calls = _session(client)
    cache = PrefixCache(BpeTokenizer().count)
    usages = [cache.account(call.wire, call.body, at=call.at) for call in calls]
    sizes = [usage.input_tokens for usage in usages]
    assert sizes == sorted(sizes)
    assert sizes[-1] < LONGEST_TOKENS * 1.2
    reads = sum(usage.cache_read_tokens for usage in usages)
    unmarked = client.startswith("messages_unmarked")
    assert (reads == 0) is unmarked or "clock" in client


def test_without_adversaries_nothing_is_lost_in_a_session_that_caches_well() -> None:
    found = play(Cell(LIST_PRICE, "safe"), _session("messages_marked"))
    assert [session.calls for session in found] == [12]
    assert found[0].ratio <= 1.001
    assert found[0].input_before < found[0].before  # output is billed too


@pytest.mark.parametrize("name", sorted(set(ADVERSARIES) - {"mark_last", "unmark"}))
def test_each_adversary_loses_money_where_nothing_stops_it(name: str) -> None:
    (session,) = play(Cell(PriceClass(0.02, 1.25), "safe", name, gate=False), _session("chat", calls=30))
    assert session.accepted > 0
    assert session.ratio != 1.0
    if name in ("sort_tools", "stamp"):
        assert session.ratio > 1.2


def test_adversaries_of_breakpoints_lose_money_where_nothing_stops_them() -> None:
    (marked,) = play(Cell(LIST_PRICE, "safe", "mark_last", gate=False), _session("messages_unmarked_clock", calls=6))
    (unmarked,) = play(Cell(LIST_PRICE, "safe", "unmark", gate=False), _session("messages_marked", calls=6))
    assert marked.accepted
    assert unmarked.accepted
    assert unmarked.ratio > 1.1


def test_the_shipped_recordings_are_played_and_known_for_healthy() -> None:
    (path, *_) = [path for path in files_in(default_data()) if "openclaw" in str(path) and "debug20" in str(path)]
    calls = recorded(path)
    assert healthy(calls)
    wide = stretched(calls, "steady_20min", 1)
    assert not healthy(wide)
    assert wide[-1].at - wide[0].at == pytest.approx(1_200 * (len(wide) - 1))


def test_a_quick_run_covers_levels_adversaries_and_the_missing_gate(tmp_path: Path) -> None:
    todo = tasks([], 1, quick=True)
    assert {task.cell.optimize for task in todo} == {"safe", "max"}
    assert {task.cell.adversary for task in todo} == {"", *ADVERSARIES}
    assert {task.cell.gate for task in todo} == {True, False}
    result = perform(Task(Cell(LIST_PRICE, "safe"), "short", 1, 2))
    assert all(session.calls < 5 for session in result.sessions)


def test_figures_tell_the_worst_session_and_refused_calls() -> None:
    def result(ratio: float, *, calls: int = 9, refused: int = 0, gate: bool = True, adversary: str = "") -> Result:
        cell = Cell(LIST_PRICE, "safe", adversary, gate)
        session = Session("s-1", calls, 1_000, int(1_000 * ratio), 900, 900, refused)
        return Result(Task(cell, "generated"), (session,))

    found = figures(
        [
            result(0.5),
            result(1.3, calls=2),
            result(1.1, refused=1),
            result(2.0, gate=False, adversary="stamp"),
            result(0.9, adversary="stamp"),
        ]
    )
    assert found["worst_ratio"] == 1.1
    assert found["worst_ratio_short"] == 1.3
    assert found["sessions_over"] == 1
    assert found["refused"] == 1
    assert found["lost_without_gate"] == 1.0
    assert found["lost_with_gate"] == 0.0
    assert found["sessions"] == 4


def _of(calls: list[Recorded], model: str) -> list[Recorded]:
    """The session as it would be with another model."""
    return [msgspec.structs.replace(call, body={**call.body, "model": model}) for call in calls]


@pytest.mark.parametrize("gaps", ["seconds", "steady_20min", "steady_3h"])
@pytest.mark.parametrize("client", ["chat", "chat_transient", "chat_clock", "responses"])
def test_where_openai_bills_writes_nothing_gets_dearer(client: str, gaps: str) -> None:
    for price in (PriceClass(0.02, 1.25), LIST_PRICE, PriceClass(0.5, 2.0)):
        (session,) = play(Cell(price, "safe"), _of(_session(client, gaps=gaps), "gpt-5.6-sol"))
        assert session.refused == 0
        assert session.ratio <= 1.001
        if client == "chat_transient" and gaps != "steady_3h":
            assert session.input_after < 0.75 * session.input_before
