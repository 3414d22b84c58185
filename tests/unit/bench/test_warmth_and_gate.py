"""The benches of forecasts and of the gate's own cost: a small run of each, and their arithmetic."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from bench import gate
from bench.sessions import calls_of, plans
from bench.warmth import DOCUMENTED, LEARNING_CALLS, Luck, Pair, Task, Unlucky, figures, perform

from pennyweight.request import Usage
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer


def test_a_small_run_foresees_what_is_billed() -> None:
    task = Task(DOCUMENTED, "safe", 1, 6)
    found = figures([(task, perform(task))])
    assert found["calls"] > 60
    assert found["error_share_after_20"] <= 0.02


def test_errors_count_after_the_first_calls_of_each_model() -> None:
    def pair(model: str, predicted: float, read: int) -> Pair:
        return Pair(model, predicted, predicted, 1.0, Usage(input_tokens=1_000, cache_read_tokens=read))

    wrong = [pair("a", 0, 1_000)] * LEARNING_CALLS
    found = figures([(Task(DOCUMENTED, "safe", 1, 0), [*wrong, *[pair("a", 900, 800)] * 4, *[pair("b", 0, 9)] * 20])])
    assert found["error_share_after_20"] == pytest.approx(0.1)
    assert found["brier"] == 0.0


def test_an_unlucky_provider_counts_and_forgets_in_its_own_way() -> None:
    (plan,) = [plan for plan in plans(30, 2) if plan.client == "messages_marked"][:1]
    calls = calls_of(plan)
    count = BpeTokenizer().count
    usual = PrefixCache(count)
    reads = [usual.account(call.wire, call.body, at=call.at).cache_read_tokens for call in calls]
    for luck, fewer in ((Luck("short", life=0.001), True), (Luck("none", lost=1.0), True), (DOCUMENTED, False)):
        provider = Unlucky(count, luck, 1)
        found = [provider.account(call.wire, call.body, at=call.at).cache_read_tokens for call in calls]
        assert (sum(found) < sum(reads)) is (fewer and sum(reads) > 0), luck
        assert fewer or found == reads


def test_turns_are_timed_behind_a_long_beginning() -> None:
    calls = gate.long_session("chat", 1, start=1_800_000_000.0)
    sizes = [sum(BpeTokenizer().count(str(message)) for message in call.body["messages"]) for call in calls]
    assert sizes[0] > 80_000
    assert max(later - earlier for earlier, later in itertools.pairwise(sizes)) <= 2_500
    samples = asyncio.run(gate.measured(1, 1))
    found = gate.figures(samples)
    assert found["turns"] >= len(gate.CLIENTS) * 4
    assert 0 < found["gate_ms_p50"] <= found["gate_ms_p99"]
