"""The signs of vectors, one bit a value: how many of them differ tells the angle well enough to find candidates.

Of two vectors at an angle a, a share a/π of all bits differ (Charikar 2002, for random directions; the components of
an embedding serve as well). Texts on one subject all point the same way, so signs are told from the middle of a space
and not from zero. Nothing else is learnt and nothing is built: a sketch is made when its vector comes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_DIMENSIONS", "Sketches", "available"]

LEAST_DIMENSIONS = 96  # shorter vectors have too few bits, and are compared quickly as they are

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.intp]

_PART = 32_768  # rows at a time: what is read and written stays in the core's own cache
_SAMPLE = 64  # one row in so many is looked at to tell where to cut
_FEWEST = 1_000  # rows of which more than the first 64 bits are compared,
_SHARE = 80  # or one in so many
_WHOLE = 300  # rows of which all are


def available() -> bool:
    """Whether this numpy counts bits (2.0 and newer)."""
    return hasattr(np, "bitwise_count")


class Sketches:
    """By row. Of all rows the first 64 bits are compared; of the nearest by those the next 64; of those, all.

    middle: (d,) float32, about the mean of the vectors; signs are of the differences from it.
    """

    def __init__(self, middle: npt.NDArray[np.floating]) -> None:
        self._middle = middle
        self._words = -(-len(middle) // 64)
        self._heads = np.zeros(1024, np.uint64)
        self._necks = np.zeros(1024, np.uint64)
        self._tails = np.zeros((1024, self._words - 2), np.uint64)
        self._other = np.empty(_PART, np.uint64)

    @property
    def size_bytes(self) -> int:
        return self._heads.nbytes + self._necks.nbytes + self._tails.nbytes

    def put(self, first: int, vectors: npt.NDArray[np.floating]) -> None:
        """The sketches of those vectors, for as many rows from `first` on. vectors: (n, d)."""
        words, end = self._of(vectors), first + len(vectors)
        if end > len(self._heads):
            more = max(len(self._heads), end - len(self._heads))
            self._heads = np.concatenate((self._heads, np.zeros(more, np.uint64)))
            self._necks = np.concatenate((self._necks, np.zeros(more, np.uint64)))
            self._tails = np.concatenate((self._tails, np.zeros((more, self._words - 2), np.uint64)))
        self._heads[first:end] = words[:, 0]
        self._necks[first:end] = words[:, 1]
        self._tails[first:end] = words[:, 2:]

    def move(self, row: int, to: int) -> None:
        for part in (self._heads, self._necks, self._tails):
            part[to] = part[row]

    def nearest(self, query: npt.NDArray[np.floating], count: int, limit: int) -> Numbers:
        """About `limit` of the first `count` rows, those whose bits differ the least, in no order."""
        sketch = self._of(query[None])[0]
        heads = self._by_heads(sketch[0], count)
        rows = _lowest(heads, max(_FEWEST, count // _SHARE))
        differing = heads[rows].astype(np.uint16)
        differing += np.bitwise_count(self._necks.take(rows) ^ sketch[1])
        rows, differing = _cut(rows, differing, max(_WHOLE, 2 * limit))
        bits = np.bitwise_count(self._tails.take(rows, axis=0) ^ sketch[2:])
        for word in range(self._words - 2):  # three times as fast as a sum along the short axis
            differing += bits[:, word]
        return _cut(rows, differing, limit)[0]

    def _by_heads(self, head: np.uint64, count: int) -> npt.NDArray[np.uint8]:
        """How many of the first 64 bits of each row differ."""
        differing = np.empty(count, np.uint8)
        for start in range(0, count, _PART):
            end = min(start + _PART, count)
            other = np.bitwise_xor(self._heads[start:end], head, out=self._other[: end - start])
            np.bitwise_count(other, out=differing[start:end])
        return differing

    def _of(self, vectors: npt.NDArray[np.floating]) -> Words:
        """(n, words) uint64; bits beyond the last value are 0."""
        packed = np.zeros((len(vectors), self._words * 8), np.uint8)
        bits = np.packbits(vectors > self._middle, axis=1)
        packed[:, : bits.shape[1]] = bits
        return packed.view(np.uint64)


def _cut(rows: Numbers, differing: npt.NDArray[np.uint16], most: int) -> tuple[Numbers, npt.NDArray[np.uint16]]:
    """Those that differ the least, in no order."""
    if len(rows) <= most:
        return rows, differing
    places = np.argpartition(differing, most)[:most]
    return rows[places], differing[places]


def _lowest(values: npt.NDArray[np.uint8], keep: int) -> Numbers:
    """The places of some `keep` lowest values: as a sample says where to cut. At most four times as many."""
    if len(values) <= keep:
        return np.arange(len(values))
    sample = values[::_SAMPLE]
    place = min(keep * len(sample) // len(values) + 1, len(sample) - 1)
    cut = np.partition(sample, place)[place]
    places = np.flatnonzero(values <= cut)
    if len(places) <= 4 * keep:
        return places
    below = np.flatnonzero(values < cut)  # many are alike
    ties = np.flatnonzero(values == cut)[: max(4 * keep - len(below), 0)]
    return np.concatenate((below[: 4 * keep], ties))
