"""The price book: which price a model has at a provider at a moment. An unknown one is None, never 0.

Looked through in this order, and the first price in force is the price: the operator's own entries; a provider that
runs on the operator's machines (free by the token); corrections of the past; the catalogue at that provider; and, where
the provider is none that we know (a base URL of one's own) or one whose base URL is often moved, the model's maker.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ..errors import ConfigError
from ..money import FREE, PicoUSD, Price, Terms, cost, in_force, plain_cost, terms
from ..request import Charge
from .catalogue import Catalogue, ModelEntry, read_catalogue
from .spec import PriceOverride, compile_price

__all__ = ["LOCAL", "PriceBook", "Quote", "open_book", "read_overrides"]

LOCAL = frozenset({"ollama"})
"""Providers whose models run on the operator's own machines."""

MOVABLE = frozenset({"openai", "anthropic"})
"""Protocols as much as providers: `OPENAI_BASE_URL` often points at somebody else's server."""

REMEMBERED = 4096  # names come from callers, so what is remembered of them is bounded


class Quote(msgspec.Struct, frozen=True):
    """The periods of one model's price and where they come from: `provider` and `model` as the source names them."""

    provider: str
    model: str
    periods: tuple[Price, ...]
    origin: Literal["override", "local", "correction", "catalogue"]


class _InForce(NamedTuple):
    """A model's price over a stretch of time in which no price of it begins or ends."""

    since: float  # inclusive
    until: float
    price: Price | None
    terms: Terms | None  # of that price, where most of its bills are simple
    kind: Literal["priced", "unpriced", "free"]


class PriceBook:
    """Prices by provider and model. Raises ConfigError where an override says no price.

    local: providers on the operator's own machines; names: what a configured provider is called in the catalogue.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        overrides: Sequence[PriceOverride] = (),
        corrections: Sequence[PriceOverride] = (),
        local: Collection[str] = LOCAL,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.names = {name.lower(): listed.lower() for name, listed in (names or {}).items() if listed}
        self.local = frozenset(name.lower() for name in local)
        self.overrides = [(entry, _compiled(entry, "[[prices]]")) for entry in overrides]
        self.corrections = [(entry, _compiled(entry, "corrections.toml")) for entry in corrections]
        self._quotes: dict[tuple[str, str], tuple[Quote, ...]] = {}
        self._in_force: dict[tuple[str, str], _InForce] = {}

    def price(self, provider: str, model: str, at: float) -> Price | None:
        """The price in force at `at` (unix seconds); None: not known."""
        known = self._in_force.get((provider, model))
        if known is None or not known[0] <= at < known[1]:
            known = self._find(provider, model, at)
        return known[2]

    def bill(self, charge: Charge) -> tuple[PicoUSD | None, Literal["priced", "unpriced", "free"]]:
        """What `charge` is billed, its part of it where it is shared, and what sort of price it has."""
        at, usage = charge.at, charge.usage
        known = self._in_force.get((charge.provider, charge.model))
        if known is None or not known[0] <= at < known[1]:
            known = self._find(charge.provider, charge.model, at)
        _, _, price, simple, kind = known
        if simple is not None and charge.part is None:
            plain = plain_cost(usage, simple)
            if plain is not None:
                return plain, kind
        if price is None:
            return None, kind
        if charge.part is not None:
            return charge.part.cost(cost(charge.part.usage, price, at=at)), kind
        return cost(usage, price, at=at), kind

    def _find(self, provider: str, model: str, at: float) -> _InForce:
        quotes = self.quotes(provider, model)
        price = next((price for quote in quotes if (price := in_force(quote.periods, at)) is not None), None)
        if len(self._in_force) >= REMEMBERED:
            self._in_force.clear()
        simple = None if price is None else terms(price)
        kind: Literal["priced", "unpriced", "free"] = (
            "unpriced" if price is None else "free" if price.free else "priced"
        )
        found = self._in_force[provider, model] = _InForce(*_unchanged(quotes, at), price, simple, kind)
        return found

    def cost(self, charge: Charge) -> PicoUSD | None:
        """What `charge` is billed; None: no price is known."""
        price = self.price(charge.provider, charge.model, charge.at)
        return None if price is None else cost(charge.usage, price, at=charge.at)

    def known(self, provider: str, model: str) -> bool:
        """Whether the model has, had or will have a price."""
        return bool(self.quotes(provider, model))

    def quotes(self, provider: str, model: str) -> tuple[Quote, ...]:
        """All that is known of the model's price, in the order in which it counts."""
        key = provider, model
        quotes = self._quotes.get(key)
        if quotes is None:
            if len(self._quotes) >= REMEMBERED:
                self._quotes.clear()
            quotes = self._quotes[key] = tuple(self._look_up(provider.strip().lower(), model.strip()))
        return quotes

    def _look_up(self, provider: str, model: str) -> Iterable[Quote]:
        yield from self._overridden(provider, model)
        if provider in self.local and not model.lower().endswith(("-cloud", ":cloud")):
            # Ollama's cloud models run elsewhere, on a plan: no price is known for them.
            yield Quote(provider, model, (FREE,), "local")
            return
        found = self._listed(self.names.get(provider, provider), model) if model else None
        if found is None:
            return
        id, entry = found
        corrected = tuple(p for e, p in self.corrections if (e.provider, e.model) == (id, entry.id))
        if corrected:
            yield Quote(id, entry.id, corrected, "correction")
        yield Quote(id, entry.id, entry.periods, "catalogue")

    def _overridden(self, provider: str, model: str) -> Iterable[Quote]:
        """Entries for the exact name before those for `name*`, the longest first; for this provider before for any."""
        groups: dict[tuple[str, str], list[Price]] = {}
        for entry, price in self.overrides:
            if entry.provider.lower() in ("", provider) and _named(entry.model.lower(), model.lower()):
                groups.setdefault((entry.provider.lower(), entry.model), []).append(price)
        order = sorted(groups, key=lambda g: (g[1].endswith("*"), -len(g[1]), not g[0]))
        for name, pattern in order:
            yield Quote(name or provider, pattern, tuple(groups[name, pattern]), "override")

    def _listed(self, provider: str, model: str) -> tuple[str, ModelEntry] | None:
        id = self.catalogue.provider(provider)
        if id is not None:
            found = self.catalogue.find(id, model)
            if found is not None or id not in MOVABLE | {"openrouter"}:
                return found
        maker, slash, name = model.partition("/")
        maker_id = self.catalogue.provider(maker) if slash else None
        if maker_id is not None:
            return self.catalogue.find(maker_id, name)
        return self.catalogue.maker(model)


