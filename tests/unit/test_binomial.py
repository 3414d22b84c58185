"""Shares by counts: against tables, sums by hand, and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.binomial import up_to, upper_bound


def cumulative(count: int, of: int, share: float) -> float:
    """The probability of `count` or fewer, term by term."""
    return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))


@pytest.mark.parametrize(("wrong", "audited"), [(0, 1), (0, 59), (0, 149), (1, 10), (3, 100), (9, 10), (50, 400)])
def test_the_bound_is_the_share_at_which_so_few_would_be_a_surprise(wrong: int, audited: int) -> None:
    bound = upper_bound(wrong, audited)
    assert wrong / audited < bound <= 1.0
    assert cumulative(wrong, audited, bound) == pytest.approx(0.05, abs=1e-9)


def test_known_bounds() -> None:
    """Clopper-Pearson, one-sided 95%, from tables: 3 in 100 and the rule of three."""
    assert upper_bound(3, 100) == pytest.approx(0.0757, abs=5e-5)
    assert upper_bound(0, 100) == pytest.approx(0.0295, abs=5e-5)


def test_nothing_audited_proves_nothing() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(7, 7) == 1.0


def test_a_million_audits_are_counted_at_once() -> None:
    assert 0.0099 < upper_bound(9_900, 1_000_000) < 0.0101


@pytest.mark.parametrize(("wrong", "audited"), [(-1, 3), (4, 3)])
def test_counts_that_cannot_be(wrong: int, audited: int) -> None:
    with pytest.raises(ValueError, match=f"{wrong} of {audited} cannot be"):
        upper_bound(wrong, audited)


@pytest.mark.parametrize("doubt", [0.0, 1.0, math.nan])
def test_a_doubt_that_has_no_bound(doubt: float) -> None:
    with pytest.raises(ValueError, match="doubt"):
        upper_bound(1, 3, doubt=doubt)


@pytest.mark.parametrize(("count", "of", "doubt"), [(0, 100, 0.05), (5, 500, 0.1), (10, 100, 0.05), (299, 300, 0.2)])
def test_at_the_bound_so_few_are_as_rare_as_the_doubt(count: int, of: int, doubt: float) -> None:
    share = Fraction(upper_bound(count, of, doubt=doubt))
    exact = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))
    assert float(exact) == pytest.approx(doubt, rel=1e-6)


def test_a_binomial_is_summed_as_by_hand() -> None:
    assert up_to(1, 3, 0.5) == pytest.approx(0.5)
    assert up_to(0, 10, 0.1) == pytest.approx(0.9**10)
    assert up_to(3, 3, 0.5) == up_to(0, 5, 0.0) == 1.0
    assert up_to(0, 5, 1.0) == up_to(-1, 5, 0.5) == 0.0
    assert math.isclose(up_to(4_000, 100_000, 0.04), 0.506, abs_tol=2e-3), "no underflow"
    assert up_to(900_000, 1_000_000, 0.001) == 1.0
    assert up_to(1_000, 1_000_000, 0.9) == 0.0


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.0001, 0.9999))
def test_it_is_the_sum_of_its_terms(count: int, of: int, share: float) -> None:
    exact = sum(
        math.comb(of, k) * Fraction(share) ** k * (1 - Fraction(share)) ** (of - k) for k in range(min(count, of) + 1)
    )
    assert up_to(count, of, share) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
