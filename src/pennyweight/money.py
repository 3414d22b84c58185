"""Exact money: integer pico-dollars, the price of one model at one moment, and what a usage costs at it.

Rules of billing: the prompt is all input tokens, cached ones included; a band applies to the whole request, output
too, when the prompt is above its bound; a model without a price for cache reads or writes bills them as input;
`batch` halves everything but `per_call`; time-of-day factors multiply on the named days, from (inclusive) to
(exclusive), UTC. Where prices come from is the business of `pennyweight.prices`.

Two things that the rules leave open are settled here: a time-of-day factor, like the batch discount, multiplies what
tokens cost and not `per_call`; and an amount that is no whole pico-dollar is rounded once, at the very end, to the
nearest (a half to the even neighbour, so that rounding does not drift in a sum).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NamedTuple

import msgspec

from .request import Usage

__all__ = [
    "BATCH",
    "FREE",
    "STANDARD",
    "Band",
    "PicoUSD",
    "Price",
    "Rate",
    "Rates",
    "Terms",
    "Tier",
    "TimeOfDay",
    "cost",
    "factor_at",
    "format_usd",
    "hourly_cost",
    "in_force",
    "parse_usd",
    "plain_cost",
    "rates_for",
    "terms",
    "whole",
]

PicoUSD = int
"""Money: 10^-12 US dollars. $3 per million tokens is 3_000_000 PicoUSD a token, so sums are exact."""

Rate = int | Fraction
"""PicoUSD for one token or call: an int, or a Fraction where the list price is finer than a pico-dollar a token."""

PICO = 10**12
BATCH, STANDARD = "batch", "standard"


class Rates(msgspec.Struct, frozen=True):
    """What one token of each kind costs. None: not priced, so billed as input."""

    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    per_call: Rate = 0

    @property
    def read(self) -> Rate:
        return self.input if self.cache_read is None else self.cache_read

    @property
    def write_5m(self) -> Rate:
        return self.input if self.cache_write_5m is None else self.cache_write_5m

    @property
    def write_1h(self) -> Rate:
        return self.input if self.cache_write_1h is None else self.cache_write_1h


class Band(msgspec.Struct, frozen=True):
    """The rates of a whole request whose prompt is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


