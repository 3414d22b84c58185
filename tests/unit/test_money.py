"""Billing rules, one test each, and the cases that were reckoned apart from the product."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from bench.billing import difference, lines
from bench.result import missed_targets

from pennyweight.money import FREE, Price, cost, format_usd, hourly_cost, in_force, parse_usd
from pennyweight.prices.spec import BandSpec, PriceSpec, TierSpec, TimeOfDaySpec, compile_price
from pennyweight.request import Usage

CASES = Path(__file__).parents[1] / "data" / "billing_cases.jsonl.gz"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()  # a Friday


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> float:
    """In November 2026; the 20th is a Friday."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC).timestamp()


def price(**fields: object) -> Price:
    return compile_price(PriceSpec(**{"input": "3", "output": "15", **fields}))  # type: ignore[arg-type]


def test_every_case_is_billed_to_the_pico_dollar() -> None:
    cases = list(lines(CASES))
    assert len(cases) == 120
    assert [complaint for complaint in map(difference, cases) if complaint] == []


def test_a_wrong_expectation_is_a_difference() -> None:
    line = next(iter(lines(CASES))).replace(b'"cost_pico_usd": ', b'"cost_pico_usd": 1')
    assert "expected 1" in (difference(line) or "")
    assert "not billed" in (difference(b'{"id": 1}') or "")


def test_cached_and_written_tokens_have_their_own_rates() -> None:
    usage = Usage(
        input_tokens=1000,
        cache_read_tokens=100,
        cache_write_5m_tokens=200,
        cache_write_1h_tokens=300,
        output_tokens=10,
        reasoning_tokens=9,
    )
    own = price(cache_read="0.3", cache_write_5m="3.75", cache_write_1h="6")
    assert (
        cost(usage, own, at=NOON) == 400 * 3_000_000 + 100 * 300_000 + 200 * 3_750_000 + 300 * 6_000_000 + 150_000_000
    )


def test_what_has_no_price_is_billed_as_input() -> None:
    usage = Usage(input_tokens=1000, cache_read_tokens=400, cache_write_5m_tokens=100, cache_write_1h_tokens=100)
    assert cost(usage, price(), at=NOON) == 1000 * 3_000_000
    assert cost(usage, price(cache_read="0"), at=NOON) == 600 * 3_000_000  # a price of 0 is a price


def test_one_write_price_covers_both_lifetimes() -> None:
    both = price(cache_write="4")
    usage = Usage(input_tokens=30, cache_write_5m_tokens=10, cache_write_1h_tokens=20)
    assert cost(usage, both, at=NOON) == 30 * 4_000_000


def test_more_cached_than_prompt_never_makes_input_negative() -> None:
    odd = Usage(input_tokens=10, cache_read_tokens=12)
    assert cost(odd, price(cache_read="1"), at=NOON) == 12_000_000


@pytest.mark.parametrize(("prompt", "rate"), [(99_999, 3), (100_000, 3), (100_001, 6), (200_000, 6), (200_001, 9)])
def test_a_band_begins_above_its_bound_and_covers_the_whole_request(prompt: int, rate: int) -> None:
    banded = price(
        bands=[
            BandSpec(above_input_tokens=200_000, input="9", output="45"),
            BandSpec(above_input_tokens=100_000, input="6", output="30"),
        ]
    )
    usage = Usage(input_tokens=prompt, output_tokens=7)
    assert cost(usage, banded, at=NOON) == prompt * rate * 10**6 + 7 * rate * 5 * 10**6


def test_cached_tokens_count_towards_the_bound() -> None:
    banded = price(cache_read="0.3", bands=[BandSpec(above_input_tokens=100, input="6")])
    usage = Usage(input_tokens=101, cache_read_tokens=100)
    # The band names input only: cache reads and output stay what they are below it.
    assert cost(usage, banded, at=NOON) == 6_000_000 + 100 * 300_000


