"""A miss: tokens that a provider's cache could have served, and what they cost above that."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import msgspec

from ...money import PicoUSD, Rates, whole
from ...request import Usage

__all__ = ["BETWEEN", "FLOOR_TOKENS", "Code", "Miss", "extra_cost"]

Code = Literal[
    "ttl_lapsed",
    "volatile_head",
    "billing_header",
    "system_changed",
    "tools_reordered",
    "tools_changed",
    "tool_changed",
    "history_changed",
    "model_switched",
    "provider_switched",
    "below_minimum",
    "marker_missing",
    "marker_dropped",
    "marker_transient",
    "marker_misplaced",
    "marker_out_of_reach",
    "header_changed",
    "parameter_changed",
    "cache_key_missing",
    "cache_key_changed",
    "heartbeat",
    "memory_flush",
    "parallel",
    "evicted",
]

FLOOR_TOKENS = 1_024
"""Smaller misses are nothing to act on, and inside the error of counting with a foreign tokenizer."""


BETWEEN = "between conversations"
"""Among a miss's names: what differs is another one's conversation."""


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call that a hit would have made cheaper, and why it was none. `cost`: more than a hit would have
    cost; None: no price is known. `before` and `after` quote the prompt, all else is positions and names."""

    code: Code
    tokens: int
    cost: PicoUSD | None
    place: str = ""  # where it changed, or where the last mark stands
    where: str = ""  # the same without running numbers: what findings are gathered by
    at_byte: int | None = None  # within `place`
    at_token: int = 0  # of the prompt
    what: str = ""  # "a date", "an id", …
    names: tuple[str, ...] = ()  # tools or models
    gap_s: float = 0.0
    ttl_s: float = 0.0
    before: str = ""
    after: str = ""


def extra_cost(usage: Usage, lost: float, rates: Rates | None, *, fresh: float = 0.0) -> PicoUSD | None:
    """What `lost` tokens cost above the price of reading them.

    What was written to the cache stands right behind what was read, so the missed tokens were written as far as
    anything was, and plain input behind that. fresh: tokens that a hit would have had to be written for first.
    """
    if rates is None:
        return None
    in_5m, in_1h = usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    written = min(lost, in_5m + in_1h)
    share = Fraction(in_1h, in_5m + in_1h) if in_5m + in_1h else Fraction(0)
    of_write = rates.write_5m * (1 - share) + rates.write_1h * share
    tokens, wrote, first = round(lost), round(written), round(fresh)
    paid = wrote * of_write + (tokens - wrote) * rates.input
    return whole(paid - tokens * rates.read - first * (rates.write_5m - rates.input))
