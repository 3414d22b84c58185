"""Money adds up: against a second reckoning in fractions, over any usage and price."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.money import cost, format_usd, plain_cost, terms
from pennyweight.prices import PriceBook
from pennyweight.prices.catalogue import read_catalogue
from pennyweight.prices.spec import BandSpec, PriceOverride, PriceSpec, TimeOfDaySpec, compile_price, moment
from pennyweight.request import Charge, Part, Usage

tokens = st.integers(0, 300_000)
amounts = st.decimals(0, 200, places=7, allow_nan=False).map(str)
maybe = st.none() | amounts
rates = {"input": amounts, "output": amounts, "cache_read": maybe, "cache_write_5m": maybe, "cache_write_1h": maybe}
bands = st.builds(BandSpec, above_input_tokens=tokens, **rates)
windows = st.builds(
    TimeOfDaySpec,
    days=st.sampled_from(["mon-fri", "sat,sun", "daily", "sun-tue"]),
    from_utc=st.sampled_from(["00:00", "01:00", "06:30"]),
    to_utc=st.sampled_from(["07:00", "13:15", "24:00"]),
    factor=st.sampled_from(["2", "0.5", "1.1", "0.333"]),
)
specs = st.builds(
    PriceSpec,
    **rates,
    per_call=st.none() | amounts,
    bands=st.lists(bands, max_size=3, unique_by=lambda b: b.above_input_tokens),
    time_of_day=st.lists(windows, max_size=2),
)
moments = st.integers(1_790_000_000, 1_800_000_000)
tiers = st.sampled_from(["standard", "batch", "default"])


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read, w5, w1, plain, out = (draw(tokens) for _ in range(5))
    return Usage(read + w5 + w1 + plain, read, w5, w1, out, tier=draw(tiers))


def reference(usage: Usage, spec: PriceSpec, at: int) -> Fraction:
    """Dollars, by the rules as written and with nothing of the product's."""
    names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    per_million = {name: getattr(spec, name) for name in names}
    for band in sorted(spec.bands, key=lambda b: b.above_input_tokens):
        if usage.input_tokens > band.above_input_tokens:
            per_million.update({n: getattr(band, n) for n in names if getattr(band, n) is not None})

    def dollars(count: int, name: str) -> Fraction:
        chosen = per_million[name] if per_million[name] is not None else per_million["input"]
        return Fraction(chosen) * count / 1_000_000

    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    total = (
        dollars(usage.input_tokens - usage.cache_read_tokens - written, "input")
        + dollars(usage.cache_read_tokens, "cache_read")
        + dollars(usage.cache_write_5m_tokens, "cache_write_5m")
        + dollars(usage.cache_write_1h_tokens, "cache_write_1h")
        + dollars(usage.output_tokens, "output")
    )
    when = datetime.fromtimestamp(at, UTC)
    listed = {"mon-fri": range(5), "sat,sun": (5, 6), "daily": range(7), "sun-tue": (6, 0, 1)}
    for window in spec.time_of_day:
        if when.weekday() in listed[str(window.days)] and window.from_utc <= f"{when:%H:%M}" < window.to_utc:
            total *= Fraction(str(window.factor))
    if usage.tier == "batch":
        total /= 2
    return total + Fraction(spec.per_call or 0)


@settings(max_examples=150, deadline=None)
@given(usages(), specs, moments)
def test_cost_is_the_reference_to_the_nearest_pico_dollar(usage: Usage, spec: PriceSpec, at: int) -> None:
    bill = cost(usage, compile_price(spec), at=at)
    assert type(bill) is int
    assert bill >= 0
    assert bill == round(reference(usage, spec, at) * 10**12)


cents = st.decimals(0, 200, places=2, allow_nan=False).map(str)
simple_specs = specs | st.builds(
    PriceSpec,
    **{
        **rates,
        "input": cents,
        "output": cents,
        "cache_read": cents,
        "cache_write_5m": st.none(),
        "cache_write_1h": cents,
    },
    bands=st.lists(bands, max_size=1),
)
untrue = st.builds(Usage, *(st.integers(-1_000, 300_000) for _ in range(6)), tier=tiers)


