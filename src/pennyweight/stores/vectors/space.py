"""One space in memory: all vectors are compared while they are few, by their sketches first once they are not."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .sketches import LEAST_DIMENSIONS, Sketches, available

__all__ = ["Floats", "Space"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]

_NEVER = -2.0  # below any cosine
_BLOCK_VALUES = 400_000  # of a block: OpenBLAS takes one thread for so many, and spins in several for more
_GROUP = 64  # scores whose maximum stands for them while the best are looked for
_ENTRY_BYTES = 220  # an id in a list and a dict, with its number and times
_FINALIST_VALUES = 15_000  # of rows whose cosines are computed: 40 of 384, and at least twice as many as are asked for


class Space:
    """Vectors of one length, each with an id, a time to go and a last use. It belongs to one event loop.

    flat: up to so many, all are compared. Past that the vectors are float16, by which a cosine is right to 0.00001, and
    only those with the nearest sketches are compared. Rows are always full: the last one fills the place of one that
    goes. Vectors are in blocks, so that growing copies nothing large and a product stays in one thread.
    """

    def __init__(self, dimensions: int, *, flat: int) -> None:
        self._dimensions = dimensions
        self._flat = flat
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self._block_rows = max(32, min(1024, _BLOCK_VALUES // dimensions))
        self._type: npt.DTypeLike = np.float32
        self._blocks: list[npt.NDArray[np.floating]] = []
        self._expires = np.full(16, math.inf)  # unix seconds
        self._used = np.zeros(16, np.int64)
        self._first_expires = math.inf  # none expires before
        self._sketches: Sketches | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: str) -> bool:
        return id in self._row_of

    @property
    def ids(self) -> list[str]:
        return list(self._ids)

    @property
    def sketched(self) -> bool:
        return self._sketches is not None

    @property
    def size_bytes(self) -> int:
        blocks = sum(block.nbytes for block in self._blocks)
        sketches = 0 if self._sketches is None else self._sketches.size_bytes
        return blocks + sketches + len(self._ids) * _ENTRY_BYTES

    def add(self, id: str, vector: Floats, *, expires: float, used: int) -> None:
        """Keep it, in place of what went by that id."""
        row = self._row_of.get(id)
        if row is None:
            row = self._new_row(id)
        self._blocks[row // self._block_rows][row % self._block_rows] = vector
        self._expires[row], self._used[row] = expires, used
        self._first_expires = min(self._first_expires, expires)
        if self._sketches is not None:
            self._sketches.put(row, vector[None])
        elif len(self._ids) > self._flat and self._dimensions >= LEAST_DIMENSIONS and available():
            self._sketch_all()

    def remove(self, id: str) -> bool:
        row = self._row_of.pop(id, None)
        if row is None:
            return False
        last, size = len(self._ids) - 1, self._block_rows
        if row != last:
            moved = self._ids[last]
            self._ids[row] = moved
            self._row_of[moved] = row
            self._blocks[row // size][row % size] = self._blocks[last // size][last % size]
            self._expires[row], self._used[row] = self._expires[last], self._used[last]
            if self._sketches is not None:
                self._sketches.move(last, row)
        self._ids.pop()
        if last % size == 0:
            self._blocks.pop()
        return True

    def expire(self, now: float) -> list[str]:
        """Drop what has had its time; the ids."""
        if self._first_expires > now:
            return []
        gone = self._drop(np.flatnonzero(self._expires[: len(self._ids)] <= now))
        left = self._expires[: len(self._ids)]
        self._first_expires = float(left.min()) if len(left) else math.inf
        return gone

    def uses(self) -> npt.NDArray[np.int64]:
        """When each was last used, in no order."""
        return self._used[: len(self._ids)]

    def evict(self, used: int) -> list[str]:
        """Drop what was last used before that; the ids."""
        return self._drop(np.flatnonzero(self._used[: len(self._ids)] < used))

    def nearest(self, query: Floats, limit: int, *, used: int) -> list[tuple[str, float]]:
        """The nearest first, with cosines. The first of them counts as used."""
        if not self._ids:
            return []
        if self._sketches is None:
            scores = self._scores(query)
            rows = best(scores, limit)
            found = list(zip(rows.tolist(), scores[rows].tolist(), strict=True))
        else:
            finalists = max(_FINALIST_VALUES // self._dimensions + 1, 2 * limit)
            near = self._sketches.nearest(query, len(self._ids), finalists)
            cosines = self._vectors(near) @ query
            order = (-cosines).argsort(kind="stable")[:limit]
            found = list(zip(near[order].tolist(), cosines[order].tolist(), strict=True))
        if found:
            self._used[found[0][0]] = used
        ids = self._ids
        if found and found[0][1] > 1.0:  # by rounding
            return [(ids[row], min(cosine, 1.0)) for row, cosine in found]
        return [(ids[row], cosine) for row, cosine in found]

    # --- rows -----------------------------------------------------------------------------------------------

    def _new_row(self, id: str) -> int:
        row = len(self._ids)
        self._ids.append(id)
        self._row_of[id] = row
        block, at = divmod(row, self._block_rows)
        if block == len(self._blocks):  # the first one starts small and doubles: most spaces hold a handful of vectors
            rows = self._block_rows if block else min(16, self._block_rows)
            self._blocks.append(np.zeros((rows, self._dimensions), self._type))
        elif at == len(self._blocks[block]):
            old = self._blocks[block]
            new = np.zeros((min(len(old) * 2, self._block_rows), self._dimensions), self._type)
            new[: len(old)] = old
            self._blocks[block] = new
        if row == len(self._expires):
            self._expires = np.concatenate((self._expires, np.full(row, math.inf)))
            self._used = np.concatenate((self._used, np.zeros(row, np.int64)))
        return row

    def _drop(self, rows: Iterable[int]) -> list[str]:
        gone = [self._ids[row] for row in rows]
        for id in gone:
            self.remove(id)
        return gone

    def _sketch_all(self) -> None:
        """From now on: float16, and sketches."""
        whole = [block[: len(self._ids) - n * self._block_rows] for n, block in enumerate(self._blocks)]
        middle = sum(block.sum(axis=0) for block in whole) / len(self._ids)
        self._type = np.float16
        self._sketches = Sketches(np.asarray(middle, np.float32))
        for number, block in enumerate(self._blocks):
            first = number * self._block_rows
            self._sketches.put(first, block[: len(self._ids) - first])
            self._blocks[number] = block.astype(np.float16)

    def _vectors(self, rows: Numbers) -> Floats:
        """(len(rows), d) float32."""
        size, blocks = self._block_rows, self._blocks
        return np.array([blocks[row // size][row % size] for row in rows.tolist()], np.float32)

    def _scores(self, query: Floats) -> Floats:
        """Cosines of all rows; the padding at the end gets less than any. (n,) float32, n a multiple of `_GROUP`."""
        size, end = self._block_rows, len(self._ids)
        scores = np.empty(-(-end // _GROUP) * _GROUP, np.float32)
        for number, block in enumerate(self._blocks):
            first = number * size
            stop = min(first + size, end)
            part = block[: stop - first]
            np.dot(part if part.dtype == np.float32 else part.astype(np.float32), query, out=scores[first:stop])
        scores[end:] = _NEVER
        return scores


def best(scores: Floats, limit: int) -> Numbers:
    """The places of the `limit` highest, highest first. `scores`: as `Space._scores` gives them.

    The `limit`-th highest of the groups' maxima is a lower bound of what is looked for, and few scores pass it: five
    times faster than a partition of all scores.
    """
    # Ufuncs and methods: numpy's functions of the same names are Python, and cost more than the work on a few hundred.
    bound = _NEVER
    if len(scores) > limit * _GROUP:
        groups = np.maximum.reduce(scores.reshape(-1, _GROUP), axis=1)
        groups.partition(len(groups) - limit)
        bound = float(groups[-limit])
    places = (scores >= max(bound, -1.5)).nonzero()[0]
    return places[(-scores[places]).argsort(kind="stable")[:limit]]
