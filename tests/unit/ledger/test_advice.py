"""Advice: every rule on the traffic it is for, and silence on healthy traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.effort import within

from pennyweight.call import Receipt, Step, Verdict
from pennyweight.ledger.advice import Finding, Queue, Settings, Window, advise, metrics, read
from pennyweight.ledger.advice.window import DAY_S
from pennyweight.money import PicoUSD
from pennyweight.request import Charge, Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

NOW = 1_800_000_000.0
MICRO = 10**6  # PicoUSD
DOLLAR = 10**12


# PicoUSD a token: input, cache read, output.
PRICES = {"opus": (5 * MICRO, MICRO // 2, 25 * MICRO), "haiku": (MICRO, MICRO // 10, 5 * MICRO), "flat": (1, 1, 1)}
PRICES["sonnet"] = (3 * MICRO, 3 * MICRO // 10, 15 * MICRO)


class Book:
    def cost(self, charge: Charge) -> PicoUSD | None:
        if charge.model not in PRICES:
            return None
        plain, read, output = PRICES[charge.model]
        u = charge.usage
        return u.uncached_tokens * plain + u.cache_read_tokens * read + u.output_tokens * output


def call(n: int, *, age_s: float = 3600.0, usage: Usage | None = None, **changes) -> Receipt:
    """A quick, short, untouched call; its cost from the Book."""
    usage = usage or Usage(1000, 0, 0, 0, 100)
    model = changes.pop("target_model", "opus")
    cost = Book().cost(Charge("anthropic", model, usage, NOW))
    same = {
        "at": NOW - age_s + n / 1000,
        "session": f"s-{n}",
        "model": model,
        "target_model": model,
        "usage": usage,
        "cost": cost,
        "baseline": cost,
        "spent": 0,
        "basis": "",
        "trail": (),
        "finish_reason": "tool_use",
        "pricing": "priced" if cost is not None else "unpriced",
    }
    return sample_receipt(f"call-{n}", **{**same, **changes})


def ledger(folder: Path, receipts: Iterable[Receipt]) -> Path:
    async def write() -> None:
        database = Database(folder / FILE)
        try:
            await SQLiteLedger(database).append(list(receipts))
        finally:
            await database.close()

    asyncio.run(write())
    return folder / FILE


def advice(folder: Path, receipts: Iterable[Receipt], **settings) -> dict[str, Finding]:
    length_s = settings.pop("length_s", DAY_S)
    window = read(ledger(folder, receipts), now=NOW, length_s=length_s, settings=Settings(**settings))
    found = advise(window, Book(), Settings(**settings))
    assert len({f.id for f in found}) == len(found)
    return {f.code: f for f in found}


def test_healthy_traffic_gets_no_advice(tmp_path: Path) -> None:
    """Two agents that cache well, one dear and one cheap model, a few wakes in a session of their own."""
    warm = Usage(20_000, 19_000, 1_000, 0, 200)
    found = [call(n, session=f"s{n % 3}", agent="main", usage=warm) for n in range(60)]
    found += [call(100 + n, session="job", agent="job", target_model="haiku", usage=warm) for n in range(60)]
    found += [call(200 + n, session="hb", agent="main", housekeeping="heartbeat", usage=warm) for n in range(2)]
    assert advice(tmp_path, found) == {}


def test_a_ledger_that_is_not_there_gives_no_advice(tmp_path: Path) -> None:
    assert advise(read(tmp_path / FILE, now=NOW), Book()) == ()


def test_a_slow_model(tmp_path: Path) -> None:
    found = [call(n, latency_s=8.0, ttft_s=1.0, usage=Usage(1000, 0, 0, 0, 700)) for n in range(20)]
    finding = advice(tmp_path, found)["slow_model"]
    assert finding.id == "slow_model:anthropic/opus"
    assert (finding.evidence["mean_s"], finding.evidence["over_bound"]) == (8.0, 20)
    assert finding.evidence["output_tokens_per_s"] == 100.0
    assert "rename" in finding.setting
    assert (finding.cost, finding.basis) == (None, "")


def test_where_the_time_goes_decides_the_remedy(tmp_path: Path) -> None:
    for name, times, word in (
        ("thinks", {"latency_s": 8.0, "ttft_s": 7.0}, "reasoning"),
        ("ours", {"latency_s": 8.0, "ttft_s": 7.0, "added_s": 5.0}, "gateway"),
    ):
        (tmp_path / name).mkdir()
        found = [call(n, **times) for n in range(20)]
        assert word in advice(tmp_path / name, found)["slow_model"].remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_s": 5.0},
        {"latency_s": 9.0, "replayed": True},
        {"latency_s": 9.0, "status": 500, "error": "Overloaded"},
    ],
)
def test_not_slow(tmp_path: Path, changes) -> None:
    assert "slow_model" not in advice(tmp_path, [call(n, **changes) for n in range(30)])


def test_many_sessions_over_their_budget_are_counted(tmp_path: Path) -> None:
    found = [call(n, session=f"s{n}", cost=(11 + n) * DOLLAR, baseline=0) for n in range(25)]
    window = read(ledger(tmp_path, found), now=NOW)
    told = [f for f in advise(window, Book()) if f.code == "session_over_budget"]
    assert [f.evidence["cost_pico"] for f in told] == [(11 + n) * DOLLAR for n in range(24, 4, -1)]
    assert "5 more sessions" in told[-1].detail


def test_few_calls_say_nothing(tmp_path: Path) -> None:
    assert "slow_model" not in advice(tmp_path, [call(n, latency_s=60.0) for n in range(19)])


def conversation(first: int, calls: int, *, read_share: float, gap_s: float = 60.0, **changes) -> list[Receipt]:
    """One session that grows by nothing: each prompt could be read whole."""
    usage = Usage(10_000, round(10_000 * read_share), 0, 0, 100)
    return [
        call(first + n, session=f"c{first}", age_s=20_000 - n * gap_s, usage=usage, **changes) for n in range(calls)
    ]


def test_a_prompt_cache_that_is_hardly_read(tmp_path: Path) -> None:
    finding = advice(tmp_path, conversation(0, 41, read_share=0.1))["low_prompt_cache_hits"]
    assert finding.evidence == {"calls": 40, "shareable_tokens": 400_000, "read_tokens": 40_000, "hit_share": 0.1}
    # 360,000 tokens at 5 instead of half a micro-dollar, in a window of one day.
    assert (finding.cost, finding.basis) == (360_000 * (5 * MICRO - MICRO // 2), "estimated")
    assert finding.setting == '[[optimizers]]\nuse = "prompt_cache"'


def test_where_the_gateway_looks_after_the_marks_the_prompts_are_to_blame(tmp_path: Path) -> None:
    asked = (Step("prompt_cache", Verdict.ABSTAINED),)
    finding = advice(tmp_path, conversation(0, 41, read_share=0.1, trail=asked))["low_prompt_cache_hits"]
    assert "cache_control" in finding.setting
    assert "prompts themselves change" in finding.remedy


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("a fifth is read", {"read_share": 0.2}),
        ("the cache had forgotten", {"read_share": 0.0, "gap_s": 301.0}),
        ("a read costs as much", {"read_share": 0.0, "target_model": "flat"}),
    ],
)
def test_a_prompt_cache_that_is_not_to_blame(tmp_path: Path, why: str, changes) -> None:
    assert "low_prompt_cache_hits" not in advice(tmp_path, conversation(0, 41, **changes))


def test_first_calls_of_sessions_cannot_be_read_from_a_cache(tmp_path: Path) -> None:
    found = [call(n, usage=Usage(10_000, 0, 0, 0, 10)) for n in range(50)]
    assert "low_prompt_cache_hits" not in advice(tmp_path, found)


def test_a_response_cache_that_hardly_answers_is_no_more_than_a_remark(tmp_path: Path) -> None:
    asked = (Step("exact_cache", Verdict.ABSTAINED),)
    hit = {"trail": (Step("exact_cache", Verdict.ACCEPTED),), "replayed": True, "answered_by": "exact_cache"}
    found = [call(n, **(hit if n < 10 else {"trail": asked})) for n in range(100)]
    finding = advice(tmp_path, found)["low_response_cache_hits"]
    assert (finding.severity, finding.evidence["hits"], finding.evidence["calls"]) == ("info", 10, 100)
    (tmp_path / "good").mkdir()
    found = [call(n, **(hit if n < 20 else {"trail": asked})) for n in range(100)]
    assert "low_response_cache_hits" not in advice(tmp_path / "good", found)


def alternating(count: int, **changes) -> list[Receipt]:
    return [
        call(
            n,
            session="one",
            age_s=20_000 - n,
            target_model=("opus", "haiku")[n % 2],
            usage=Usage(5_000, 0, 0, 0, 10),
            **changes,
        )
        for n in range(count)
    ]


def test_frequent_switching(tmp_path: Path) -> None:
    finding = advice(tmp_path, alternating(52))["model_switching"]
    assert (finding.evidence["switches"], finding.evidence["tokens_not_cached"]) == (51, 51 * 5_000)
    # 26 to haiku, 25 back to opus.
    assert finding.cost == 5_000 * (26 * (MICRO - MICRO // 10) + 25 * (5 * MICRO - MICRO // 2))
    assert finding.basis == "estimated"
    assert (finding.evidence["sessions"], finding.evidence["most_in_one_session"]) == (1, 51)


def test_fifty_switches_are_not_frequent(tmp_path: Path) -> None:
    assert "model_switching" not in advice(tmp_path, alternating(51))


def test_titles_and_summaries_elsewhere_are_no_switches(tmp_path: Path) -> None:
    found = [
        call(
            n,
            session="one",
            age_s=20_000 - n,
            target_model=("opus", "haiku")[n % 2],
            housekeeping=("", "title")[n % 2],
        )
        for n in range(200)
    ]
    assert "model_switching" not in advice(tmp_path, found)


def test_sessions_of_two_tenants_are_two(tmp_path: Path) -> None:
    found = [
        call(n, session="same", tenant=("a", "b")[n % 2], target_model=("opus", "haiku")[n % 2]) for n in range(200)
    ]
    assert "model_switching" not in advice(tmp_path, found)


def test_heartbeats_that_burn_money(tmp_path: Path) -> None:
    """Work, wake, work again: the wake reads nothing, and the work after it reads everything anew."""
    found = []
    for n in range(10):
        work = Usage(30_000, 0 if n else 30_000, 0, 0, 50)
        wake = Usage(28_000, 0, 0, 0, 10)
        at = {"session": "main", "agent": "main"}
        found.append(call(3 * n, age_s=20_000 - 1800 * n, usage=work, **at))
        found.append(call(3 * n + 1, age_s=19_900 - 1800 * n, usage=Usage(30_000, 30_000, 0, 0, 50), **at))
        found.append(call(3 * n + 2, age_s=18_250 - 1800 * n, usage=wake, housekeeping="heartbeat", **at))
    finding = advice(tmp_path, found)["heartbeats"]
    assert finding.cost == 10 * (28_000 * 5 * MICRO + 10 * 25 * MICRO)
    assert finding.basis == "computed"
    assert finding.evidence["tokens_read_anew_after"] == 9 * 28_000
    assert "isolatedSession" in finding.setting
    assert "lightContext" in finding.setting


def woken(work_reads: int) -> list[Receipt]:
    """Forty calls of which every fifth is a wake; of the others each reads so much of its 20,000 tokens, but the third
    one after a wake reads 5,000 less."""
    found = []
    for n in range(40):
        wake, third = n % 5 == 0, n % 5 == 3
        usage = Usage(20_000, 0 if wake else max(work_reads - 5_000 * third, 0), 0, 0, 10)
        chore = "heartbeat" if wake else ""
        found.append(call(n, session="main", agent="main", age_s=20_000 - 60 * n, usage=usage, housekeeping=chore))
    # and a long conversation without wakes, which shows what is usual for this agent
    steady = Usage(20_000, work_reads, 0, 0, 10)
    return found + [call(100 + n, session="o", agent="main", age_s=9_000 - 60 * n, usage=steady) for n in range(40)]


def test_what_a_wake_spoils_a_few_calls_later_is_told(tmp_path: Path) -> None:
    finding = advice(tmp_path, woken(20_000))["heartbeats"]
    assert finding.evidence["tokens_read_anew_after"] == 8 * 5_000


def test_a_wake_is_not_blamed_for_what_is_never_cached(tmp_path: Path) -> None:
    finding = advice(tmp_path, woken(0))["heartbeats"]
    assert finding.evidence["tokens_read_anew_after"] == 0


def test_the_figures_behind_advice(tmp_path: Path) -> None:
    found = alternating(5) + [call(10 + n, housekeeping="heartbeat", cost=7, baseline=7) for n in range(2)]
    told = metrics(read(ledger(tmp_path, found), now=NOW))
    assert (told.calls, told.model_switches, told.heartbeats, told.heartbeat_cost_pico) == (7, 4, 2, 14)
    assert (told.shareable_tokens, told.shared_tokens) == (20_000, 0)
    assert [(m.model, m.calls, m.mean_s) for m in told.models] == [("opus", 5, 1.5), ("haiku", 2, 1.5)]
    assert metrics(read(tmp_path / "none", now=NOW)).mean_s is None


def test_heartbeats_of_their_own_are_told_to_come_less_often(tmp_path: Path) -> None:
    wakes = [
        call(n, agent="main", session="hb", housekeeping="heartbeat", usage=Usage(8_800, 0, 0, 0, 10)) for n in range(9)
    ]
    finding = advice(tmp_path, wakes)["heartbeats"]
    assert "every" in finding.setting
    assert "isolatedSession" not in finding.setting


def test_heartbeats_on_a_plan_are_told_by_their_tokens(tmp_path: Path) -> None:
    plan = {"cost": None, "baseline": None, "pricing": "subscription", "agent": "main", "session": "main"}
    found = [call(n, housekeeping=("", "heartbeat")[n % 2], **plan) for n in range(20)]
    finding = advice(tmp_path, found)["heartbeats"]
    assert (finding.cost, finding.basis, finding.evidence["share"]) == (None, "", 0.5)


def test_a_session_over_its_budget(tmp_path: Path) -> None:
    found = [call(n, session="long", cost=DOLLAR, baseline=DOLLAR) for n in range(12)]
    finding = advice(tmp_path, found)["session_over_budget"]
    assert (finding.cost, finding.basis) == (2 * DOLLAR, "computed")
    (tmp_path / "off").mkdir()
    assert "session_over_budget" not in advice(tmp_path / "off", found, session_usd=0.0)


def test_sums_beyond_64_bits(tmp_path: Path) -> None:
    found = [call(n, session="long", cost=2**62, baseline=2**62) for n in range(4)]
    assert advice(tmp_path, found)["session_over_budget"].cost == 4 * 2**62 - 10 * DOLLAR


def simple(first: int, count: int, **changes) -> list[Receipt]:
    return [call(first + n, **{"agent": "labels", "finish_reason": "end_turn", **changes}) for n in range(count)]


def test_an_agent_on_a_model_dearer_than_it_needs(tmp_path: Path) -> None:
    found = simple(0, 60) + simple(100, 30, agent="other", target_model="haiku")
    finding = advice(tmp_path, found)["dear_model"]
    assert finding.id == "dear_model:labels//anthropic/opus"
    assert finding.severity == "info"  # nobody knows whether the other one is good enough
    # 1,000 tokens in and 100 out: 7,500 against 1,500 micro-dollars.
    assert (finding.cost, finding.basis) == (60 * 6_000 * MICRO, "estimated")
    assert "Not known" in finding.detail
    assert "experiment" in finding.remedy
    assert 'rename = "haiku"' in finding.setting


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("one calls tools", simple(0, 59) + simple(59, 1, finish_reason="tool_use")),
        ("answers are long", simple(0, 60, usage=Usage(1000, 0, 0, 0, 400))),
        ("some are cut", simple(0, 58) + simple(58, 2, finish_reason="max_tokens")),
        ("summaries must go to a model that obeys", simple(0, 60, housekeeping="compaction")),
        ("too few", simple(0, 49)),
    ],
)
def test_a_dear_model_that_may_be_needed(tmp_path: Path, why: str, found: list[Receipt]) -> None:
    assert "dear_model" not in advice(tmp_path, found + simple(100, 30, agent="other", target_model="haiku"))


def test_no_model_is_proposed_that_the_operator_does_not_use(tmp_path: Path) -> None:
    assert "dear_model" not in advice(tmp_path, simple(0, 60))


def test_no_model_is_proposed_that_is_hardly_cheaper(tmp_path: Path) -> None:
    found = simple(0, 60) + simple(100, 30, agent="other", target_model="sonnet")
    assert "dear_model" not in advice(tmp_path, found)


def test_no_model_is_proposed_whose_answers_fail(tmp_path: Path) -> None:
    found = simple(0, 60) + simple(100, 30, agent="other", target_model="haiku", finish_reason="max_tokens")
    assert "dear_model" not in advice(tmp_path, found)


def test_answers_that_run_away(tmp_path: Path) -> None:
    found = simple(0, 95) + simple(95, 5, finish_reason="max_tokens", usage=Usage(1000, 0, 0, 0, 32_000))
    finding = advice(tmp_path, found)["cut_answers"]
    assert finding.cost == 5 * 32_000 * 25 * MICRO
    assert "output_limit" in finding.setting


def test_answers_that_are_cut_short(tmp_path: Path) -> None:
    found = simple(0, 90) + simple(90, 10, finish_reason="length", usage=Usage(1000, 0, 0, 0, 200))
    assert "raise it" in advice(tmp_path, found)["cut_answers"].remedy


def test_a_model_without_a_price_is_loud(tmp_path: Path) -> None:
    finding = advice(tmp_path, [call(1, target_model="new", provider="lab")])["unpriced"]
    assert '[[prices]]\nprovider = "lab"\nmodel = "new"' in finding.setting


def test_the_queue_of_the_clerk() -> None:
    window = Window(NOW, DAY_S, DAY_S, bounded=False)

    def codes(**changes) -> list[tuple[str, str]]:
        same = {"waiting": 0, "limit": 100, "lost": 0, "delayed": 0, "unlearnt": 0, "trouble": ""}
        return [(f.code, f.severity) for f in advise(window, Book(), queue=Queue(**{**same, **changes}))]

    assert codes() == codes(waiting=49) == codes(delayed=5) == []
    assert codes(waiting=50) == codes(unlearnt=1) == [("queue", "warning")]
    assert codes(lost=1) == codes(trouble="StoreError: disk full") == [("queue", "critical")]


def test_part_of_a_day_is_extrapolated_and_says_so(tmp_path: Path) -> None:
    found = [call(n, session="long", age_s=600, cost=DOLLAR, baseline=DOLLAR) for n in range(12)]
    finding = advice(tmp_path, found, length_s=3600.0)["session_over_budget"]
    assert (finding.cost, finding.basis) == (48 * DOLLAR, "estimated")


def test_a_week_of_a_ledger_two_days_old_is_divided_by_two(tmp_path: Path) -> None:
    found = [call(0, age_s=2 * DAY_S), *(call(n, session="l", cost=DOLLAR, baseline=DOLLAR) for n in range(1, 13))]
    finding = advice(tmp_path, found, length_s=7 * DAY_S)["session_over_budget"]
    assert (finding.cost, finding.basis) == (1 * DOLLAR, "computed")


def test_a_busy_window_is_read_back_only_so_far(tmp_path: Path) -> None:
    path = ledger(tmp_path, [call(n, age_s=3600 - n) for n in range(1000)])
    window = read(path, now=NOW, settings=Settings(newest=100))
    assert window.bounded
    assert 100 <= sum(cell.sums.calls for cell in window.cells) <= 101
    assert window.covered_s == pytest.approx(NOW - (NOW - 3600 + 899), abs=3)
    assert not window.whole_days


def test_receipts_from_the_future_are_left_out(tmp_path: Path) -> None:
    """The clock was set back: what it stamped before is ahead of it now."""
    path = ledger(tmp_path, [call(0, age_s=-7200.0), call(1)])
    assert sum(cell.sums.calls for cell in read(path, now=NOW).cells) == 1


def test_unnamed_sessions_have_no_turns_and_no_budget(tmp_path: Path) -> None:
    found = [call(n, session="", cost=DOLLAR, baseline=DOLLAR, age_s=2000 - n) for n in range(60)]
    assert not {"session_over_budget", "low_prompt_cache_hits", "model_switching"} & set(advice(tmp_path, found))


def test_missing_usage_counts_as_nothing(tmp_path: Path) -> None:
    found = [call(n, session="one", cost=None, baseline=None, pricing="unpriced", age_s=2000 - n) for n in range(30)]
    bare = [r.__class__(**{**{f: getattr(r, f) for f in r.__struct_fields__}, "usage": None}) for r in found]
    assert set(advice(tmp_path, bare)) == {"unpriced"}


def test_worst_first_then_dearest(tmp_path: Path) -> None:
    found = [call(n, session="long", cost=DOLLAR, baseline=DOLLAR) for n in range(12)]
    found += [call(20 + n, session="longer", cost=DOLLAR, baseline=DOLLAR) for n in range(20)]
    window = read(ledger(tmp_path, found), now=NOW)
    queue = Queue(0, 100, 1, 0, 0, "")
    assert [f.id for f in advise(window, Book(), queue=queue)] == [
        "queue",
        "session_over_budget:acme/longer",
        "session_over_budget:acme/long",
    ]


def test_twenty_thousand_calls_take_less_than_seconds(tmp_path: Path) -> None:
    found = (call(n, session=f"s{n % 500}", agent=f"a{n % 7}", age_s=80_000 - n) for n in range(20_000))
    path = ledger(tmp_path, found)
    assert within(5.0, lambda: advise(read(path, now=NOW), Book()))