@settings(max_examples=150, deadline=None)
@given(usages() | untrue, simple_specs, moments)
def test_the_short_way_to_a_bill_says_what_the_long_one_says(usage: Usage, spec: PriceSpec, at: int) -> None:
    """Also of what no provider can truly have billed: more cached tokens than there are, fewer than none."""
    price = compile_price(spec)
    simple = terms(price)
    short = None if simple is None else plain_cost(usage, simple)
    assert short is None or (type(short) is int and short == cost(usage, price, at=at))
    if simple is not None and not price.bands and usage.tier == "standard":
        assert short is not None


CATALOGUE = read_catalogue(None)


@settings(max_examples=60, deadline=None)
@given(st.lists(simple_specs, min_size=1, max_size=3), st.lists(st.tuples(usages(), st.integers(0, 95), st.booleans())))
def test_a_bill_is_what_the_price_in_force_says(periods: list[PriceSpec], calls: list[tuple[Usage, int, bool]]) -> None:
    """Prices take turns of a day; behind the last there is none."""
    turns = [
        PriceOverride(
            **{**msgspec.structs.asdict(spec), "since": f"2026-11-0{day}", "until": f"2026-11-0{day + 1}"}, model="m"
        )
        for day, spec in enumerate(periods, start=1)
    ]
    book = PriceBook(CATALOGUE, overrides=turns)
    for usage, hour, shared in calls:
        at = moment("2026-11-01") + 3_600 * hour
        price = book.price("mine", "m", at)
        assert (price is None) == (hour >= 24 * len(periods))
        if price is None:
            assert book.bill(Charge("mine", "m", usage, at)) == (None, "unpriced")
            continue
        kind = "free" if price.free else "priced"
        whole = cost(usage, price, at=at)
        assert book.bill(Charge("mine", "m", usage, at)) == (whole, kind)
        if shared:
            thirds = [Charge("mine", "m", Usage(), at, Part(usage, third, third + 1, 3)) for third in range(3)]
            assert sum(book.bill(third)[0] or 0 for third in thirds) == whole


@settings(max_examples=60, deadline=None)
@given(usages(), usages(), st.tuples(*(st.integers(0, 10**5) for _ in range(5))), moments)
def test_cost_adds_up_token_by_token_without_bands(one: Usage, two: Usage, micro: tuple[int, ...], at: int) -> None:
    read, w5, w1, plain, out = map(str, micro)
    flat = compile_price(PriceSpec(input=plain, output=out, cache_read=read, cache_write_5m=w5, cache_write_1h=w1))
    both = Usage(
        one.input_tokens + two.input_tokens,
        one.cache_read_tokens + two.cache_read_tokens,
        one.cache_write_5m_tokens + two.cache_write_5m_tokens,
        one.cache_write_1h_tokens + two.cache_write_1h_tokens,
        one.output_tokens + two.output_tokens,
    )
    separately = cost(one, flat, at=at, tier="standard") + cost(two, flat, at=at, tier="standard")
    assert cost(both, flat, at=at) == separately


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**18), 10**18))
def test_the_exact_form_of_money_reads_back(amount: int) -> None:
    text = format_usd(amount, exact=True)
    assert Fraction(text.replace("$", "")) * 10**12 == amount


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**12) | st.integers(0, 2 * 10**6).map(lambda halves: halves * 500_000) | st.integers(0, 10**18))
def test_money_for_people_is_the_nearest_digit_that_is_shown(amount: int) -> None:
    dollars = Decimal(amount).scaleb(-12)
    micros = dollars.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
    shown = format_usd(amount)
    assert format_usd(-amount) == ("-" + shown if amount else shown)
    if not micros and amount:
        assert shown == "<$0.000001"
    elif micros < 1:
        assert Decimal(shown.removeprefix("$")) == micros
        assert shown.removesuffix("0") == shown or len(shown) == len("$0.10")
    else:
        assert shown == f"${dollars.quantize(Decimal('0.01'), ROUND_HALF_EVEN):,}"
