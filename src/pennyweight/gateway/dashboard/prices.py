"""The price book in force, as plain JSON values: of the models that calls went to, or of those that a search finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ...money import Price, Rate, Rates, in_force, whole
from ...prices import PriceBook, Quote

__all__ = ["found", "used"]

_SHOWN = 100


def used(book: PriceBook, models: Iterable[tuple[str, str, int]], at: float) -> list[dict[str, Any]]:
    """models: (provider, model, calls). A model without a price is told as one, never left out."""
    told = []
    for provider, model, calls in models:
        line: dict[str, Any] = {"provider": provider, "model": model, "calls": calls, "priced": False}
        for quote in book.quotes(provider, model):
            price = in_force(quote.periods, at)
            if price is not None:
                line |= {**_price(quote, price), "provider": provider, "model": model, "priced": True}
                break
        told.append(line)
    return told


def found(book: PriceBook, text: str, at: float) -> dict[str, Any]:
    """The first models whose `provider/name` has `text` in it, and how many there are."""
    text = text.lower()
    lines = [{**_price(quote, price), "priced": True} for quote, price in _current(book, text, at)]
    return {"count": len(lines), "lines": lines[:_SHOWN]}


def _current(book: PriceBook, text: str, at: float) -> Iterator[tuple[Quote, Price]]:
    """Every model with the price in force: the operator's own first."""
    for override, price in book.overrides:
        if text in f"{override.provider}/{override.model}".lower() and in_force((price,), at):
            yield Quote(override.provider, override.model, (price,), "override"), price
    for id, provider in book.catalogue.providers.items():
        for entry in provider.entries:
            if text not in f"{id}/{entry.id}".lower():
                continue
            current = in_force(entry.periods, at)
            if current is not None:
                yield Quote(id, entry.id, entry.periods, "catalogue"), current


def _price(quote: Quote, price: Price) -> dict[str, Any]:
    notes = [f"above {band.above_input_tokens:,} input tokens dearer" for band in price.bands]
    notes += [f"{tier.name} tier differs" for tier in price.tiers]
    notes += ["depends on the time of day"] if price.time_of_day else []
    return {
        "provider": quote.provider or "any",
        "model": quote.model,
        "origin": quote.origin,
        "since": price.since,
        "until": price.until,
        "source": price.source,
        "free": price.free,
        "notes": notes,
        **_rates(price.rates),
    }


def _rates(rates: Rates) -> dict[str, str | None]:
    """Pico-dollars per million tokens (per call: for one), as text; None: billed as input, or nothing."""
    names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    told = {name: _pico(getattr(rates, name), 10**6) for name in names}
    return {**told, "per_call": _pico(rates.per_call or None, 1)}


def _pico(rate: Rate | None, count: int) -> str | None:
    return None if rate is None else str(whole(rate * count))
