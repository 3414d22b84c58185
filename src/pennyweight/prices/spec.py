"""A price as people write it (US dollars per million tokens, dates, windows), and its exact form.

The same shape serves the TOML overrides, the files of prices that ship with Pennyweight and the billing bench.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction

import msgspec

from ..money import STANDARD, Band, Price, Rate, Rates, Tier, TimeOfDay, parse_usd

__all__ = [
    "BandSpec",
    "PriceOverride",
    "PriceSpec",
    "RatesSpec",
    "TierSpec",
    "TimeOfDaySpec",
    "compile_price",
    "moment",
]

Amount = str | int | float
"""US dollars: text, or a number as typed (0.0056)."""

MILLION = 10**6
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GROUPS = {"daily": "mon-sun", "all": "mon-sun", "every day": "mon-sun", "weekdays": "mon-fri", "weekends": "sat-sun"}


class RatesSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars per million tokens; `per_call` per call. `cache_write`: both 5-minute and 1-hour writes."""

    input: Amount | None = None
    output: Amount | None = None
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_5m: Amount | None = None
    cache_write_1h: Amount | None = None
    per_call: Amount | None = None


class BandSpec(RatesSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The rates above a prompt length. What it does not name stays as below the bound."""

    above_input_tokens: int


class TimeOfDaySpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`days`: "mon-fri", "sat,sun", "daily" or a list; times "HH:MM" UTC, from inclusive, to exclusive."""

    from_utc: str
    to_utc: str
    factor: Amount
    days: str | list[str] = "daily"


class TierSpec(RatesSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Rates for a service tier by its name in the provider's usage. What it does not name is as for standard."""

    tier: str
    bands: list[BandSpec] = []


class PriceSpec(RatesSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One period of a model's price. `from` and `until` (exclusive): a date or ISO time, UTC."""

    since: str | None = msgspec.field(default=None, name="from")
    until: str | None = None
    bands: list[BandSpec] = []
    time_of_day: list[TimeOfDaySpec] = []
    tiers: list[TierSpec] = []
    source: str = ""


class PriceOverride(PriceSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """A `[[prices]]` entry: the price of `model` at `provider` ("" : at any). The name may end in `*`."""

    model: str
    provider: str = ""


def compile_price(spec: PriceSpec) -> Price:
    """The exact form of `spec`. Raises ValueError, quoting the value, when it does not say a price."""
    rates = _rates(spec, None)
    bands = _bands(spec.bands, rates)
    windows = tuple(_window(window) for window in spec.time_of_day)
    tiers = tuple(_tier(tier, rates) for tier in spec.tiers)
    said = next((tier for tier in tiers if tier.name == STANDARD), None)
    if said is not None:  # twice, then: the tier counts
        rates, bands = said.rates, said.bands
        tiers = tuple(tier for tier in tiers if tier.name != STANDARD)
    since = None if spec.since is None else moment(spec.since)
    until = None if spec.until is None else moment(spec.until)
    if since is not None and until is not None and since >= until:
        raise ValueError(f"the price from {spec.since!r} until {spec.until!r} is never in force")
    return Price(rates, bands, windows, tiers, since, until, spec.source)


def _rates(spec: RatesSpec, below: Rates | None) -> Rates:
    """`below`: the rates that hold where `spec` names none; without them input and output must be named."""
    if below is None and (spec.input is None or spec.output is None):
        raise ValueError("a price needs `input` and `output`, in US dollars per million tokens (0 if free)")
    write_5m, write_1h = spec.cache_write_5m, spec.cache_write_1h
    if spec.cache_write is not None:
        write_5m = spec.cache_write if write_5m is None else write_5m
        write_1h = spec.cache_write if write_1h is None else write_1h
    return Rates(
        input=_rate(spec.input, below.input if below else None) or 0,
        output=_rate(spec.output, below.output if below else None) or 0,
        cache_read=_rate(spec.cache_read, below.cache_read if below else None),
        cache_write_5m=_rate(write_5m, below.cache_write_5m if below else None),
        cache_write_1h=_rate(write_1h, below.cache_write_1h if below else None),
        per_call=(below.per_call if below else 0) if spec.per_call is None else parse_usd(spec.per_call),
    )


def _rate(amount: Amount | None, otherwise: Rate | None) -> Rate | None:
    return otherwise if amount is None else parse_usd(amount, MILLION)


def _bands(specs: Sequence[BandSpec], below: Rates) -> tuple[Band, ...]:
    bands = sorted(specs, key=lambda band: band.above_input_tokens)
    bounds = [band.above_input_tokens for band in bands]
    if len(set(bounds)) != len(bounds) or (bounds and bounds[0] < 0):
        raise ValueError(f"bands need different bounds of 0 or more, not {bounds}")
    built: list[Band] = []
    for band in bands:
        below = _rates(band, below)
        built.append(Band(band.above_input_tokens, below))
    return tuple(built)


def _tier(spec: TierSpec, standard: Rates) -> Tier:
    rates = _rates(spec, standard)
    return Tier(spec.tier, rates, _bands(spec.bands, rates))


def _window(spec: TimeOfDaySpec) -> TimeOfDay:
    start, end = _second_of_day(spec.from_utc), _second_of_day(spec.to_utc)
    if start == end:
        raise ValueError(f"the window from {spec.from_utc!r} to {spec.to_utc!r} is empty; a day is 00:00 to 24:00")
    factor = Fraction(parse_usd(spec.factor)) / 10**12
    return TimeOfDay(_days(spec.days), start, end, factor)


def _second_of_day(text: str) -> int:
    parts = text.split(":")
    if len(parts) in (2, 3) and all(p.isascii() and p.isdigit() for p in parts):
        hour, minute, second = [*map(int, parts), 0][:3]
        total = hour * 3600 + minute * 60 + second
        if minute < 60 and second < 60 and total <= 86400:
            return total
    raise ValueError(f"{text!r} is no time of day; write it like 06:30 (UTC; the end of a day is 24:00)")


def _days(spec: str | Sequence[str]) -> frozenset[int]:
    text = spec if isinstance(spec, str) else ",".join(spec)
    text = text.strip().lower()
    days: set[int] = set()
    for part in _GROUPS.get(text, text).split(","):
        first, dash, last = _GROUPS.get(part.strip(), part).partition("-")
        start = _day(first, text)
        end = _day(last, text) if dash else start
        days.update((start + i) % 7 for i in range((end - start) % 7 + 1))
    return frozenset(days)


def _day(name: str, text: str) -> int:
    short = name.strip()[:3]
    if short not in DAYS:
        raise ValueError(f'{text!r} names no days; write "mon-fri", "sat,sun" or "daily"')
    return DAYS.index(short)


def moment(text: str) -> float:
    """A date or ISO time as unix seconds; without a zone it is UTC. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; write 2026-11-01 or 2026-11-01T00:00:00Z (UTC)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
