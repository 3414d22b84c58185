"""One space in memory: exact search while it is small, a graph of eight-bit vectors (HNSW) once it is not.

The graph only names candidates; their cosines are computed from the vectors themselves. It is built, and built again
when too much of it is dead, in a thread, on a copy: the old one answers meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .rows import Floats, Rows, best

__all__ = ["Graph", "Space"]

log = logging.getLogger(__name__)

_SIGMAS = 4.0  # the range of eight bits, in standard deviations of a component: 0.978 of true neighbours, 0.957 without
_PART = 64  # rows between two looks at whether to stop
_SPARE = 4  # candidates more than asked for, since eight bits change their order
_LINKS_BYTES = 470  # of a row in the graph: 85 MB were measured for 100,000 rows of 384
_TAIL = 64  # rows that came during a build and are searched one by one until they are in the graph


class Graph:
    """An HNSW graph of usearch over rows, by their numbers. One thread adds and searches."""

    def __init__(self, dimensions: int) -> None:
        from usearch.index import Index

        self._scale = 127 * dimensions**0.5 / _SIGMAS
        self._index: Any = Index(
            ndim=dimensions, metric="cos", dtype="i8", connectivity=16, expansion_add=64, expansion_search=32
        )

    def add(self, rows: npt.NDArray[np.uint64], vectors: Floats) -> None:
        self._index.add(rows, self._bytes(vectors), threads=1)

    def near(self, query: Floats, count: int) -> npt.NDArray[np.uint64]:
        keys: npt.NDArray[np.uint64] = self._index.search(self._bytes(query), count, threads=1).keys
        return keys

    def _bytes(self, vectors: Floats) -> npt.NDArray[np.int8]:
        bytes: npt.NDArray[np.int8] = np.clip(np.rint(vectors * self._scale), -127, 127).astype(np.int8)
        return bytes


class Space:
    """Vectors of one length. It belongs to one event loop. `flat`: from more entries than this on, a graph is kept."""

    def __init__(self, dimensions: int, *, flat: int) -> None:
        self._flat = flat
        self._rows = Rows(dimensions)
        self._graph: Graph | None = None
        self._in_graph = 0  # rows, from the first on
        self._build: asyncio.Task[None] | None = None
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, id: str) -> bool:
        return id in self._rows.row_of

    @property
    def ids(self) -> list[str]:
        return list(self._rows.row_of)

    @property
    def size_bytes(self) -> int:
        """By estimate. With a graph: of what lives and as much dead as there may be before it is packed."""
        if self._graph is None:
            return self._rows.size_bytes * len(self) // max(self._rows.count, 1)
        return int(len(self) * (self._rows.row_bytes + self._rows.dimensions + _LINKS_BYTES) * 1.25)

    @property
    def has_graph(self) -> bool:
        return self._graph is not None

    def add(self, id: str, vector: Floats, *, expires: float, used: int) -> None:
        self._rows.append(id, vector, expires, used)
        if self._graph is not None:
            self._extend(self._graph, 2)  # two: what came during a build gets its turn too
        self._tidy()

    def remove(self, id: str) -> bool:
        removed = self._rows.kill(id)
        self._tidy()
        return removed

    def uses(self) -> npt.NDArray[np.int64]:
        return self._rows.uses()

    def evict(self, used: int) -> list[str]:
        """Drop what was last used before that; the ids."""
        gone = self._rows.used_before(used)
        for id in gone:
            self._rows.kill(id)
        if self._graph is None and self._build is None and gone:
            self._pack()
        else:
            self._tidy()
        return gone

    def expire(self, now: float) -> list[str]:
        gone = self._rows.expire(now)
        if gone:
            self._tidy()
        return gone

    def nearest(self, query: Floats, limit: int, *, used: int) -> list[tuple[str, float]]:
        """The nearest first, with cosines. The first of them counts as used."""
        rows, ids = self._rows, self._rows.ids
        if self._graph is None:
            scores = rows.scores(query)
            places = best(scores, limit).tolist()
            found = [(row, float(scores[row])) for row in places]
        else:
            found = self._through_graph(self._graph, query, limit)
        if found:
            rows.touch(found[0][0], used)
        return [(id, min(score, 1.0)) for row, score in found if (id := ids[row]) is not None]

    def _through_graph(self, graph: Graph, query: Floats, limit: int) -> list[tuple[int, float]]:
        rows = self._rows
        dead_share = len(rows.dead) / max(rows.count, 1)
        near = graph.near(query, int((limit + _SPARE) * (1 + 2 * dead_share))).tolist()
        candidates = [row for row in near if rows.ids[row] is not None]
        scores = (rows.vectors(candidates) @ query).tolist()
        found = list(zip(candidates, scores, strict=True))
        if self._in_graph < rows.count:
            tail = rows.scores(query, self._in_graph)
            found += [(self._in_graph + place, float(tail[place])) for place in best(tail, limit).tolist()]
        found.sort(key=lambda pair: -pair[1])
        return found[:limit]

    # --- keeping it fast ------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Wait until no graph is being built."""
        while self._build is not None:
            await asyncio.wait([self._build])

    def stop(self) -> None:
        """Build no more."""
        self._stop.set()

    async def close(self) -> None:
        self.stop()
        await self.settled()

    def _extend(self, graph: Graph, most: int) -> None:
        """Put up to so many rows into the graph that are not in it yet."""
        first, end = self._in_graph, min(self._in_graph + most, self._rows.count)
        rows = range(first, end)
        if rows:
            graph.add(np.arange(first, end, dtype=np.uint64), self._rows.vectors(rows))
            self._in_graph = end

    def _tidy(self) -> None:
        """Pack or build when it is time."""
        if self._build is not None or self._stop.is_set():
            return
        rows = self._rows
        much_dead = len(rows.dead) > max(64, rows.count // 8 if self._graph is None else rows.count // 4)
        if self._graph is None and len(rows) <= self._flat:
            if much_dead:
                self._pack()
        elif self._graph is None or much_dead:
            self._build = asyncio.get_running_loop().create_task(self._rebuild())

    def _pack(self) -> None:
        alive = sorted(self._rows.row_of.values())
        packed = Rows(self._rows.dimensions)
        packed.copy(self._rows, alive)
        packed.adopt(self._rows, alive)
        self._rows = packed

    async def _rebuild(self) -> None:
        """A graph over packed rows; what comes meanwhile is added to it before it is used, down to a short tail."""
        rows = self._rows
        packed, graph = Rows(rows.dimensions, np.float16), Graph(rows.dimensions)
        kept: list[int] = []
        seen = 0
        try:
            while not self._stop.is_set():
                more = [row for row in range(seen, rows.count) if rows.ids[row] is not None]
                seen = rows.count
                if len(more) <= _TAIL and kept:
                    break
                await asyncio.to_thread(self._fill, graph, packed, rows, more)
                kept += more
            else:
                return
            packed.adopt(rows, kept)
            self._rows, self._graph, self._in_graph = packed, graph, len(kept)
        except Exception as error:  # noqa: BLE001 - no memory, for instance: the exact search goes on
            self._flat = max(self._flat, len(rows)) * 4
            log.warning("no graph could be built over vectors", extra={"error": type(error).__name__, "rows": seen})
        finally:
            self._build = None

    def _fill(self, graph: Graph, packed: Rows, rows: Rows, more: Sequence[int]) -> None:
        """In a thread: copy those rows, and put them into the graph under their new numbers."""
        first = packed.copied
        packed.copy(rows, more)
        for start in range(first, packed.copied, _PART):
            if self._stop.is_set():
                return
            part = range(start, min(start + _PART, packed.copied))
            graph.add(np.arange(part.start, part.stop, dtype=np.uint64), packed.vectors(part))