def test_batch_halves_all_but_the_price_of_a_call() -> None:
    usage = Usage(input_tokens=10, output_tokens=3)
    each = price(per_call="0.005")
    full = 10 * 3_000_000 + 3 * 15_000_000
    assert cost(usage, each, at=NOON) == full + 5 * 10**9
    assert cost(usage, each, at=NOON, tier="batch") == full // 2 + 5 * 10**9
    assert cost(Usage(input_tokens=10, output_tokens=3, tier="batch"), each, at=NOON) == full // 2 + 5 * 10**9
    assert (
        cost(Usage(input_tokens=10, output_tokens=3, tier="batch"), each, at=NOON, tier="standard") == full + 5 * 10**9
    )


def test_a_tier_with_rates_of_its_own_replaces_the_standard_ones() -> None:
    tiered = price(tiers=[TierSpec(tier="priority", input="6", output="30"), TierSpec(tier="batch", input="2")])
    usage = Usage(input_tokens=10, output_tokens=1)
    assert cost(usage, tiered, at=NOON, tier="priority") == 60_000_000 + 30_000_000
    assert cost(usage, tiered, at=NOON, tier="batch") == 20_000_000 + 15_000_000  # not halved again
    assert cost(usage, tiered, at=NOON, tier="unheard-of") == 30_000_000 + 15_000_000


def test_a_tier_of_the_name_standard_is_the_price_itself() -> None:
    named = price(tiers=[TierSpec(tier="standard", input="6"), TierSpec(tier="batch", input="2")])
    usage = Usage(input_tokens=10, output_tokens=1)
    assert cost(usage, named, at=NOON) == cost(usage, named, at=NOON, tier="new") == 60_000_000 + 15_000_000
    assert cost(usage, named, at=NOON, tier="batch") == 20_000_000 + 15_000_000


PEAK = TimeOfDaySpec(days="mon-fri", from_utc="01:00", to_utc="04:00", factor="2")
NIGHT = TimeOfDaySpec(days="fri", from_utc="22:00", to_utc="02:00", factor="0.5")


@pytest.mark.parametrize(
    ("moment", "factor"),
    [
        (at(20, 0, 59, 59), 1),
        (at(20, 1), 2),
        (at(20, 3, 59, 59), 2),
        (at(20, 4), 1),
        (at(21, 2), 1),  # a Saturday
        (at(23, 1), 2),
    ],
)
def test_a_window_holds_from_its_start_until_before_its_end(moment: float, factor: int) -> None:
    assert cost(Usage(input_tokens=1), price(time_of_day=[PEAK]), at=moment) == factor * 3_000_000


@pytest.mark.parametrize(("moment", "half"), [(at(20, 23), 1), (at(21, 1, 59), 1), (at(21, 2), 0), (at(20, 1), 0)])
def test_a_window_past_midnight_belongs_to_the_day_it_starts_on(moment: float, half: int) -> None:
    assert cost(Usage(input_tokens=2), price(time_of_day=[NIGHT]), at=moment) == 6_000_000 // (1 + half)


def test_factors_multiply_and_leave_the_price_of_a_call_alone() -> None:
    twice = price(per_call="1", time_of_day=[PEAK, TimeOfDaySpec(from_utc="00:00", to_utc="24:00", factor="1.5")])
    assert cost(Usage(input_tokens=1), twice, at=at(20, 2)) == 9_000_000 + 10**12
    assert cost(Usage(input_tokens=1), twice, at=at(20, 2), tier="batch") == 4_500_000 + 10**12


def test_until_is_exclusive_and_from_inclusive() -> None:
    old = price(until="2026-11-20")
    new = price(since="2026-11-20T00:00:00Z", until="2026-11-21")
    assert in_force([old, new], at(20, 0) - 1) is old
    assert in_force([new, old], at(20, 0)) is new
    assert in_force([old, new], at(21, 0)) is None
    always = price()
    assert in_force([always, new], at(20, 5)) is new  # the one that began last
    assert in_force([always, old], at(19, 5)) is old  # then the one that ends first


