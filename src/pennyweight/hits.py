"""What caches tell of their hits: which looked, which answers were held against fresh ones, and how wrong they may be.

A cache calls `looked` on every call that it could have answered, and `Hits.audited` whenever a stored answer was
compared with one asked anew. Everything else (money, routes, days) is read from receipts by whoever keeps the book.
Pure: `ledger.hits` keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from .call import Call, Receipt

__all__ = [
    "AGAIN",
    "LOOKS",
    "STILL",
    "Again",
    "Audit",
    "CacheRule",
    "Hits",
    "Look",
    "NoHits",
    "Pair",
    "Still",
    "looked",
    "looks",
]

LOOKS = "cache_looks"
"""The key of `Call.facts` under which looks are noted: a list of `Look`."""

Look = tuple[str, str, str]
"""(cache, tier, key): the store that had an answer and the key of its entry, both "" where there was none."""


STILL = "cache_still"
"""The key of `Call.facts` under which a cache leaves a `Still` of the answer that it offers."""

AGAIN = "cache_again"
"""The key of `Call.facts` under which a call that is an earlier one byte for byte, and was given the same stored
answer, has the `Again` of all such calls."""


class Still(Protocol):
    """An answer that a cache gave, and whether it would give it to the same bytes now, asked without reading them."""

    @property
    def look(self) -> Look:
        """As the cache noted it."""
        ...

    def age_s(self) -> float | None:
        """How old the answer is; None: it lapsed, is gone, was replaced or is to be compared: ask the cache anew."""
        ...


class Again:
    """What equal calls have in common: the receipt of the first, but for ids and times."""

    __slots__ = ("receipt",)

    def __init__(self) -> None:
        self.receipt: Receipt | None = None


class CacheRule(msgspec.Struct, frozen=True):
    """What a call's route says of keeping its answers. `name`: of the route, as figures are told by."""

    name: str
    volatile: bool = False  # answers are neither kept nor replayed
    ttl_s: float | None = None  # for how long they may be replayed; None: as the cache's own settings say


class Pair(msgspec.Struct, frozen=True):
    """The texts of an audit: what was asked and answered anew, and what had been kept. For people; never on disk."""

    asked: str
    answer: str
    kept_answer: str
    kept_asked: str = ""  # "": the same, field by field


class Audit(msgspec.Struct, frozen=True):
    """One stored answer that was held against a fresh one. `valid`: whether it might have been served.

    source: "audit" for a sample of hits drawn at random, "expired" for answers that had to be asked again anyway,
    "feedback" for what a caller said. Only a random sample says how many hits are wrong: only "audit" is in the bound.
    """

    cache: str  # the optimizer's or wrapper's name: "exact_cache", "semantic_cache", "fusing"
    valid: bool
    tenant: str = "local"
    route: str = ""
    call_id: str = ""
    tier: str = ""  # the store that had the answer: "memory", "redis"; "" where nobody tells
    source: Literal["audit", "expired", "feedback"] = "audit"
    pair: Pair | None = None


class Hits(Protocol):
    """Where audits are reported. Never blocks, never raises."""

    def audited(self, audit: Audit) -> None: ...


class NoHits:
    """Protocol: `Hits`, for those who keep no book."""

    def audited(self, audit: Audit) -> None:
        pass


def looked(call: Call, cache: str, tier: str = "", key: str = "") -> None:
    """Note that `cache` could have answered this call and looked. tier: the store that had an answer; "": a miss.

    Whether the answer was then served is told by the call's trail (an accepted step of that name). key: of the entry,
    so that an answer of which a caller says that it was wrong can be dropped.
    """
    found = call.facts.get(LOOKS)
    if found is None:
        call.facts[LOOKS] = [(cache, tier, key)]
    else:
        found.append((cache, tier, key))


def looks(call: Call) -> Sequence[Look]:
    found: Sequence[Look] = call.facts.get(LOOKS, ())
    return found
