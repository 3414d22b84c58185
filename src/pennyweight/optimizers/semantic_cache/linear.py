"""A second opinion on which answer a question has: ridge regression from vectors to answers. Needs numpy.

Neighbours see what is near; this sees which directions tell answers apart. Kept as sums, so that an entry is added or
taken away at once, and its own opinion is left out in closed form when it is judged by the others.
"""

from __future__ import annotations

import numpy as np

from .neighbours import Floats, Ints

__all__ = ["FEATURES", "Linear"]

FEATURES = ("vote", "margin", "winner")

_RIDGE = 1.0  # in units of one entry: vectors have unit length
_MOST_DIMENSIONS = 1024  # above, the sums take more room than they are worth
_MOST_GROUPS = 1000
_NONE = -1e9


class Linear:
    """Its opinions are of the last `solve`; before the first, and of answers that it does not know, it has none."""

    def __init__(self, dimensions: int) -> None:
        self._used = dimensions <= _MOST_DIMENSIONS
        size = dimensions if self._used else 0
        self._outer: Floats = np.eye(size) * _RIDGE
        self._sums: Floats = np.zeros((0, size))
        self._inverse: Floats = np.zeros((0, 0))
        self._weights: Floats = np.zeros((0, size))

    def add(self, vector: Floats, group: int, sign: float = 1.0) -> None:
        """Count an entry; sign -1.0 takes it away again. Groups beyond the first thousand are not told apart."""
        if not self._used or group >= _MOST_GROUPS:
            return
        wide = vector.astype(np.float64)
        self._outer += sign * np.outer(wide, wide)
        if group >= len(self._sums):
            grown = np.zeros((group + 1, len(wide)))
            grown[: len(self._sums)] = self._sums
            self._sums = grown
        self._sums[group] += sign * wide

    def solve(self) -> None:
        """Take up what was counted: 20 ms for 384 dimensions."""
        if self._used:
            self._inverse = np.linalg.inv(self._outer)
            self._weights = self._sums @ self._inverse

    def opinions(self, vectors: Floats, chosen: Ints, own: Ints | None = None) -> Floats:
        """(n, 3): the vote for the chosen answer, its margin over the best other one, and whether it wins.

        own: the true answers of entries that were counted; their own part is then left out.
        """
        features: Floats = np.zeros((len(vectors), len(FEATURES)))
        known = chosen < len(self._weights)
        if len(self._weights) < 2 or not known.any():
            return features
        votes: Floats = vectors @ self._weights.T
        if own is not None:
            votes = self._without(vectors, votes, own)
        rows = np.flatnonzero(known)
        mine = votes[rows, chosen[rows]]
        votes[rows, chosen[rows]] = _NONE
        margin = mine - votes[rows].max(axis=1)
        features[rows] = np.stack([mine, margin, (margin >= 0.0).astype(np.float64)], axis=1)
        return features

    def opinion(self, vector: Floats, chosen: int) -> tuple[float, float, float]:
        """`opinions` of one question."""
        if len(self._weights) < 2 or chosen >= len(self._weights):
            return 0.0, 0.0, 0.0
        votes = (self._weights @ vector).tolist()
        mine = votes.pop(chosen)
        margin = mine - max(votes)
        return mine, margin, float(margin >= 0.0)

    def _without(self, vectors: Floats, votes: Floats, own: Ints) -> Floats:
        """The votes of all others (leave-one-out residuals of ridge regression)."""
        leverage = np.einsum("nd,de,ne->n", vectors, self._inverse, vectors, optimize=True)
        counted = own < len(self._weights)
        votes = votes.copy()
        votes[counted, own[counted]] -= leverage[counted]
        return np.where(counted[:, None], votes / np.maximum(1.0 - leverage, 1e-6)[:, None], votes)
