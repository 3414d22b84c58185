"""The bound on wrong hits, and noting looks on a call."""

from __future__ import annotations

import math

import pytest

from pennyweight.hits import looked, looks, wrong_at_most
from pennyweight.testing.backend import make_call


def cumulative(count: int, of: int, share: float) -> float:
    """The probability of `count` or fewer, term by term."""
    return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))


@pytest.mark.parametrize(("wrong", "audited"), [(0, 1), (0, 59), (0, 149), (1, 10), (3, 100), (9, 10), (50, 400)])
def test_the_bound_is_the_share_at_which_so_few_would_be_a_surprise(wrong: int, audited: int) -> None:
    bound = wrong_at_most(wrong, audited)
    assert wrong / audited < bound <= 1.0
    assert cumulative(wrong, audited, bound) == pytest.approx(0.05, abs=1e-9)


def test_known_bounds() -> None:
    """Clopper-Pearson, one-sided 95%, from tables: 3 in 100 and the rule of three."""
    assert wrong_at_most(3, 100) == pytest.approx(0.0757, abs=5e-5)
    assert wrong_at_most(0, 100) == pytest.approx(0.0295, abs=5e-5)


def test_nothing_audited_proves_nothing() -> None:
    assert wrong_at_most(0, 0) == 1.0
    assert wrong_at_most(7, 7) == 1.0


def test_a_million_audits_are_counted_at_once() -> None:
    assert 0.0099 < wrong_at_most(9_900, 1_000_000) < 0.0101


@pytest.mark.parametrize(("wrong", "audited"), [(-1, 3), (4, 3)])
def test_counts_that_cannot_be(wrong: int, audited: int) -> None:
    with pytest.raises(ValueError, match=f"{wrong} wrong of {audited}"):
        wrong_at_most(wrong, audited)


def test_looks_stay_with_the_call_through_its_changes() -> None:
    call = make_call(b"{}")
    assert looks(call) == ()
    looked(call, "exact_cache")
    later = call.note()
    looked(later, "semantic_cache", "memory", "k")
    assert looks(call) == [("exact_cache", "", ""), ("semantic_cache", "memory", "k")]