def _unchanged(quotes: Sequence[Quote], at: float) -> tuple[float, float]:
    """From when until when, around `at`, no price begins or ends."""
    edges = [edge for q in quotes for p in q.periods for edge in (p.since, p.until) if edge is not None]
    before = max((edge for edge in edges if edge <= at), default=float("-inf"))
    return before, min((edge for edge in edges if edge > at), default=float("inf"))


def open_book(
    data_dir: Path | None = None,
    *,
    overrides: Sequence[PriceOverride] = (),
    local: Collection[str] = LOCAL,
    names: Mapping[str, str] | None = None,
) -> PriceBook:
    """The book as installed, with what `prices update` left in `data_dir`. Raises ConfigError."""
    table = tomllib.loads(files(__package__).joinpath("corrections.toml").read_text(encoding="utf-8"))
    corrections = msgspec.convert(table["prices"], list[PriceOverride])
    return PriceBook(read_catalogue(data_dir), overrides=overrides, corrections=corrections, local=local, names=names)


def read_overrides(entries: Iterable[Mapping[str, Any]]) -> tuple[PriceOverride, ...]:
    """`[[prices]]` tables as overrides. Raises ConfigError that names the entry and what is wrong with it."""
    overrides = []
    for number, entry in enumerate(entries, start=1):
        try:
            override = msgspec.convert(dict(entry), PriceOverride)
        except msgspec.ValidationError as error:
            who = f" (model {entry['model']!r})" if "model" in entry else ""
            raise ConfigError(f"[[prices]] entry {number}{who}: {error}. See docs/prices.md.") from None
        _compiled(override, f"[[prices]] entry {number}")
        overrides.append(override)
    return tuple(overrides)


def _compiled(entry: PriceOverride, place: str) -> Price:
    try:
        return compile_price(entry)
    except ValueError as error:
        raise ConfigError(f"{place} for model {entry.model!r}: {error}.") from None


def _named(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
