"""The paired shadow test: what it is worth, and that it does not cry wolf."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.ledger.paired import PairedTest


def test_it_begins_with_even_odds_and_concordant_pairs_tell_nothing() -> None:
    test = PairedTest()
    assert test.log_wealth == pytest.approx(0.0)
    for outcome in (0.0, 1.0, 0.5):
        test.add(outcome, outcome)
    assert (test.count, test.worse, test.better) == (3, 0, 0)
    assert test.log_wealth == pytest.approx(0.0)


def test_one_lost_pair_multiplies_each_stake_by_one_and_its_bet() -> None:
    lost, won = PairedTest(), PairedTest()
    lost.add(0.0, 1.0)
    won.add(1.0, 0.0)
    assert lost.log_wealth > 0 > won.log_wealth
    assert math.exp(lost.log_wealth) + math.exp(won.log_wealth) == pytest.approx(2.0)  # a fair game


def test_ten_losses_in_a_row_are_an_alarm_and_three_are_none() -> None:
    test = PairedTest()
    for number in range(1, 11):
        test.add(0.0, 1.0)
        if number == 3:
            assert not test.alarm(0.05)
    assert test.alarm(0.05)


def test_an_alarm_stays_one() -> None:
    test = PairedTest()
    for _ in range(12):
        test.add(0.0, 1.0)
    for _ in range(200):
        test.add(1.0, 0.0)
    assert test.alarm(0.05)
    assert test.log_wealth < 0


def test_five_points_are_found_soon_and_no_change_is_left_alone() -> None:
    def ended(lost: float, gained: float, pairs: int, seed: int) -> int | None:
        dice, test = random.Random(seed), PairedTest()
        for number in range(1, pairs + 1):
            at = dice.random()
            test.add(*((0.0, 1.0) if at < lost else (1.0, 0.0) if at < lost + gained else (1.0, 1.0)))
            if test.alarm(0.05):
                return number
        return None

    found = sorted(ended(0.075, 0.025, 3000, seed) or 9999 for seed in range(60))
    assert found[30] < 300
    assert found[47] <= 400, "80% of them within as many as are promised"
    assert sum(ended(0.05, 0.05, 1500, seed) is not None for seed in range(100, 250)) <= 0.05 * 150 + 7


def test_what_was_bet_on_the_promise_is_not_lost_after_it() -> None:
    test = PairedTest()
    for number in range(399):
        test.add(*((0.0, 1.0) if number % 20 == 0 else (1.0, 0.0) if number % 20 == 10 else (1.0, 1.0)))
    held, promised = test.log_wealth, test.promised
    assert promised > 0
    test.add(1.0, 1.0)
    assert test.promised == 0
    assert test.log_wealth == pytest.approx(held)


def test_it_bets_towards_its_own_goal() -> None:
    """One that is to be surer goes on betting where the other has what it wants."""
    lax, strict = PairedTest(), PairedTest(goal=1_000.0)
    for number in range(1, 399):
        pair = (1.0, 0.0) if number % 30 == 0 else (0.0, 1.0) if number % 6 == 0 else (1.0, 1.0)
        lax.add(*pair)
        strict.add(*pair)
    assert lax.alarm(0.05)
    assert lax.promised < 20.0 < strict.promised


def test_harm_that_begins_late_is_found_too() -> None:
    dice, test = random.Random(4), PairedTest()
    for _ in range(3000):
        test.add(*dice.choice([(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 1.0)]))
    assert not test.alarm(0.05)
    for _ in range(150):
        test.add(*((0.0, 1.0) if dice.random() < 0.3 else (1.0, 1.0)))
    assert test.alarm(0.05)


def test_it_is_kept_as_json() -> None:
    test = PairedTest()
    for _ in range(5):
        test.add(0.25, 0.75)
    again = msgspec.json.decode(msgspec.json.encode(test), type=PairedTest)
    assert again == test
    assert test.worse == 5


def test_the_interval_covers_the_difference() -> None:
    dice, test = random.Random(2), PairedTest()
    for _ in range(800):
        at = dice.random()
        test.add(*((0.0, 1.0) if at < 0.1 else (1.0, 0.0) if at < 0.15 else (1.0, 1.0)))
    interval = test.interval(0.05)
    assert interval is not None
    assert interval.low < -0.05 < interval.high
    assert PairedTest().interval(0.05) is None


@pytest.mark.parametrize(("new", "old"), [(1.1, 0), (0, -0.1), (float("nan"), 0)])
def test_outcomes_are_shares(new: float, old: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        PairedTest().add(new, old)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60))
def test_on_average_over_both_orders_nobody_wins(pairs: list[tuple[float, float]]) -> None:
    """Swapping new and old of the next pair is as likely under the null: the mean of both wealths is what was had."""
    test = PairedTest()
    for new, old in pairs:
        before = math.exp(test.log_wealth)
        other = msgspec.json.decode(msgspec.json.encode(test), type=PairedTest)
        test.add(new, old)
        other.add(old, new)
        assert (math.exp(test.log_wealth) + math.exp(other.log_wealth)) / 2 == pytest.approx(before, rel=1e-9)
