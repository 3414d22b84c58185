"""The entries of one partition as arrays: vectors and the answers they have, the oldest giving way. Needs numpy.

What the vector store finds neighbours in is kept a second time here, because every entry is also a question whose
answer is known: held against all others, it says what the cache would have done with it now.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .neighbours import LOOK_AT, Floats, Ints

__all__ = ["Panel"]

_BLOCK = 512  # rows compared with all others at once: 16 MB for 8,000 entries


class Panel:
    """Up to `most` entries. `oldest` is what went to make room for the last one, if anything did."""

    def __init__(self, dimensions: int, *, most: int) -> None:
        self.dimensions = dimensions
        self.names: list[str] = []
        self._held: set[str] = set()
        self._most = most
        self._next = 0  # the place of the oldest, once full
        self._vectors: NDArray[np.float32] = np.zeros((64, dimensions), np.float32)
        self._groups: NDArray[np.int32] = np.zeros(64, np.int32)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, dimensions) float32 of unit length, not in the order of their age once it is full."""
        return self._vectors[: len(self.names)]

    @property
    def groups(self) -> NDArray[np.int32]:
        return self._groups[: len(self.names)]

    def add(self, name: str, vector: Floats, group: int) -> tuple[str, Floats, int] | None:
        """Keep an entry; gives the one that went for it."""
        gone = None
        if len(self.names) < self._most:
            at = len(self.names)
            if at == len(self._groups):
                self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
                self._groups = np.concatenate([self._groups, np.zeros_like(self._groups)])
            self.names.append(name)
        else:
            at, self._next = self._next, (self._next + 1) % self._most
            gone = (self.names[at], self._vectors[at].copy(), int(self._groups[at]))
            self._held.discard(self.names[at])
            self.names[at] = name
        self._held.add(name)
        self._vectors[at] = vector
        self._groups[at] = group
        return gone

    def nearest(self, vector: Floats, *, limit: int = LOOK_AT) -> list[tuple[str, float]]:
        """(name, cosine) of the nearest, nearest first: what a vector store gives."""
        if not self.names:
            return []
        cosines = self.vectors @ vector
        best = np.argsort(-cosines, kind="stable")[:limit] if len(cosines) <= limit else _top(cosines[None], limit)[0]
        return [(self.names[at], float(cosines[at])) for at in best]

    def among_others(self, places: Ints) -> tuple[Floats, Ints]:
        """(cosines (n, LOOK_AT) descending, groups likewise) of the nearest other entries of each; -1 where none."""
        found = np.full((len(places), LOOK_AT), -1.0, np.float32)
        groups = np.full((len(places), LOOK_AT), -1, np.int32)
        count = min(LOOK_AT, len(self.names) - 1)
        if count < 1:
            return found, groups
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            rows = np.arange(len(block))
            cosines = self.vectors[block] @ self.vectors.T
            cosines[rows, block] = -2.0
            best = _top(cosines, count)
            found[start : start + len(block), :count] = np.take_along_axis(cosines, best, axis=1)
            groups[start : start + len(block), :count] = self.groups[best]
        return found, groups


def _top(cosines: Floats, count: int) -> Ints:
    """Places of the `count` greatest of each row, greatest first."""
    best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)
