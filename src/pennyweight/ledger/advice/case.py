"""What every rule of advice is given, and the words they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ...call import Basis
from ...money import PicoUSD
from ...request import Charge, Usage
from .settings import Settings
from .window import Turn, Window

__all__ = ["USD", "Book", "Case", "agent_name", "route", "some"]

USD = 10**12
"""PicoUSD."""


class Book(Protocol):
    """The price book, as far as advice needs it."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        """None: no price is known."""
        ...


class Case(msgspec.Struct, frozen=True):
    """What every rule gets."""

    window: Window
    book: Book
    settings: Settings

    def missed(self, turns: Sequence[Turn]) -> PicoUSD | None:
        """What tokens cost more for not having been read from the provider's cache; None: no price is known.

        Priced as plain input against a cache read, at the mean call's length, which decides the price band. Writing
        them to the cache again costs more than plain input with some providers, so this is rather too little.
        """
        costs = [self._missed(turn) for turn in turns]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known else None

    def _missed(self, turn: Turn) -> PicoUSD | None:
        calls = max(turn.warm, 1)
        mean = turn.lost // calls
        plain = self.price(turn.provider, turn.model, Usage(input_tokens=mean))
        read = self.price(turn.provider, turn.model, Usage(input_tokens=mean, cache_read_tokens=mean))
        return None if plain is None or read is None else max(plain - read, 0) * calls

    def price(self, provider: str, model: str, usage: Usage) -> PicoUSD | None:
        return self.book.cost(Charge(provider, model, usage, self.window.until))

    def worth_reading(self, per_day: PicoUSD | None) -> bool:
        return per_day is None or per_day >= self.settings.least_usd * USD

    def daily(self, amount: PicoUSD | None) -> PicoUSD | None:
        return None if amount is None else self.window.per_day(amount)

    @property
    def basis(self) -> Basis:
        """Of figures that are priced from receipts and have no other assumption in them."""
        return "computed" if self.window.whole_days else "estimated"


def agent_name(name: str, *, small: bool = False) -> str:
    """ "Agent 'main'", or "agent 'main'" in the middle of a sentence."""
    if not name:
        return "an unnamed agent" if small else "An unnamed agent"
    return f"{'agent' if small else 'Agent'} {name!r}"


def some(names: Sequence[str]) -> str:
    """The first three, and how many there are beside them."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def route(model: str, provider: str, rename: str | None) -> str:
    """A rule for pennyweight.toml."""
    lines = ["[[routes]]", f'model = "{model}"', f'provider = "{provider}"']
    return "\n".join([*lines, f'rename = "{rename}"'] if rename else lines)
