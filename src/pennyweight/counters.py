"""Counters of what may be spent: what a store of them must do, whichever it is.

A counter has two numbers: what is spent, and what is held for calls under way. Several are taken at once: all of them,
or none. Units are the caller's; amounts are whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

__all__ = ["KEEP_S", "MOST", "Counter", "Counters", "Move", "Take", "Taken", "bounded"]

MOST = 4 * 10**18
"""No amount is larger: sums of two stay within 64 bits. In pico-dollars it is four million dollars."""


KEEP_S = 40 * 86_400.0
"""Counters are kept so long after their windows have ended; those without a window, ten times that after their last
change."""


class Counter(msgspec.Struct, frozen=True):
    """`held` belongs to calls under way, and to those of processes that were killed: they may have been billed."""

    spent: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        return self.spent + self.held


class Take(msgspec.Struct, frozen=True):
    """Hold `amount` at `key`, if the total is then at most `limit`. begins, ends: of its window, in unix seconds; None:
    it has no end."""

    key: str
    amount: int
    limit: int
    begins: float = 0.0
    ends: float | None = None


class Taken(msgspec.Struct, frozen=True):
    """`refused`: the indices of those that had no room, () where all were taken. counters: of all, as they are now."""

    refused: tuple[int, ...]
    counters: tuple[Counter, ...]


class Move(msgspec.Struct, frozen=True):
    """What was held is held no more, and so much of it is spent."""

    key: str
    held: int
    spent: int


class Counters(Protocol):
    """Raises StoreError: what then became of a change is not known, and it must not be made again."""

    async def take(self, wanted: Sequence[Take]) -> Taken:
        """All of them or none, whoever else takes at the same time. Keys differ."""
        ...

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        """The counters afterwards. Nothing is checked: what is billed is billed."""
        ...

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        """Those whose keys begin so, by key."""
        ...

    async def reset(self, key: str) -> bool:
        """Nothing is spent nor held any more. False: there was no such counter."""
        ...


def bounded(amount: int) -> int:
    """A provider may bill what it likes; a counter stays a number that every store can hold."""
    return max(-MOST, min(amount, MOST))
