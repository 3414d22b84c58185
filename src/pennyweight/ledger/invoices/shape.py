"""What providers' exports have in common: lines with a span of time, a model, tokens or an amount. Exact, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

import msgspec

from ...errors import ConfigError
from ...money import PICO, PicoUSD
from ...request import Usage

__all__ = [
    "KINDS",
    "Invoice",
    "Item",
    "Kind",
    "Rates",
    "Tokens",
    "amount",
    "count",
    "currency_rate",
    "moment",
    "rounding",
    "tier_name",
]

Kind = Literal["uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output"]
KINDS: tuple[Kind, ...] = ("uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
"""What a token can be billed as. The order is that of the fields of `Tokens`."""

Rates = Mapping[str, Decimal]
"""US dollars for one unit of another currency, by its ISO-4217 code in upper case."""


class Tokens(msgspec.Struct, frozen=True):
    """Tokens by what they are billed as; no token is in two of them. A difference of two may be negative."""

    uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)))

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(*(mine - theirs for mine, theirs in zip(self.counts, other.counts, strict=True)))

    def __bool__(self) -> bool:
        return any(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        return self.uncached, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def moved(self) -> int:
        """Of a difference: how many tokens are on one side only."""
        return sum(map(abs, self.counts))

    @classmethod
    def of(cls, usage: Usage) -> Tokens:
        return cls(
            usage.uncached_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.output_tokens,
        )


class Item(msgspec.Struct, frozen=True):
    """One line of an export. "" is what the export does not tell; times are unix seconds, `end` is exclusive."""

    place: str  # where it stands, for people: "line 7"
    raw: str  # the whole of it, by which a line that came twice is known
    start: float
    end: float
    model: str = ""
    tier: str = ""  # standard, batch, priority, flex
    key: str = ""  # the API key's id or name
    operation: str = ""  # "generate" or "embed"; "": either
    service: str = ""  # a cost that is not tokens, by the provider's name for it
    kind: Kind | Literal[""] = ""  # of a cost line: what it is for
    tokens: Tokens | None = None
    requests: int | None = None
    amount: PicoUSD | None = None


class Invoice(msgspec.Struct, frozen=True):
    """An export, read. It tells tokens (`usage`) or amounts (`cost`).

    spans: the buckets that it covers, empty ones too. unit: the smallest step of its amounts, so each is off by half of
    it at most. incomplete: why it cannot be whole, "" if it seems to be. notes: what a reader should know.
    """

    provider: str
    form: str
    measure: Literal["usage", "cost"]
    items: tuple[Item, ...]
    spans: tuple[tuple[float, float], ...]
    unit: PicoUSD = 0
    incomplete: str = ""
    notes: tuple[str, ...] = ()


# --- values -----------------------------------------------------------------------------------------------


def count(value: Any, name: str, where: str) -> int:
    """A number of tokens or requests; nothing, None and "" are 0. CSV exports write whole numbers as "59200.0"."""
    if value is None or value == "":
        return 0
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number != number.to_integral_value() or not 0 <= number < 10**18:
        raise ConfigError(f"{name} {value!r} is no count. Export the file again, unedited.", where=where)
    return int(number)


def amount(value: Any, name: str, where: str, *, per: int = 1, rate: Decimal = Decimal(1)) -> PicoUSD:
    """A sum of money in PicoUSD, from an amount in 1/`per` of a currency worth `rate` dollars. Credits are negative."""
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise ConfigError(f"{name} {value!r} is no amount. Export the file again, unedited.", where=where)
    return round(Fraction(number) * Fraction(rate) * PICO / per)


def rounding(values: Sequence[Any], *, per: int = 1, rate: Decimal = Decimal(1)) -> PicoUSD:
    """The smallest step of these amounts, in PicoUSD: one in the last place that any of them uses.

    Binary floats that were printed whole (0.8958740000000000, 0.30000000000000004) are steps of 10^-12.
    """
    places = 0
    for value in values:
        exponent = Decimal(str(value)).normalize().as_tuple().exponent
        places = max(places, -int(exponent))
    return max(round(Fraction(PICO, per) * Fraction(rate) / 10 ** min(places, 12)), 1) if values else 0


def currency_rate(code: Any, rates: Rates, where: str) -> Decimal:
    """Dollars for one unit of that currency. Raises ConfigError for one that no rate was given for."""
    name = str(code or "USD").strip().upper()
    if name == "USD":
        return Decimal(1)
    if name not in rates:
        raise ConfigError(
            f"The amounts are in {name}, and the ledger is in USD. Say what one {name} was worth: --rate {name}=1.08",
            where=where,
        )
    return rates[name]


def moment(value: Any, where: str) -> float:
    """Unix seconds, from a number of them or from an ISO time; a time without a zone is UTC."""
    try:
        if isinstance(value, str) and not re.fullmatch(r"\d{9,11}(\.0*)?", value.strip()):
            time = datetime.fromisoformat(value.strip())
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 < seconds < 1e11:
        raise ConfigError(f"{value!r} is no time. Export the file again, unedited.", where=where)
    return seconds


_TIERS = {
    "default": "standard",
    "auto": "standard",
    "message": "standard",
    "priority_on_demand": "priority",
    "flex_discount": "flex",
}


def tier_name(value: Any) -> str:
    """Service tiers by one name; "" is not told."""
    name = str(value or "").strip().lower()
    return _TIERS.get(name, name)
