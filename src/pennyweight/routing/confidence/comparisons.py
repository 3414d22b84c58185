"""Answers of a cheap target that were held against a stronger one's: what thresholds and acceptors are learnt from.

No text is kept of either, only the signs that the cheap answer had and whether the two said the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ...money import PicoUSD
from .acceptor import Acceptor, by_hand, train
from .bounds import threshold
from .decision import LEAST_PAIRS, Standing
from .features import FEATURES

__all__ = ["Comparison", "Comparisons", "Kind", "NoComparisons", "kept_share", "learn", "standing"]


class Kind(msgspec.Struct, frozen=True):
    """Calls that are judged alike. Targets as "provider/model"; peer "": none; task "": all tasks together."""

    tenant: str
    cheap: str
    peer: str
    strong: str
    task: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """keepable: no verifier complained. same: the stronger target said the same, as far as that can be told.

    first: what the cheap target and the peer were billed, last: the stronger one; 0: not known, or nothing.
    """

    at: float  # unix seconds
    kind: Kind
    features: tuple[float, ...]
    keepable: bool
    same: bool
    id: int = 0  # of the table's row; 0: not stored
    first: PicoUSD = 0
    last: PicoUSD = 0


class Comparisons(Protocol):
    """Where they are kept. Raises StoreError."""

    async def add(self, comparison: Comparison, *, most: int) -> None:
        """Keep it, and of its tenant, cheap, peer and strong target the newest `most`."""
        ...

    async def of(self, kind: Kind) -> Sequence[Comparison]:
        """Those of the kind's tenant and targets, all tasks, the oldest first."""
        ...

    async def kinds(self) -> Sequence[tuple[Kind, int]]:
        """What there are comparisons of (task "") and how many."""
        ...

    async def acceptor(self, kind: Kind) -> tuple[Acceptor, int] | None:
        """What was trained for the kind's tenant and targets, and the id of the last comparison it learnt from."""
        ...

    async def keep(self, kind: Kind, acceptor: Acceptor, until: int) -> None: ...


class NoComparisons:
    """Protocol: `Comparisons`, for those who keep nothing."""

    async def add(self, comparison: Comparison, *, most: int) -> None:
        pass

    async def of(self, kind: Kind) -> Sequence[Comparison]:
        return ()

    async def kinds(self) -> Sequence[tuple[Kind, int]]:
        return ()

    async def acceptor(self, kind: Kind) -> tuple[Acceptor, int] | None:
        return None

    async def keep(self, kind: Kind, acceptor: Acceptor, until: int) -> None:
        pass


def standing(
    found: Sequence[Comparison],
    task: str,
    *,
    epsilon: float,
    delta: float,
    trained: tuple[Acceptor, int] | None = None,
) -> Standing:
    """What the newest comparisons say of a task; of all tasks together where it has too few of its own.

    trained: an acceptor and the last comparison that it learnt from: that one and those before it say nothing of how
    well it does, and do not count.
    """
    acceptor, until = trained if trained is not None and trained[0].fits else (by_hand(), 0)
    fresh = [c for c in found if (c.id > until or c.id == 0) and len(c.features) == len(FEATURES)]
    own = [c for c in fresh if c.kind.task == task]
    counted = own if len(own) >= LEAST_PAIRS else fresh
    if len(counted) < LEAST_PAIRS:
        return Standing(by_hand(), None, len(counted))
    bar = _threshold(acceptor, counted, epsilon=epsilon, delta=delta)
    priced = [c for c in counted if c.last > 0]
    price = sum(c.first for c in priced) / sum(c.last for c in priced) if priced else 0.0
    return Standing(acceptor, bar, len(counted), _kept(acceptor, counted, bar), price)


def _threshold(acceptor: Acceptor, counted: Sequence[Comparison], *, epsilon: float, delta: float) -> float | None:
    scores = [_score(acceptor, c) for c in counted]
    # An answer that no verifier lets pass is never kept, so it is no loss.
    lost = [not c.same and c.keepable for c in counted]
    return threshold(scores, lost, epsilon=epsilon, delta=delta)


def _score(acceptor: Acceptor, comparison: Comparison) -> float:
    return acceptor.score(comparison.features) if comparison.keepable else 0.0


def kept_share(acceptor: Acceptor, counted: Sequence[Comparison], *, epsilon: float, delta: float) -> float:
    """The share of these that is kept, with the threshold that they themselves prove."""
    return _kept(acceptor, counted, _threshold(acceptor, counted, epsilon=epsilon, delta=delta))


def _kept(acceptor: Acceptor, counted: Sequence[Comparison], bar: float | None) -> float:
    if bar is None or not counted:
        return 0.0
    return sum(c.keepable and _score(acceptor, c) > bar for c in counted) / len(counted)


def learn(found: Sequence[Comparison], *, epsilon: float, delta: float) -> tuple[Acceptor, int] | None:
    """An acceptor trained on the older half, and the id of the last comparison in it; the newer half is left for the
    threshold. None where the weights set by hand do as well: told by a part of the older half that it did not see.

    Raises ValueError where there are too few comparisons, or all had the same outcome.
    """
    rows = [c for c in found if len(c.features) == len(FEATURES)]
    if len(rows) < 2 * LEAST_PAIRS:
        raise ValueError(f"{len(rows)} comparisons are too few: {2 * LEAST_PAIRS} are needed, half of them for the bar")
    older = rows[: len(rows) // 2]
    seen, unseen = older[: len(older) // 2], older[len(older) // 2 :]
    first = train([c.features for c in seen], [c.same for c in seen])
    rule = {"epsilon": max(epsilon, 4.0 / len(unseen)), "delta": 0.5}  # to rank the two, nothing is promised by it
    if kept_share(first, unseen, **rule) <= kept_share(by_hand(), unseen, **rule):
        return None
    return train([c.features for c in older], [c.same for c in older]), older[-1].id
