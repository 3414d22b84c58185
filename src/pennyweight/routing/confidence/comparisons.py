"""Answers of a cheap target that were held against a stronger one's: what thresholds and acceptors are learnt from.

No text is kept of either, only the signs that the cheap answer had and whether the two said the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from .acceptor import Acceptor, by_hand
from .bounds import threshold
from .decision import LEAST_PAIRS, Standing
from .features import FEATURES

__all__ = ["Comparison", "Comparisons", "Kind", "NoComparisons", "standing"]


class Kind(msgspec.Struct, frozen=True):
    """Calls that are judged alike. Targets as "provider/model"; peer "": none; task "": all tasks together."""

    tenant: str
    cheap: str
    peer: str
    strong: str
    task: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """keepable: no verifier complained. same: the stronger target said the same, as far as that can be told."""

    at: float  # unix seconds
    kind: Kind
    features: tuple[float, ...]
    keepable: bool
    same: bool
    id: int = 0  # of the table's row; 0: not stored


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
        return Standing(acceptor if trained is None else by_hand(), None, len(counted))
    scores = [acceptor.score(c.features) if c.keepable else 0.0 for c in counted]
    # An answer that no verifier lets pass is never kept, so it is no loss.
    lost = [not c.same and c.keepable for c in counted]
    return Standing(acceptor, threshold(scores, lost, epsilon=epsilon, delta=delta), len(counted))
