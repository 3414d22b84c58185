"""How a cache that answers by likeness stands with each kind of call: what it learnt, and the pairs it was judged by.

What the semantic cache writes, the database keeps and the dashboard shows. Texts are for the tenant's own operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

__all__ = ["NoStandings", "Pair", "Standing", "Standings", "State"]

State = Literal["learning", "open", "closed"]
"""learning: too little evidence to answer anything yet; open: it answers; closed: it did, and was wrong too often."""


class Standing(msgspec.Struct, frozen=True):
    """One kind of call of one tenant. Counts are since the beginning, rates in [0, 1]."""

    partition: str  # hexadecimal: the calls that differ in their newest user text alone, and the embedder
    tenant: str
    route: str  # as figures are told by: the route's name, or provider/model
    state: State
    asked: int = 0  # calls that had a stored neighbour to be answered by
    hits: int = 0
    audited: int = 0  # would-be hits that were asked upstream instead
    audited_wrong: int = 0
    labels: int = 0  # answers compared, of misses and audits
    entries: int = 0  # answers stored
    bound: float = 1.0  # at most this share of the answers above the threshold is wrong, at `confidence`
    target: float = 0.02  # what the operator allows
    share: float = 0.0  # of calls with a neighbour that are above the threshold
    reason: str = ""  # why it is not open
    updated_at: float = 0.0  # unix seconds


class Pair(msgspec.Struct, frozen=True):
    """One audit side by side: the question that was asked, the stored one that would have answered it, both answers."""

    at: float  # unix seconds
    tenant: str
    partition: str
    route: str
    call_id: str
    asked: str
    stored: str
    served: str  # the answer to `stored`, cut to a few thousand characters
    fresh: str  # what the upstream said to `asked`
    equal: bool
    cosine: float
    source: Literal["audit", "shadow", "miss"] = "audit"  # drawn at random; would have been served; was below


class Standings(Protocol):
    """Where they are kept. Raises StoreError."""

    async def load(self, partition: str) -> bytes | None:
        """What was learnt of that partition, as it was saved."""
        ...

    async def save(self, standing: Standing, learnt: bytes | None = None) -> None:
        """learnt None: what was saved before stays."""
        ...

    async def add(self, pair: Pair) -> None:
        """Keep a pair; the oldest of the tenant's go when there are too many."""
        ...

    async def all(self, *, tenant: str | None = None) -> Sequence[Standing]: ...

    async def pairs(self, *, tenant: str | None = None, limit: int = 50) -> Sequence[Pair]:
        """The newest first."""
        ...

    async def forget(self, *, tenant: str | None = None, before: float | None = None) -> int:
        """Drop partitions and pairs of that tenant, older than that moment (unix seconds). How many partitions."""
        ...


class NoStandings:
    """Protocol: `Standings`, for those who keep nothing: everything is learnt anew."""

    async def load(self, partition: str) -> bytes | None:
        return None

    async def save(self, standing: Standing, learnt: bytes | None = None) -> None:
        pass

    async def add(self, pair: Pair) -> None:
        pass

    async def all(self, *, tenant: str | None = None) -> Sequence[Standing]:
        return ()

    async def pairs(self, *, tenant: str | None = None, limit: int = 50) -> Sequence[Pair]:
        return ()

    async def forget(self, *, tenant: str | None = None, before: float | None = None) -> int:
        return 0