class TimeOfDay(msgspec.Struct, frozen=True):
    """A daily window with a factor. `days`: 0 is Monday; seconds after midnight UTC, from inclusive, to exclusive.

    A window whose end is before its start runs past midnight and belongs to the day on which it starts.
    """

    days: frozenset[int]
    from_utc_s: int
    to_utc_s: int
    factor: Fraction

    def holds(self, at: float) -> bool:
        day, second = int(at // 86400), at % 86400
        today = (day + 3) % 7  # 1970-01-01 was a Thursday
        if self.from_utc_s < self.to_utc_s:
            return today in self.days and self.from_utc_s <= second < self.to_utc_s
        return (today in self.days and second >= self.from_utc_s) or (
            (today - 1) % 7 in self.days and second < self.to_utc_s
        )


class Tier(msgspec.Struct, frozen=True):
    """Rates of their own for a service tier (flex, priority, a batch that is not simply half). Of the standard tier
    they are the price's own, not one of these."""

    name: str
    rates: Rates
    bands: tuple[Band, ...] = ()


class Price(msgspec.Struct, frozen=True):
    """The price of one model over one period: `since` (inclusive) to `until` (exclusive), unix seconds; None: open.

    `bands` are in rising order of their bounds. `source`: where the figures are published.
    """

    rates: Rates
    bands: tuple[Band, ...] = ()
    time_of_day: tuple[TimeOfDay, ...] = ()
    tiers: tuple[Tier, ...] = ()
    since: float | None = None
    until: float | None = None
    source: str = ""

    @property
    def free(self) -> bool:
        """Whether nothing that this price covers costs anything."""
        if self.rates.input or self.rates.output:
            return False
        every = [self.rates, *(b.rates for b in self.bands)]
        every += [r for t in self.tiers for r in (t.rates, *(b.rates for b in t.bands))]
        return all(not any((r.input, r.output, r.read, r.write_5m, r.write_1h, r.per_call)) for r in every)


FREE = Price(rates=Rates(input=0, output=0))


def in_force(periods: Sequence[Price], at: float) -> Price | None:
    """The price that holds at `at`: of several, the one that began last, then the one that ends first."""
    if len(periods) == 1 and periods[0].since is None and periods[0].until is None:
        return periods[0]
    current = [p for p in periods if (p.since is None or p.since <= at) and (p.until is None or at < p.until)]
    if not current:
        return None
    return max(current, key=lambda p: (_or(p.since, float("-inf")), -_or(p.until, float("inf"))))


def rates_for(price: Price, input_tokens: int, tier: str = STANDARD) -> Rates:
    """The rates of a request with a prompt of that many tokens, before batch and time-of-day factors."""
    rates, bands = price.rates, price.bands
    if tier != STANDARD:
        for named in price.tiers:
            if named.name == tier:
                rates, bands = named.rates, named.bands
                break
    if bands and input_tokens > bands[0].above_input_tokens:
        for band in bands:
            if input_tokens > band.above_input_tokens:
                rates = band.rates
    return rates


def factor_at(price: Price, at: float, tier: str = STANDARD) -> Fraction | int:
    """What everything but `per_call` is multiplied by: time of day, and a half for a batch without own rates."""
    factor: Fraction | int = 1
    for window in price.time_of_day:
        if window.holds(at):
            factor *= window.factor
    if tier == BATCH and all(t.name != BATCH for t in price.tiers):
        factor *= Fraction(1, 2)
    return factor


def cost(usage: Usage, price: Price, *, at: float, tier: str | None = None) -> PicoUSD:
    """What `usage` costs at `price` in force, for a call made at `at` (unix seconds). `tier` overrides the usage's."""
    tier = usage.tier if tier is None else tier
    rates, bands = price.rates, price.bands
    if tier != STANDARD or (bands and usage.input_tokens > bands[0].above_input_tokens):
        rates = rates_for(price, usage.input_tokens, tier)
    read, brief, long = usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    if read or brief or long:
        tokens = usage.uncached_tokens * rates.input + read * rates.read
        tokens += brief * rates.write_5m + long * rates.write_1h
    else:
        tokens = max(usage.input_tokens, 0) * rates.input
    tokens += usage.output_tokens * rates.output
    if price.time_of_day or tier == BATCH:
        tokens *= factor_at(price, at, tier)
    amount = tokens + rates.per_call
    return amount if isinstance(amount, int) else round(amount)


class Terms(NamedTuple):
    """What most calls are billed by: rates in whole pico-dollars, of the standard tier, whatever the time of day."""

    most_input_tokens: float  # above them a band begins
    input: int
    output: int
    read: int
    write_5m: int
    write_1h: int
    per_call: int


def terms(price: Price) -> Terms | None:
    """None: nothing that this price bills is so simple."""
    r = price.rates
    rates = [r.input, r.output, r.read, r.write_5m, r.write_1h, r.per_call]
    whole_rates = [rate for rate in rates if isinstance(rate, int)]
    if price.time_of_day or len(whole_rates) < len(rates):
        return None
    return Terms(price.bands[0].above_input_tokens if price.bands else float("inf"), *whole_rates)


def plain_cost(usage: Usage, terms: Terms) -> PicoUSD | None:
    """What `cost` would say of it, in half the steps, for every call is billed; None: ask `cost`."""
    most, input_rate, output_rate, read_rate, brief_rate, long_rate, per_call = terms
    plain = usage.input_tokens
    if plain > most or usage.tier != STANDARD:
        return None
    read, brief, long = usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    if read or brief or long:
        plain -= read + brief + long
        per_call += read * read_rate + brief * brief_rate + long * long_rate
    if plain < 0:
        plain = 0
    return plain * input_rate + usage.output_tokens * output_rate + per_call


def hourly_cost(usd_per_hour: PicoUSD, seconds: float) -> PicoUSD:
    """What a machine rented or owned at that price an hour (in PicoUSD) costs for `seconds`, to the nanosecond."""
    return whole(Fraction(usd_per_hour * round(max(seconds, 0.0) * 10**9), 3600 * 10**9))


def whole(amount: Rate) -> PicoUSD:
    """`amount` to the nearest pico-dollar, a half to the even one."""
    return amount if isinstance(amount, int) else round(amount)


def parse_usd(value: str | int | float, per: int = 1) -> Rate:
    """US dollars for `per` units, written as a decimal, as PicoUSD a unit: parse_usd("3", 10**6) is 3_000_000.

    A float counts as the shortest decimal that reads as it, which is what was typed. Raises ValueError unless it is a
    finite number of at least 0.
    """
    try:
        decimal = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{value!r} is no amount in US dollars; write it like 1.25") from None
    # The exponent is bounded so that a typing error cannot ask for an integer of a billion digits.
    if not decimal.is_finite() or decimal < 0 or abs(decimal.adjusted()) > 30:
        raise ValueError(f"{value!r} is no price; write US dollars of 0 or more, like 1.25")
    pico = Fraction(decimal) * PICO / per
    return pico.numerator if pico.denominator == 1 else pico


def format_usd(amount: PicoUSD, *, exact: bool = False) -> str:
    """`amount` for people: "$12.35", below a dollar to the micro-dollar ("$0.001234"). `exact`: all digits."""
    if amount < 0:
        return "-" + format_usd(-amount, exact=exact)
    if exact:
        dollars, rest = divmod(amount, PICO)
        return f"${dollars}.{f'{rest:012d}'.rstrip('0'):0<2}"
    if amount < _BELOW_A_DOLLAR:  # what a call costs: told with every answer
        micros, rest = divmod(amount, 10**6)
        if rest >= 500_000 and (rest > 500_000 or micros & 1):  # a half to the even one
            micros += 1
        return f"$0.{f'{micros:06d}'.rstrip('0'):0<2}" if micros or not amount else "<$0.000001"
    cents, rest = divmod(amount, _CENT)
    if 2 * rest > _CENT or (2 * rest == _CENT and cents & 1):
        cents += 1
    return f"${cents // 100:,}.{cents % 100:02d}"


_CENT = PICO // 100
_BELOW_A_DOLLAR = PICO - 500_000
"""From here on an amount is nearer to a dollar than to any micro-dollar below."""


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