def test_an_amount_finer_than_a_pico_dollar_is_rounded_once_at_the_end() -> None:
    third = price(input="0.0000005")  # half a pico-dollar a token
    assert [cost(Usage(input_tokens=n), third, at=NOON) for n in range(5)] == [0, 0, 1, 2, 2]
    assert parse_usd("0.0000005", 10**6) == Fraction(1, 2)


@pytest.mark.parametrize("bad", ["", "free", "-1", "nan", "inf", "1e999999999", "1,5"])
def test_an_amount_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="US dollars"):
        parse_usd(bad)


def test_amounts_read_as_typed() -> None:
    assert parse_usd("3", 10**6) == 3_000_000
    assert parse_usd(0.0056, 10**6) == parse_usd("0.0056", 10**6) == 5_600
    assert parse_usd(5) == 5 * 10**12
    assert isinstance(parse_usd("1e-6", 10**6), int)


@pytest.mark.parametrize(
    "bad",
    [
        {"output": None},
        {"since": "2026-11-02", "until": "2026-11-02"},
        {"until": "tomorrow"},
        {"bands": [BandSpec(above_input_tokens=5), BandSpec(above_input_tokens=5)]},
        {"bands": [BandSpec(above_input_tokens=-1)]},
        {"time_of_day": [TimeOfDaySpec(from_utc="25:00", to_utc="26:00", factor="1")]},
        {"time_of_day": [TimeOfDaySpec(from_utc="01:00", to_utc="01:00", factor="1")]},
        {"time_of_day": [TimeOfDaySpec(from_utc="1", to_utc="2:0x", factor="1")]},
        {"time_of_day": [TimeOfDaySpec(days="someday", from_utc="01:00", to_utc="02:00", factor="1")]},
    ],
)
def test_a_price_that_says_nothing_sensible_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\d|`input`|days|date"):
        price(**bad)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("sat,sun", {5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("daily", set(range(7))),
        ("Weekdays", {0, 1, 2, 3, 4}),
        (["tue", "weekends"], {1, 5, 6}),
        ("Monday", {0}),
    ],
)
def test_days_are_read_as_people_write_them(days: str | list[str], expected: set[int]) -> None:
    window = price(time_of_day=[TimeOfDaySpec(days=days, from_utc="1:00", to_utc="2:00", factor="1")]).time_of_day[0]
    assert window.days == expected


def test_free_is_only_what_costs_nothing_in_any_case() -> None:
    assert FREE.free
    assert cost(Usage(input_tokens=5, output_tokens=5), FREE, at=NOON) == 0
    assert not price(input="0", output="0", per_call="0.01").free
    assert not price(input="0", output="0", bands=[BandSpec(above_input_tokens=9, input="1")]).free


def test_an_hour_of_a_machine_costs_its_hourly_price() -> None:
    assert hourly_cost(2 * 10**12, 3600) == 2 * 10**12
    assert hourly_cost(36 * 10**12, 0.25) == 25 * 10**8
    assert hourly_cost(10**12, -1) == 0


@pytest.mark.parametrize(
    ("amount", "shown", "exactly"),
    [
        (0, "$0.00", "$0.00"),
        (1, "<$0.000001", "$0.000000000001"),
        (1_234_000_000, "$0.001234", "$0.001234"),
        (500_000_000_000, "$0.50", "$0.50"),
        (12_345_678_901_234, "$12.35", "$12.345678901234"),
        (1_234_567 * 10**12, "$1,234,567.00", "$1234567.00"),
        (-120_000_000_000, "-$0.12", "-$0.12"),
        (10**12 - 1, "$1.00", "$0.999999999999"),
    ],
)
def test_money_is_shown(amount: int, shown: str, exactly: str) -> None:
    assert format_usd(amount) == shown
    assert format_usd(amount, exact=True) == exactly


def test_a_bench_misses_what_is_not_measured_or_not_met() -> None:
    targets = {"a": "<= 1", "b": "== 0", "c": "> 2", "d": "< 3"}
    assert missed_targets({"a": 1, "b": 0, "d": float("nan")}, targets) == ["c", "d"]
    with pytest.raises(ValueError, match="no target"):
        missed_targets({"a": 1}, {"a": "about 1"})
