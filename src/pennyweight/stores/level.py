"""One tier among several: how long it may take, whether to ask it at all, what it still has to be told, and counters.

It knows nothing of the tiers beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from ..errors import StoreError
from ..protocols import Clock, PromptKeeper, Tier
from .asking import Asking

__all__ = ["Level", "LevelSettings", "TierStats"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class LevelSettings(msgspec.Struct, frozen=True):
    """timeout_s: for a read; None: as long as it takes. write_timeout_s, delete_timeout_s: for the others.
    trial_timeout_s: to find out whether a tier that was down is well, connecting to it included; nobody waits for that.
    untried: down until such a trial has worked, for what has to be connected to first.
    behind: writes are queued and made by a task of their own, `queue` entries and `queue_bytes` at most.
    ttl_s: for entries that name no time. fill_ttl_s: the longest that a copy from a lower tier is kept.
    """

    timeout_s: float | None = None
    write_timeout_s: float | None = None
    delete_timeout_s: float | None = None
    trial_timeout_s: float = 5.0
    untried: bool = False
    behind: bool = False
    queue: int = 2_000
    queue_bytes: int = 64 << 20
    ttl_s: float | None = None
    fill_ttl_s: float = 300.0
    max_value_bytes: int = 16 << 20


class TierStats(msgspec.Struct, frozen=True):
    """Since the start. reads: asked and answered, `read_s` seconds in all. errors: of any kind, timeouts among them.
    skipped: not asked, because it was down or busy. dropped: writes that it never got. spoilt: entries that could not
    be opened, and were removed. trips: how often it was taken for down.
    """

    name: str
    down: bool
    hits: int
    misses: int
    errors: int
    timeouts: int
    skipped: int
    writes: int
    dropped: int
    spoilt: int
    trips: int
    queued: int
    reads: int
    read_s: float


_OWED = 10_000  # keys remembered, of those that a tier did not hear about
_MEND_AGAIN_S = 0.5
_DRAIN_S = 2.0  # for queued writes, when closing


class Level:
    """A Tier with a name, bounded and counted. Raises StoreError for what failed, took too long or was not asked.

    What it could not be told while it was down, a new value or a deletion, it is not asked about until it has been:
    what came back with it might be what was replaced.
    """

    def __init__(self, name: str, store: Tier, *, clock: Clock, settings: LevelSettings | None = None) -> None:
        self.name = name
        self.store = store
        self.settings = settings or LevelSettings()
        self._now = clock.monotonic
        self._asking = Asking(
            name,
            clock=clock,
            look=lambda: store.read(""),
            on_well=self._mend,
            trial_timeout_s=self.settings.trial_timeout_s,
            untried=self.settings.untried,
        )
        self._queue: dict[str, _Queued] = {}  # oldest first
        self.keeps_prompts = isinstance(store, PromptKeeper) and store.keeps_prompts
        self._queue_bytes = 0
        self._awaited: dict[str, asyncio.Future[None]] = {}  # by those who wait until a queued key is written
        self._owed_keys: dict[str, None] = {}
        self._owed_prefixes: dict[str, None] = {}
        self._under_way: list[_Write] = []
        self._writer: asyncio.Task[None] | None = None
        self._mender: asyncio.Task[None] | None = None
        self._mend_after = 0.0
        self.hits = self.misses = 0
        self._writes = self._dropped = self._reads = 0
        self._read_s = 0.0

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        queued = self._queue.get(key)
        if queued is not None:
            left_s = None if queued.until is None else queued.until - self._now()
            if left_s is not None and left_s <= 0:
                self.misses += 1
                return None
            self.hits += 1
            return queued.value, left_s
        if self._owes(key):
            self.misses += 1
            return None
        began = self._now()
        found = await self._asking.ask(self.store.read(key), self.settings.timeout_s)
        self._reads += 1
        self._read_s += self._now() - began
        if self._owes(key):  # replaced or deleted meanwhile
            found = None
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def put(self, key: str, value: bytes, ttl_s: float | None, prompt: str = "") -> None:
        """At once, or queued; never raises where it is queued."""
        ttl_s = self.settings.ttl_s if ttl_s is None else ttl_s
        if len(value) > self.settings.max_value_bytes:
            self._dropped += 1
            self._take_from_queue(key)
            self._owe(key)  # what is there is older than what could not be kept
            self._mend()
        elif self.settings.behind:
            self._put_later(key, value, ttl_s, prompt)
        else:
            await self._write(key, value, ttl_s, prompt)

    def fill(self, key: str, value: bytes, left_s: float | None) -> None:
        """Keep a copy of what a lower tier had, which keeps it for `left_s` more. Off the caller's path."""
        if key in self._queue or self._owes(key) or len(value) > self.settings.max_value_bytes:
            return
        ttl_s = self.settings.fill_ttl_s if left_s is None else min(left_s, self.settings.fill_ttl_s)
        if not self._asking.down:
            self._put_later(key, value, ttl_s)

    async def delete(self, prefix: str) -> int:
        self._owed_prefixes[prefix] = None
        queued = {key for key in self._queue if key.startswith(prefix)}
        for key in queued:
            self._take_from_queue(key)
        for write in self._under_way:
            if write.key.startswith(prefix):
                write.void = True
                queued.discard(write.key)  # the store may have it already
        dropped = await self._asking.ask(self.store.delete(prefix), self.settings.delete_timeout_s, reads=False)
        self._owed_prefixes.pop(prefix, None)
        return len(queued) + dropped

    async def remove(self, key: str) -> None:
        self._take_from_queue(key)
        self._owe(key)
        for write in self._under_way:
            write.void = write.void or write.key == key
        await self._asking.ask(self.store.remove(key), self.settings.write_timeout_s, reads=False)
        self._owed_keys.pop(key, None)

    async def keys(self, prefix: str, limit: int) -> Sequence[str]:
        there = await self._asking.ask(self.store.keys(prefix, limit=limit), self.settings.delete_timeout_s)
        found = {key for key in there if not self._owes(key)} | {key for key in self._queue if key.startswith(prefix)}
        return list(found)[:limit]

    async def add(self, key: str, amount: int, ttl_s: float | None) -> int:
        if key in self._queue:  # the store adds to what was put
            await self.flush()
        return await self._asking.ask(
            self.store.add(key, amount, ttl_s=ttl_s), self.settings.write_timeout_s, reads=False
        )

    async def counter(self, key: str) -> int:
        """0 where it is not there. Not a read that is counted: nobody looked for an answer."""
        value = await self._asking.ask(self.store.get(key), self.settings.timeout_s)
        try:
            return int(value or 0)
        except ValueError:
            raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None

    def try_again(self) -> None:
        """Begin to find out whether it is well, where that is not known and due."""
        self._asking.try_again()

    async def flush(self) -> None:
        """Until the queue is empty."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))

    async def written(self, key: str) -> bool:
        """Waits until what was put under that key is no longer queued; whether the store has it."""
        while key in self._queue:
            waiting = self._awaited.get(key)
            if waiting is None:
                waiting = self._awaited[key] = asyncio.get_running_loop().create_future()
            await asyncio.shield(waiting)
        return not self._owes(key)

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self.flush()
        for task in (self._writer, self._mender):
            if task is not None:
                task.cancel()
        await self._asking.close(_DRAIN_S)

    def stats(self) -> TierStats:
        spoilt = getattr(self.store, "spoilt", 0)
        return TierStats(
            self.name,
            self._asking.down,
            self.hits,
            self.misses,
            self._asking.errors,
            self._asking.timeouts,
            self._asking.skipped,
            self._writes,
            self._dropped,
            spoilt,
            self._asking.trips,
            len(self._queue),
            self._reads,
            self._read_s,
        )

    # --- writing --------------------------------------------------------------------------------------------

    async def _write(self, key: str, value: bytes, ttl_s: float | None, prompt: str) -> None:
        write = _Write(key)
        self._under_way.append(write)
        try:
            await self._asking.ask(self._stored(key, value, ttl_s, prompt), self.settings.write_timeout_s, reads=False)
        except BaseException:
            self._dropped += 1
            self._owe(key)
            raise
        finally:
            self._under_way.remove(write)
        self._writes += 1
        self._asking.wrote()
        if write.void:  # deleted meanwhile, perhaps before it was written
            self._owe(key)
            self._mend()
        else:
            self._owed_keys.pop(key, None)

    def _stored(self, key: str, value: bytes, ttl_s: float | None, prompt: str) -> Coroutine[Any, Any, None]:
        if prompt and self.keeps_prompts and isinstance(self.store, PromptKeeper):
            return self.store.put_answer(key, value, prompt=prompt, ttl_s=ttl_s)
        return self.store.put(key, value, ttl_s=ttl_s)

    def _put_later(self, key: str, value: bytes, ttl_s: float | None, prompt: str = "") -> None:
        self._take_from_queue(key)
        until = None if ttl_s is None else self._now() + ttl_s
        self._queue[key] = _Queued(value, until, prompt if self.keeps_prompts else "")
        self._queue_bytes += len(value)
        while len(self._queue) > self.settings.queue or self._queue_bytes > self.settings.queue_bytes:
            oldest = next(iter(self._queue))
            self._take_from_queue(oldest)
            self._dropped += 1
            self._owe(oldest)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_queue(), name=f"write to {self.name}")
            self._writer.add_done_callback(self._wrote)

    async def _write_queue(self) -> None:
        while self._queue:
            key, entry = next(iter(self._queue.items()))
            left_s = None if entry.until is None else entry.until - self._now()
            try:
                if left_s is None or left_s > 0:
                    await self._write(key, entry.value, left_s, entry.prompt)
                else:
                    self._owe(key)
            except StoreError:  # counted, and owed
                await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - one entry that cannot be written must not hold up the others
                log.warning("an entry cannot be cached", extra={"tier": self.name, "error": type(error).__name__})
            finally:
                if self._queue.get(key) is entry:
                    self._take_from_queue(key)

    def _wrote(self, task: asyncio.Task[None]) -> None:
        self._writer = None
        if self._queue and not task.cancelled():
            self._writer = asyncio.create_task(self._write_queue(), name=f"write to {self.name}")
            self._writer.add_done_callback(self._wrote)

    def _take_from_queue(self, key: str) -> None:
        entry = self._queue.pop(key, None)
        if entry is not None:
            self._queue_bytes -= len(entry.value)
        waiting = self._awaited.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # --- what it has to be told -----------------------------------------------------------------------------

    def _owes(self, key: str) -> bool:
        if key in self._owed_keys:
            return True
        return bool(self._owed_prefixes) and any(key.startswith(prefix) for prefix in self._owed_prefixes)

    def _owe(self, key: str) -> None:
        self._owed_keys[key] = None
        if len(self._owed_keys) > _OWED:
            del self._owed_keys[next(iter(self._owed_keys))]

    def _mend(self) -> None:
        """Tell the tier what it has missed, now that it answers."""
        if (self._owed_keys or self._owed_prefixes) and self._mender is None and self._now() >= self._mend_after:
            self._mend_after = self._now() + _MEND_AGAIN_S
            self._mender = asyncio.create_task(self._tell(), name=f"mend {self.name}")
            self._mender.add_done_callback(self._mended)

    async def _tell(self) -> None:
        with contextlib.suppress(StoreError):  # it is down again
            for prefix in list(self._owed_prefixes):
                await self._asking.ask(self.store.delete(prefix), self.settings.delete_timeout_s, reads=False)
                self._owed_prefixes.pop(prefix, None)
            for key in list(self._owed_keys):
                if key not in self._owed_keys:
                    continue
                await self._asking.ask(self.store.remove(key), self.settings.write_timeout_s, reads=False)
                if key not in self._queue:
                    self._owed_keys.pop(key, None)

    def _mended(self, _task: asyncio.Task[None]) -> None:
        self._mender = None


class _Queued(msgspec.Struct, frozen=True):
    """A value to be written, when it lapses on the monotonic clock, and its prompt where that is kept."""

    value: bytes
    until: float | None
    prompt: str


class _Write:
    """A put under way. void: what it writes has been deleted meanwhile."""

    __slots__ = ("key", "void")

    def __init__(self, key: str) -> None:
        self.key = key
        self.void = False
