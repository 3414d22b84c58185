"""The vectors of one space in arrays: rows are added at the end, die in place, and go when the rows are packed.

Rows keep their numbers until then, so that an index can name a vector by its row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Rows", "best"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]

_NEVER = -2.0  # below any cosine
_BLOCK_VALUES = 400_000  # of a block: OpenBLAS takes one thread for so many, and spins in several for more
_GROUP = 64  # scores whose maximum stands for them while the best are looked for
_ID_BYTES = 220  # an id in a list and a dict, with its number and times


class Rows:
    """Vectors of one length in blocks of `type` (float32 or float16), each with an id, a time to go and a last use.

    Blocks, so that growing copies nothing large and a product with one block stays in one thread.
    """

    def __init__(self, dimensions: int, type: npt.DTypeLike = np.float32) -> None:
        self.dimensions = dimensions
        self.type = np.dtype(type)
        self.ids: list[str | None] = []  # None: dead
        self.row_of: dict[str, int] = {}
        self.dead: list[int] = []
        self._block_rows = max(32, min(1024, _BLOCK_VALUES // dimensions))
        self._blocks: list[npt.NDArray[Any]] = []
        self._expires = np.full(16, math.inf)  # unix seconds
        self._used = np.zeros(16, np.int64)
        self._first_expires = math.inf  # none expires before
        self._copied = 0

    def __len__(self) -> int:
        """Those that live."""
        return len(self.row_of)

    @property
    def count(self) -> int:
        """Rows, the dead ones included."""
        return len(self.ids)

    @property
    def size_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks) + len(self.ids) * _ID_BYTES

    @property
    def row_bytes(self) -> int:
        return self.dimensions * self.type.itemsize + _ID_BYTES

    def append(self, id: str, vector: Floats, expires: float, used: int) -> int:
        """The row that holds it now; the one that held `id` before is dead."""
        self.kill(id)
        row = len(self.ids)
        block, at = divmod(row, self._block_rows)
        self._make_room(block, at)
        self._blocks[block][at] = vector
        if row == len(self._expires):
            self._expires = np.concatenate((self._expires, np.full(row, math.inf)))
            self._used = np.concatenate((self._used, np.zeros(row, np.int64)))
        self.ids.append(id)
        self.row_of[id] = row
        self._expires[row], self._used[row] = expires, used
        self._first_expires = min(self._first_expires, expires)
        return row

    def kill(self, id: str) -> bool:
        row = self.row_of.pop(id, None)
        if row is None:
            return False
        self.ids[row] = None
        self.dead.append(row)
        self._expires[row] = math.inf
        return True

    def expire(self, now: float) -> list[str]:
        """Kill what has had its time; the ids."""
        if self._first_expires > now:
            return []
        expires = self._expires[: self.count]
        gone = [id for row in np.flatnonzero(expires <= now) if (id := self.ids[row]) is not None]
        for id in gone:
            self.kill(id)
        self._first_expires = float(expires.min()) if len(expires) else math.inf
        return gone

    def touch(self, row: int, used: int) -> None:
        self._used[row] = used

    def uses(self) -> npt.NDArray[np.int64]:
        """When each living row was last used, in no order."""
        return self._used[list(self.row_of.values())]

    def used_before(self, used: int) -> list[str]:
        rows = np.flatnonzero(self._used[: self.count] < used)
        return [id for row in rows if (id := self.ids[row]) is not None]

    def vectors(self, rows: Sequence[int] | Numbers) -> Floats:
        """(len(rows), d) float32."""
        size, blocks = self._block_rows, self._blocks
        found = [blocks[row // size][row % size] for row in rows]
        return np.array(found, np.float32).reshape(len(found), self.dimensions)

    def scores(self, query: Floats, first: int = 0) -> Floats:
        """Cosines of all rows from `first` on, for unit vectors; dead rows and the padding at the end get less than -1.

        (n,) float32, n a multiple of `_GROUP`.
        """
        size, end = self._block_rows, self.count
        scores = np.empty(-(-(end - first) // _GROUP) * _GROUP, np.float32)
        row = first
        while row < end:
            block, at = divmod(row, size)
            stop = min(end, (block + 1) * size)
            part = self._blocks[block][at : at + stop - row]
            if part.dtype != np.float32:
                part = part.astype(np.float32)
            np.dot(part, query, out=scores[row - first : stop - first])
            row = stop
        scores[end - first :] = _NEVER
        dead = [row - first for row in self.dead if row >= first] if first else self.dead
        if dead:
            scores[dead] = _NEVER
        return scores

    @property
    def copied(self) -> int:
        """Rows that `copy` filled."""
        return self._copied

    def copy(self, of: Rows, rows: Sequence[int]) -> None:
        """Put the vectors of those rows behind what was copied before; nothing else yet. Works in a thread while rows
        are added to `of`."""
        for number, row in enumerate(rows, self._copied):
            block, at = divmod(number, self._block_rows)
            self._make_room(block, at)
            self._blocks[block][at] = of._blocks[row // of._block_rows][row % of._block_rows]
        self._copied += len(rows)

    def adopt(self, of: Rows, rows: Sequence[int]) -> None:
        """Take over what `of` knows by now about the rows that were copied, and all rows that came since."""
        self._expires = np.append(of._expires[rows], np.full(16, math.inf))
        self._used = np.append(of._used[rows], np.zeros(16, np.int64))
        self._first_expires = of._first_expires
        self.ids = [of.ids[row] for row in rows]
        self.row_of = {id: row for row, id in enumerate(self.ids) if id is not None}
        self.dead = [row for row, id in enumerate(self.ids) if id is None]
        for row in range(rows[-1] + 1 if rows else 0, of.count):
            id = of.ids[row]
            if id is not None:
                self.append(id, of.vectors([row])[0], float(of._expires[row]), int(of._used[row]))

    def _make_room(self, block: int, at: int) -> None:
        """The first block starts small and doubles: most spaces hold a handful of vectors."""
        if block == len(self._blocks):
            rows = self._block_rows if block else min(16, self._block_rows)
            self._blocks.append(np.empty((rows, self.dimensions), self.type))
        elif at == len(self._blocks[block]):
            old = self._blocks[block]
            new = np.empty((min(len(old) * 2, self._block_rows), self.dimensions), self.type)
            new[: len(old)] = old
            self._blocks[block] = new


def best(scores: Floats, limit: int) -> Numbers:
    """The places of the `limit` highest, highest first. `scores`: as `Rows.scores` gives them.

    The `limit`-th highest of the groups' maxima is a lower bound of what is looked for, and few scores pass it: five
    times faster than a partition of all scores.
    """
    groups = scores.reshape(-1, _GROUP).max(axis=1)
    if len(groups) > limit:
        bound = np.partition(groups, -limit)[-limit]
        places = np.flatnonzero(scores >= max(float(bound), -1.5))
    else:
        places = np.flatnonzero(scores > -1.5)
    return places[np.argsort(-scores[places], kind="stable")[:limit]]
