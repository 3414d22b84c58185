"""Finding and dropping what caches keep, in any store: by tenant, model, age or key. And telling other processes.

Keys and wrappings are those of `pennyweight.kept`, so nothing here knows what an entry says. A purge removes entries
from the stores; other processes' memory hears of it by a counter in the store that all share.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from ..errors import StoreError
from ..kept import CACHES, Named, named, unwrapped
from ..patterns import starred
from ..protocols import KV
from .tiered import Tiered

__all__ = ["Found", "PurgeWatch", "Searchable", "Wanted", "entries", "purge"]

log = logging.getLogger(__name__)

COUNTER = "cache/purges"
_MOST_KEYS = 1_000_000


class Searchable(KV, Protocol):
    """A KV whose keys can be listed."""

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]: ...

    async def remove(self, key: str) -> None: ...


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries: those that fit all that is told. model: `*` stands for any characters. key: whole, or the first
    characters (eight at least) of its digest. cache: one of `kept.CACHES`."""

    tenant: str | None = None
    model: str | None = None
    older_than_s: float | None = None
    key: str | None = None
    cache: str | None = None

    @property
    def everything(self) -> bool:
        return all(getattr(self, name) is None for name in self.__struct_fields__)


class Found(msgspec.Struct, frozen=True):
    """One entry. `age_s` None: it is damaged, or of another release, and would not be served."""

    key: str
    named: Named
    size_bytes: int
    age_s: float | None


async def entries(kv: Searchable, wanted: Wanted, *, now: float, limit: int = _MOST_KEYS) -> AsyncIterator[Found]:
    """What the store keeps of that, up to `limit`, in no order. Raises StoreError."""
    count = 0
    for key, name in await _keys(kv, wanted):
        value = await kv.get(key)
        if value is None:
            continue
        wrapped = unwrapped(key, value)
        age_s = None if wrapped is None else max(now - wrapped.created_at, 0.0)
        if wanted.older_than_s is not None and age_s is not None and age_s < wanted.older_than_s:
            continue
        yield Found(key, name, len(value), age_s)
        count += 1
        if count >= limit:
            return


async def purge(kv: Searchable, wanted: Wanted, *, now: float) -> int:
    """Drop them, and let all processes that share the store know. How many. Raises StoreError.

    An entry whose age cannot be told counts as old.
    """
    dropped = 0
    if wanted.key is not None and named(wanted.key) is not None:
        keys = [wanted.key]  # without a look through all
    elif wanted.older_than_s is not None:
        keys = [found.key async for found in entries(kv, wanted, now=now)]
    elif wanted.key is None and wanted.model is None and wanted.tenant is None:
        keys = []
        for cache in CACHES if wanted.cache is None else (wanted.cache,):
            dropped += await kv.delete(f"{cache}/")
    else:
        keys = [key for key, _ in await _keys(kv, wanted)]
    for number, key in enumerate(keys):
        await kv.remove(key)
        if number % 100 == 99:
            await asyncio.sleep(0)
    await kv.add(COUNTER, 1)
    return dropped + len(keys)


async def _keys(kv: Searchable, wanted: Wanted) -> list[tuple[str, Named]]:
    pattern = _pattern(wanted.model)
    found = []
    for cache in CACHES if wanted.cache is None else (wanted.cache,):
        prefix = f"{cache}/" if wanted.tenant is None else f"{cache}/{wanted.tenant}/"
        for key in await kv.keys(prefix, limit=_MOST_KEYS):
            name = named(key)
            if name is None or (wanted.tenant is not None and name.tenant != wanted.tenant):
                continue
            if pattern is not None and pattern.fullmatch(name.model) is None:
                continue
            if wanted.key is None or key == wanted.key or (len(wanted.key) >= 8 and name.digest.startswith(wanted.key)):
                found.append((key, name))
    return found


def _pattern(model: str | None) -> re.Pattern[str] | None:
    return None if model is None else starred(model)


class PurgeWatch:
    """Looks every `every_s` whether somebody purged, and drops then what this process's memory has of caches.

    What was not purged is found again in the stores below. One look is one small read.
    """

    def __init__(self, shared: Tiered, memory: KV, *, every_s: float = 1.0) -> None:
        self._shared = shared
        self._memory = memory
        self._every_s = every_s
        self._seen = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="purges")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self, *, first: bool = False) -> bool:
        """Whether there was a purge since the last look. Raises StoreError."""
        count = await self._shared.counter(COUNTER)
        if count == self._seen or first:
            self._seen = count
            return False
        self._seen = count
        for cache in CACHES:
            await self._memory.delete(f"{cache}/")
        return True

    async def _run(self) -> None:
        first = True
        while True:
            try:
                await self.look(first=first)
                first = False
            except StoreError as error:
                log.debug("purges cannot be seen", extra={"error": type(error).__name__})
            except Exception as error:  # noqa: BLE001 - the next look may do better
                log.warning("purges cannot be seen", extra={"error": type(error).__name__})
            await asyncio.sleep(self._every_s)
