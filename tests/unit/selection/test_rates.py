"""The grid: its arithmetic against Beta posteriors worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.selection.rates import FLAT, aged, beta, counts, mean, observed, quantile


def after(successes: int, failures: int) -> list[float]:
    likelihood = list(FLAT)
    for value in [1.0] * successes + [0.0] * failures:
        likelihood = observed(likelihood, value)
    return likelihood


def test_the_mean_is_that_of_the_beta_posterior() -> None:
    assert mean(after(15, 5)) == pytest.approx(16 / 22, abs=0.003)
    assert mean(beta(0.3, 20)) == pytest.approx(0.3, abs=0.005)


def test_counts_give_back_what_was_observed() -> None:
    rate, n = counts(after(30, 10))
    assert rate == pytest.approx(0.75, abs=0.01)
    assert n == pytest.approx(40, rel=0.05)
    assert counts(FLAT)[1] == pytest.approx(0.0, abs=0.1)


def test_a_quantile_of_a_flat_posterior_is_its_share() -> None:
    for share in (0.0, 0.1, 0.5, 0.92, 1.0):
        assert quantile(FLAT, share) == pytest.approx(share)


def test_age_takes_the_likelihood_back_to_nothing() -> None:
    prior = beta(0.5, 2)
    assert aged(after(20, 0), prior, 0.0) == pytest.approx(FLAT)
    assert mean(aged(after(20, 0), prior, 0.5)) < mean(aged(after(20, 0), prior, 0.9))


def test_a_surprise_shortens_the_memory() -> None:
    """After a long good record a few failures count for more when rates can jump."""
    prior, likelihood = beta(0.5, 2), list(FLAT)
    for value in [1.0] * 200 + [0.0] * 6:
        likelihood = observed(aged(likelihood, prior, 0.9995), value)
    assert mean(likelihood) < 0.45
    assert mean(after(200, 6)) > 0.95


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1), st.floats(0.02, 0.98), st.floats(0.5, 200))
def test_nothing_ever_leaves_the_unit_interval(values: list[float], kept: float, centre: float, weight: float) -> None:
    prior, likelihood = beta(centre, weight), list(FLAT)
    for value in values:
        likelihood = observed(aged(likelihood, prior, kept), value)
    rate, n = counts(likelihood)
    assert 0 <= mean(likelihood) <= 1
    assert 0 <= quantile(likelihood, 0.92) <= 1
    assert 0 <= rate <= 1
    assert n >= 0
