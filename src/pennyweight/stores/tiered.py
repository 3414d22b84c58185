"""Several stores as one: reads ask the fast ones first and fill them, writes go to all, what fails is passed over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..errors import StoreError
from .level import Level, LevelSettings, TierStats
from .memory import MemoryKV

__all__ = ["Level", "LevelSettings", "TierStats", "Tiered"]

log = logging.getLogger(__name__)


class Tiered:
    """A KV over `levels`, fastest first. Counters live in the last one alone, so that `add` stays atomic.

    What is in a `MemoryKV` at the top is found without waiting for anything. Equal reads at the same time become one.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        if not levels:
            raise ValueError("no tiers")
        self._levels = tuple(levels)
        top = levels[0]
        self._top = top
        self._memory = top.store if isinstance(top.store, MemoryKV) else None
        self._under = self._levels if self._memory is None else self._levels[1:]
        self._reading: dict[str, asyncio.Future[tuple[bytes, str] | None]] = {}

    async def get(self, key: str) -> bytes | None:
        """Raises StoreError only when every tier fails."""
        if self._memory is not None:
            value = self._memory.peek(key)
            if value is not None:
                self._top.hits += 1
                return value
        found = await self._found_below(key)
        return None if found is None else found[0]

    async def found(self, key: str) -> tuple[bytes, str] | None:
        """The value, and the name of the tier that had it. Raises StoreError as `get` does."""
        if self._memory is not None:
            value = self._memory.peek(key)
            if value is not None:
                self._top.hits += 1
                return value, self._top.name
        return await self._found_below(key)

    def holds(self, key: str, value: bytes) -> bool:
        """Whether the memory at the top still has that very value, which `found` gave. Counts as a hit there."""
        if self._memory is None or not self._memory.holds(key, value):
            return False
        self._top.hits += 1
        return True

    def on_drop(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever something is to be deleted from the memory at the top: whoever remembers
        what was found there forgets it then."""
        if self._memory is not None:
            self._memory.on_drop.append(listener)

    async def keys(self, prefix: str, *, limit: int = 10_000) -> Sequence[str]:
        """Up to `limit` keys that begin so, of all tiers that answer. Raises StoreError when none does."""
        found: set[str] = set()
        failed = 0
        for level in self._levels:
            try:
                found.update(await level.keys(prefix, limit))
            except StoreError:
                failed += 1
        if failed == len(self._levels):
            raise StoreError("No tier of the store answers.")
        return list(found)[:limit]

    async def _found_below(self, key: str) -> tuple[bytes, str] | None:
        if self._memory is not None:
            self._top.misses += 1
        reading = self._reading.get(key)
        if reading is not None:
            return await asyncio.shield(reading)
        return await self._read_for_all(key)

    @property
    def keeps_prompts(self) -> bool:
        return any(level.keeps_prompts for level in self._levels)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Raises StoreError only when every tier fails."""
        await self.put_answer(key, value, prompt="", ttl_s=ttl_s)

    async def put_answer(self, key: str, value: bytes, *, prompt: str, ttl_s: float | None = None) -> None:
        """The prompt goes to the tiers that keep prompts. Raises StoreError as `put` does."""
        self._reading.pop(key, None)
        failed = 0
        for level in self._levels:
            try:
                await level.put(key, value, ttl_s, prompt)
            except StoreError:
                failed += 1
        if failed == len(self._levels):
            raise StoreError("No tier of the store takes writes.")

    async def delete(self, prefix: str) -> int:
        """How many keys the largest tier dropped. Raises StoreError, when all were asked, if one of them failed: what
        it holds is not served from here any more, and is deleted when it is well again.
        """
        dropped, failure = 0, None
        for level in reversed(self._levels):
            try:
                dropped = max(dropped, await level.delete(prefix))
            except StoreError as error:
                failure = error
            self._reading.clear()  # reads that began before must not bring back what they found
        if failure is not None:
            raise failure
        return dropped

    async def remove(self, key: str) -> None:
        """Raises StoreError as `delete` does."""
        failure = None
        for level in reversed(self._levels):
            try:
                await level.remove(key)
            except StoreError as error:
                failure = error
            self._reading.clear()
        if failure is not None:
            raise failure

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        return await self._levels[-1].add(key, amount, ttl_s)

    def start(self) -> None:
        """Connect to what must be connected to, so that the first callers find it done."""
        for level in self._levels:
            level.try_again()

    async def counter(self, key: str) -> int:
        """What was added up under that key; 0 where nothing was."""
        return await self._levels[-1].counter(key)

    async def flush(self) -> None:
        """Until queued writes were made, or failed: for who must know that others can read what was put."""
        for level in self._levels:
            await level.flush()

    async def written(self, key: str) -> bool:
        """Waits until a tier that outlives this process has what was put under that key. False: none of them has it,
        or there is none."""
        asking = {asyncio.create_task(level.written(key)) for level in self._levels if level.settings.behind}
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    return True
            return False
        finally:
            for task in asking:
                task.cancel()

    async def close(self) -> None:
        """Make queued writes, for a short while. The stores themselves are their owners' to close."""
        for level in self._levels:
            await level.close()

    def stats(self) -> tuple[TierStats, ...]:
        """What each tier did since the start, fastest first."""
        return tuple(level.stats() for level in self._levels)

    async def _read_for_all(self, key: str) -> tuple[bytes, str] | None:
        """What others ask for meanwhile they get from this one read; when it fails or is given up, they get nothing."""
        reading: asyncio.Future[tuple[bytes, str] | None] = asyncio.get_running_loop().create_future()
        self._reading[key] = reading
        found = None
        try:
            depth, value, left_s = await self._read(key)
            if value is None:
                return None
            if self._reading.get(key) is reading:  # or it was written or deleted meanwhile: this may be what was before
                await self._fill(depth, key, value, left_s)
            found = (value, self._under[depth].name)
            return found
        finally:
            if self._reading.get(key) is reading:
                del self._reading[key]
            reading.set_result(found)

    async def _read(self, key: str) -> tuple[int, bytes | None, float | None]:
        """Where it was found, the value and for how long that tier keeps it. Raises StoreError when none answers."""
        failed = 0
        for depth, level in enumerate(self._under):
            try:
                found = await level.read(key)
            except StoreError:
                failed += 1
                continue
            if found is not None:
                return depth, *found
        if failed == len(self._levels):
            raise StoreError("No tier of the store answers.")
        return 0, None, None

    async def _fill(self, depth: int, key: str, value: bytes, left_s: float | None) -> None:
        """Keep what was found at that depth in the tiers above it."""
        if _may_be_counter(value):  # a copy of one would not see the next `add`
            return
        for level in self._under[:depth]:
            level.fill(key, value, left_s)
        if self._memory is not None:
            most_s = self._top.settings.fill_ttl_s
            await self._memory.put(key, value, ttl_s=most_s if left_s is None else min(left_s, most_s))


def _may_be_counter(value: bytes) -> bool:
    return len(value) < 64 and value.removeprefix(b"-").isdigit()
