"""When a batch is worth waiting for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pennyweight.backends.lanes.chance import likely, pays


def test_before_anything_is_known_an_hour_is_a_fair_chance() -> None:
    assert likely(60, ()) == 0.0
    assert likely(3_600, ()) == 0.6
    assert likely(48 * 3_600, ()) == 1.0
    assert likely(-1, ()) == 0.0


def test_what_was_seen_counts() -> None:
    assert likely(300, [200.0] * 45) == 45 / 50
    assert likely(300, [9_999.0] * 60 + [200.0] * 50) == 50 / 55  # the newest 50


def test_a_batch_that_reads_no_cache_may_cost_more_than_a_warm_call() -> None:
    assert pays(1.0, (100, 50))
    assert not pays(1.0, (40, 50))  # nine tenths of it would have been read from the cache
    assert not pays(0.5, None)
    assert pays(0.51, None)


@given(st.floats(0, 1), st.integers(0, 10**9), st.integers(0, 10**9))
def test_it_pays_exactly_where_the_expected_bill_is_smaller(chance: float, dear: int, cheap: int) -> None:
    expected = cheap + (1 - chance) * dear
    if abs(expected - dear) > 1e-6 * max(dear, 1):
        assert pays(chance, (dear, cheap)) == (expected < dear)
