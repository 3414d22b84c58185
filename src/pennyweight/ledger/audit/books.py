"""The ledger's side of an audit: what calls consumed and what they were to cost, in small groups. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ...money import PicoUSD, Price, factor_at, rates_for, whole
from ...request import Usage
from ..invoices.shape import Tokens, tier_name
from ..reading import is_made, reading

__all__ = ["Entry", "Prices", "Sure", "entries", "first_at"]

Sure = Literal["told", "abandoned", "counted", "suspect", "untold"]
"""How the tokens are known: by the provider; of a stream that broke off; counted from texts; told in contradiction;
not at all."""

Prices = Callable[[str, str, float], Price | None]
"""The price of (provider, model, at); None: not known."""

MINUTE_S = 60


class Entry(msgspec.Struct, frozen=True):
    """Calls of one minute, model, tier and sort, summed; single calls where asked for.

    cost: what the receipts say the provider bills; of unpriced calls nothing. by_kind: the same tokens at the prices
    of the book as it is now.
    """

    at: float
    provider: str
    model: str
    tier: str
    operation: str
    sure: Sure
    priced: bool
    calls: int
    tokens: Tokens
    cost: PicoUSD
    by_kind: tuple[PicoUSD, ...] | None

    def __add__(self, other: Entry) -> Entry:
        both = self.by_kind is not None and other.by_kind is not None
        return msgspec.structs.replace(
            self,
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            cost=self.cost + other.cost,
            by_kind=tuple(a + b for a, b in zip(self.by_kind or (), other.by_kind or (), strict=True))
            if both
            else None,
        )


class Skipped(msgspec.Struct):
    """Calls that no invoice of this kind holds."""

    subscription: int = 0


def entries(
    path: Path, providers: Collection[str], since: float, until: float, prices: Prices, *, singly_from: float
) -> tuple[list[Entry], Skipped]:
    """What was consumed at these providers from `since` to `until` (exclusive). Raises StoreError.

    Answers from a cache are not in it, nor calls on a subscription. From `singly_from` on each call is an entry.
    """
    summed: dict[tuple[object, ...], Entry] = {}
    skipped = Skipped()
    for number, (entry, pricing) in enumerate(_calls(path, providers, since, until, prices)):
        if pricing == "subscription":
            skipped.subscription += 1
            continue
        alone = number if entry.at >= singly_from else -1
        at = entry.at if alone >= 0 else entry.at // MINUTE_S * MINUTE_S
        key = (alone, at, entry.provider, entry.model, entry.tier, entry.operation, entry.sure, entry.priced)
        entry = msgspec.structs.replace(entry, at=at)
        known = summed.get(key)
        summed[key] = entry if known is None else known + entry
    return sorted(summed.values(), key=lambda entry: entry.at), skipped


def first_at(path: Path) -> float | None:
    """When the first call of the whole ledger was made; None of an empty one. Raises StoreError."""
    if not is_made(path):
        return None
    with reading(path) as connection:
        found = connection.execute("SELECT min(at) FROM receipts").fetchone()[0]
        return None if found is None else float(found)


def _calls(
    path: Path, providers: Collection[str], since: float, until: float, prices: Prices
) -> Iterator[tuple[Entry, str]]:
    """Each call that reached a provider, and its pricing."""
    if not is_made(path):
        return
    names = sorted(providers)
    sql = f"""SELECT *, cost_pico - spent_pico AS bill_pico FROM receipts
      WHERE at >= ? AND at < ? AND replayed = 0 AND provider IN ({", ".join("?" * len(names))})
      ORDER BY at"""
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute(sql, (since, until, *names)):
            if row["input_tokens"] is None and not 200 <= row["status"] < 300:
                continue  # it failed: nobody bills it
            yield _entry(row, prices), row["pricing"]


def _entry(row: sqlite3.Row, prices: Prices) -> Entry:
    usage = Usage(tier=row["tier"] or "standard")
    if row["input_tokens"] is not None:
        usage = Usage(
            row["input_tokens"],
            row["cache_read_tokens"],
            row["cache_write_5m_tokens"],
            row["cache_write_1h_tokens"],
            row["output_tokens"],
            tier=row["tier"],
        )
    tokens = Tokens.of(usage)
    return Entry(
        at=row["at"],
        provider=row["provider"],
        model=row["target_model"],
        tier=tier_name(usage.tier),
        operation=row["operation"],
        sure=_sure(row),
        priced=row["cost_pico"] is not None,
        calls=1,
        tokens=tokens,
        cost=row["bill_pico"] or 0,
        by_kind=_by_kind(usage, tokens, prices(row["provider"], row["target_model"], row["at"]), row["at"]),
    )


def _sure(row: sqlite3.Row) -> Sure:
    if row["input_tokens"] is None:
        return "untold"
    if row["abandoned"] or row["error"]:
        return "abandoned"
    if "usage_suspect" in row.keys() and row["usage_suspect"]:  # noqa: SIM118 - not there before schema 7
        return "suspect"
    return "counted" if row["counted"] else "told"


def _by_kind(usage: Usage, tokens: Tokens, price: Price | None, at: float) -> tuple[PicoUSD, ...] | None:
    if price is None:
        return None
    rates = rates_for(price, usage.input_tokens, usage.tier)
    each = (rates.input, rates.read, rates.write_5m, rates.write_1h, rates.output)
    factor = factor_at(price, at, usage.tier)
    return tuple(whole(count * rate * factor) for count, rate in zip(tokens.counts, each, strict=True))
