"""What a usage comes to in a budget's unit: pico-dollars, or thousandths of a price-weighted token.

Pure. A prompt token counts by its price relative to plain input: one that the provider reads from its cache counts a
tenth where that costs a tenth, one that is written to it 1.25. An answer's tokens count one each. Counted as billed
tokens, every call of a session counts its whole history again: 86 to 100% of real sessions with tools pass 10,000 to
30,000 then, and the sessions that succeed first of all (see docs/decisions/0030).
"""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec

from ...money import PicoUSD, Price, rates_for
from ...request import Usage

__all__ = ["TOKEN", "Bounds", "tokens"]

TOKEN = 1_000
"""One token, in the unit of counters: shares of tokens add up exactly."""

_READ, _WRITE_5M, _WRITE_1H = Fraction(1, 10), Fraction(5, 4), Fraction(2)  # as most price them; where nothing costs


class Bounds(msgspec.Struct, frozen=True):
    """What a call can come to before it is sent: its usage at worst, and at least. `*_usd` None: no price is known."""

    worst: Usage
    least: Usage
    worst_usd: PicoUSD | None
    least_usd: PicoUSD | None
    price: Price | None = None


def tokens(usage: Usage, price: Price | None, *, plain: bool = False) -> int:
    """Thousandths of tokens, rounded up. price None: none is known, or nothing costs; usual relations are taken."""
    if plain:
        return usage.total_tokens * TOKEN
    read, write_5m, write_1h = _READ, _WRITE_5M, _WRITE_1H
    if price is not None:
        rates = rates_for(price, usage.input_tokens, usage.tier)
        if rates.input:
            read, write_5m, write_1h = (Fraction(r) / rates.input for r in (rates.read, rates.write_5m, rates.write_1h))
    prompt = usage.uncached_tokens + usage.cache_read_tokens * read
    prompt += usage.cache_write_5m_tokens * write_5m + usage.cache_write_1h_tokens * write_1h
    return math.ceil(TOKEN * (prompt + usage.output_tokens))
