from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.context import Form, plan, value, window_of


def form(tokens: int, worth: float) -> Form:
    return Form("verbatim", tokens, worth)


def best(parts: list[list[Form]], budget: int) -> float:
    found = [
        sum(f.value for f in chosen) for chosen in itertools.product(*parts) if sum(f.tokens for f in chosen) <= budget
    ]
    return max(found, default=-1.0)


def test_all_stays_where_all_fits() -> None:
    found = plan([[form(10, 1.0), form(1, 0.5)], [form(20, 1.0)]], 30)
    assert found.chosen == (0, 0)
    assert found.fits


def test_the_step_that_gains_most_for_a_token_is_taken() -> None:
    cheap, dear = [form(10, 1.0), form(0, 0.0)], [form(100, 1.0), form(0, 0.0)]
    assert plan([dear, cheap], 50).chosen == (1, 0)


def test_what_cannot_fit_is_as_small_as_it_can_be() -> None:
    found = plan([[form(100, 1.0), form(60, 0.1)], [form(50, 1.0)]], 20)
    assert found.chosen == (1, 0)
    assert not found.fits


def test_of_equal_parts_the_later_stays() -> None:
    part = [form(10, 1.0), form(0, 0.0)]
    assert plan([part, part, part], 10).chosen == (1, 1, 0)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_a_plan_fits_and_is_at_most_one_step_below_the_best(seed: int) -> None:
    rng = random.Random(seed)
    parts = []
    for _ in range(rng.randint(1, 5)):
        top = form(rng.randint(1, 60), rng.random())
        parts.append([top, *(form(rng.randint(0, top.tokens), top.value * rng.random()) for _ in range(3))])
    budget = rng.randint(0, sum(part[0].tokens for part in parts))
    found = plan(parts, budget)
    ideal = best(parts, budget)
    assert found.fits == (ideal >= 0)
    if found.fits:
        assert found.tokens <= budget
        assert found.value >= ideal - max(f.value for part in parts for f in part) - 1e-9


def test_intents_are_worth_more_than_results_and_these_more_than_thanks() -> None:
    kinds = ("user_intent", "decision", "action_item", "fact", "tool_output", "reasoning", "confirmation", "obsolete")
    worth = [value(kind, relevance=0.5, age=3) for kind in kinds]
    assert worth == sorted(worth, reverse=True)
    assert (
        value("fact", relevance=1.0, age=0) > value("fact", relevance=0.0, age=0) > value("fact", relevance=0.0, age=9)
    )


def test_windows_are_known_by_family_and_the_operator_has_the_last_word() -> None:
    assert window_of("claude-sonnet-4-5", {}) == 200_000
    assert window_of("anthropic/claude-sonnet-4-5", {"*sonnet-4*": 1_000_000}) == 1_000_000
    assert window_of("my-model", {}) is None
