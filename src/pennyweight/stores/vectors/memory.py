"""Vectors in this process: an array per space, bounded as a whole, and kept in a database across restarts if wished."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

import numpy as np

from ...errors import StoreError
from ...protocols import Clock
from .check import check_length, check_size
from .kept import Kept
from .space import Floats, Space

__all__ = ["MemoryVectors"]

log = logging.getLogger(__name__)

_EVICTED = 30  # one entry in so many goes at a time
_IDLE_S = 600.0  # a space unused for so long leaves memory first, where a database still has it
_RETRY_S = 30.0  # before a space that could not be read is asked for again


class MemoryVectors:
    """Protocol: `pennyweight.protocols.Vectors`. It belongs to one event loop.

    size_bytes: of all spaces together. Past it go, first, idle spaces that `kept` still has; then the least recently
    used entries of all spaces, a few in a hundred at a time. An entry counts as used when it is added, and when it is
    the nearest to a query. flat: entries of a space up to which every one is compared; past that sketches tell which
    are. kept: where entries survive a restart; a space is read from there when it is first used.
    """

    def __init__(
        self, *, clock: Clock, size_bytes: int = 256 << 20, flat: int = 5_000, kept: Kept | None = None
    ) -> None:
        self._clock = clock
        self._size_bytes = size_bytes
        self._flat = flat
        self._kept = kept
        self._spaces: dict[str, _Named] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._uses = 0
        self._unchecked = 0  # entries added since the size was last looked at

    async def add(self, space: str, id: str, vector: bytes, *, ttl_s: float | None = None) -> None:
        values = _values(space, vector)
        named = await self._space(space)
        expires = math.inf if ttl_s is None else self._clock.now() + ttl_s
        sized = named.by_dimensions.get(len(values))
        if sized is None:
            sized = named.by_dimensions[len(values)] = Space(len(values), flat=self._flat)
        sized.add(id, values, expires=expires, used=self._next_use())
        if self._kept is not None:
            self._kept.put(space, id, values, expires)
        self._unchecked += 1
        if self._unchecked >= 64 or len(values) * self._unchecked > self._size_bytes >> 6:
            self._bound()

    async def nearest(self, space: str, vector: bytes, *, limit: int) -> Sequence[tuple[str, float]]:
        values = _values(space, vector)
        named = self._spaces.get(space)
        if named is None and self._kept is None:
            return ()
        if named is None or named.read_again_s is not None:
            named = await self._space(space)
        named.used_s = self._clock.monotonic()
        sized = named.by_dimensions.get(len(values))
        if sized is None or limit < 1:
            return ()
        self._expire(space, sized)
        return sized.nearest(values, limit, used=self._next_use())

    async def remove(self, space: str, id: str) -> None:
        named = await self._space(space) if self._kept is not None else self._spaces.get(space)
        if named is not None:
            for sized in named.by_dimensions.values():
                sized.remove(id)
        if self._kept is not None:
            self._kept.remove(space, id)

    async def delete(self, prefix: str) -> int:
        if self._kept is not None:
            for name in await self._kept.spaces(prefix):
                await self._space(name)  # so that what is dropped can be counted
        gone = 0
        for name in [name for name in self._spaces if name.startswith(prefix)]:
            for sized in self._spaces.pop(name).by_dimensions.values():
                self._expire(name, sized)
                gone += len(sized)
        if self._kept is not None:
            await self._kept.delete(prefix)
        return gone

    async def spaces(self, prefix: str) -> list[str]:
        """The names that begin so, of spaces that hold something."""
        known = {name for name, named in self._spaces.items() if name.startswith(prefix) and len(named)}
        if self._kept is not None:
            known.update(await self._kept.spaces(prefix))
        return sorted(known)

    async def ids(self, space: str, *, limit: int) -> list[str]:
        """Up to `limit` ids of that space, in no order."""
        named = await self._space(space)
        for sized in named.by_dimensions.values():
            self._expire(space, sized)
        return [id for sized in named.by_dimensions.values() for id in sized.ids][:limit]

    async def settled(self) -> None:
        """Wait until what is kept is written: for benches and tests."""
        if self._kept is not None:
            await self._kept.flush()

    async def aclose(self) -> None:
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        if self._kept is not None:
            await self._kept.aclose()

    @property
    def size_bytes(self) -> int:
        """Of what is in memory, by estimate."""
        return sum(sized.size_bytes for sized in self._all())

    def __len__(self) -> int:
        """Entries in memory."""
        return sum(len(sized) for sized in self._all())

    # --- spaces ---------------------------------------------------------------------------------------------

    def _all(self) -> list[Space]:
        return [sized for named in self._spaces.values() for sized in named.by_dimensions.values()]

    def _next_use(self) -> int:
        self._uses += 1
        return self._uses

    async def _space(self, name: str) -> _Named:
        """That space, read from what is kept if it is not in memory yet. A caller who leaves does not stop the rest."""
        named, now = self._spaces.get(name), self._clock.monotonic()
        if self._kept is None:
            return self._spaces.setdefault(name, _Named(now))
        if named is not None and (named.read_again_s is None or named.read_again_s > now):
            named.used_s = now
            return named
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._load(name, self._kept))
            task.add_done_callback(lambda _task: self._loading.pop(name, None))
        await asyncio.shield(task)
        return self._spaces.setdefault(name, _Named(self._clock.monotonic()))

    async def _load(self, name: str, kept: Kept) -> None:
        """What was added while the database was down stays as it is."""
        now = self._clock.monotonic()
        try:
            entries = await kept.load(name, self._clock.now())
        except StoreError as error:
            log.warning("kept vectors cannot be read", extra={"detail": str(error)})
            self._spaces.setdefault(name, _Named(now)).read_again_s = now + _RETRY_S
            return
        named = self._spaces.setdefault(name, _Named(now))
        named.read_again_s = None
        for id, values, expires in entries:
            sized = named.by_dimensions.setdefault(len(values), Space(len(values), flat=self._flat))
            if id not in sized:
                sized.add(id, values, expires=expires, used=0)

    def _expire(self, space: str, sized: Space) -> None:
        gone = sized.expire(self._clock.now())
        if self._kept is not None:
            for id in gone:
                self._kept.remove(space, id)

    # --- the bound ------------------------------------------------------------------------------------------

    def _bound(self) -> None:
        self._unchecked = 0
        if self._kept is not None and self.size_bytes > self._size_bytes:
            self._unload_idle()
        while self.size_bytes > self._size_bytes and len(self):
            self._evict()

    def _unload_idle(self) -> None:
        over = self.size_bytes - self._size_bytes
        idle = self._clock.monotonic() - _IDLE_S
        for name, named in sorted(self._spaces.items(), key=lambda item: item[1].used_s):
            if over <= 0 or named.used_s > idle:
                return
            self._spaces.pop(name, None)
            over -= sum(sized.size_bytes for sized in named.by_dimensions.values())

    def _evict(self) -> None:
        """Drop the part of all entries that was used the longest ago."""
        uses = np.concatenate([sized.uses() for sized in self._all()])
        place = len(uses) // _EVICTED
        bound = int(np.partition(uses, place)[place]) + 1
        for name, named in list(self._spaces.items()):
            for dimensions, sized in list(named.by_dimensions.items()):
                gone = sized.evict(bound)
                if self._kept is not None:
                    for id in gone:
                        self._kept.remove(name, id)
                if not len(sized):
                    del named.by_dimensions[dimensions]
            if not len(named):
                del self._spaces[name]


class _Named:
    """What goes by one name: a space per length of vector. Times are monotonic seconds.

    read_again_s: when what is kept of it shall be read again, because it could not be; None: it was read.
    """

    __slots__ = ("by_dimensions", "read_again_s", "used_s")

    def __init__(self, used_s: float) -> None:
        self.by_dimensions: dict[int, Space] = {}
        self.used_s = used_s
        self.read_again_s: float | None = None

    def __len__(self) -> int:
        return sum(len(sized) for sized in self.by_dimensions.values())


def _values(space: str, vector: bytes) -> Floats:
    """Raises StoreError for bytes that are no vector."""
    check_size(space, vector)
    values = np.frombuffer(vector, "<f4")
    check_length(space, float(values @ values))
    return values
