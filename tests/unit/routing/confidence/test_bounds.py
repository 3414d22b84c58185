"""The bound on losses, against thousands of drawn histories."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.binomial import upper_bound
from pennyweight.routing.confidence.bounds import allowed_losses, threshold


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.005, 0.3), st.floats(0.01, 0.5))
def test_the_losses_allowed_are_the_most_that_still_prove_it(trials: int, epsilon: float, delta: float) -> None:
    allowed = allowed_losses(trials, epsilon, delta)
    if allowed >= 0:
        assert upper_bound(allowed, trials, doubt=delta) <= epsilon + 1e-9
    if allowed + 1 < trials:
        assert upper_bound(allowed + 1, trials, doubt=delta) > epsilon - 1e-9


def test_few_trials_prove_nothing() -> None:
    assert allowed_losses(100, 0.02, 0.1) == -1
    assert threshold([0.9] * 100, [False] * 100, epsilon=0.02, delta=0.1) is None
    assert threshold([], [], epsilon=0.02, delta=0.1) is None


def test_a_file_without_losses_is_kept_whole() -> None:
    assert threshold([0.1] * 200, [False] * 200, epsilon=0.02, delta=0.1) == -math.inf


def test_the_threshold_stands_at_the_first_loss_too_many() -> None:
    scores = [i / 500 for i in range(500)]
    lost = [i % 50 == 0 for i in range(500)]  # at 0.9, 0.8, … five are allowed, so the sixth bars
    bar = threshold(scores, lost, epsilon=0.02, delta=0.1)
    assert bar == pytest.approx(0.4)
    assert sum(bad and score > bar for score, bad in zip(scores, lost, strict=True)) == 5


def test_equal_scores_are_kept_together_or_not_at_all() -> None:
    assert threshold([0.5] * 500, [i < 20 for i in range(500)], epsilon=0.02, delta=0.1) == 0.5


def test_a_score_that_is_no_number_is_never_a_reason_to_keep() -> None:
    lost = [True] * 10 + [False] * 490
    assert threshold([math.nan] * 10 + [0.5] * 490, lost, epsilon=0.02, delta=0.1) is None


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.1), (1.0, 0.1), (0.1, 0.0), (0.1, 1.0), (math.nan, 0.1)])
def test_what_is_no_bound_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError):
        threshold([0.1], [False], epsilon=epsilon, delta=delta)


def test_lengths_must_be_the_same() -> None:
    with pytest.raises(ValueError):
        threshold([0.1], [], epsilon=0.1, delta=0.1)


def test_the_bound_is_broken_as_rarely_as_it_says() -> None:
    """Histories of calls whose loss grows as the score falls; the true loss of a threshold is known exactly."""
    draw = random.Random(11)
    epsilon, delta, runs, broken, kept = 0.05, 0.2, 1_500, 0, 0.0
    for _ in range(runs):
        scores = [draw.random() for _ in range(200)]
        lost = [draw.random() < 0.4 * (1 - score) for score in scores]
        bar = threshold(scores, lost, epsilon=epsilon, delta=delta)
        assert bar is not None
        share = 1.0 - max(bar, 0.0)
        broken += 0.4 * share**2 / 2 > epsilon  # the integral of the loss from the bar to 1
        kept += share
    assert 0.08 < broken / runs <= delta, "and it is not much more careful than it needs to be"
    assert kept / runs > 0.4


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=50, max_size=300),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)
def test_what_is_kept_never_lost_more_than_is_allowed(
    rows: list[tuple[float, bool]], epsilon: float, delta: float
) -> None:
    bar = threshold([s for s, _ in rows], [b for _, b in rows], epsilon=epsilon, delta=delta)
    losses = 0 if bar is None else sum(bad and score > bar for score, bad in rows)
    assert losses <= max(allowed_losses(len(rows), epsilon, delta), 0)
