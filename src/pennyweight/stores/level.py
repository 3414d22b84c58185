"""One tier among several: how long it may take, whether to ask it at all, what it still has to be told, and counters.

It knows nothing of the tiers beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..errors import StoreError
from ..protocols import Clock, Tier
from .breaker import Breaker

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


_AT_ONCE = 64  # questions under way to one tier; of a tier that hangs, none are added
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
        self._breaker = Breaker(untried=self.settings.untried)
        self._queue: dict[str, tuple[bytes, float | None]] = {}  # values and when they lapse, oldest first
        self._queue_bytes = 0
        self._owed_keys: dict[str, None] = {}
        self._owed_prefixes: dict[str, None] = {}
        self._under_way: list[_Write] = []
        self._running: set[asyncio.Task[Any]] = set()
        self._writer: asyncio.Task[None] | None = None
        self._mender: asyncio.Task[None] | None = None
        self._trial: asyncio.Task[None] | None = None
        self._mend_after = 0.0
        self._closed = False
        self._told = False  # the log, that it is down
        self.hits = self.misses = self._errors = self._timeouts = self._skipped = 0
        self._writes = self._dropped = self._reads = 0
        self._read_s = 0.0

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        queued = self._queue.get(key)
        if queued is not None:
            value, until = queued
            left_s = None if until is None else until - self._now()
            if left_s is not None and left_s <= 0:
                self.misses += 1
                return None
            self.hits += 1
            return value, left_s
        if self._owes(key):
            self.misses += 1
            return None
        began = self._now()
        found = await self.ask(self.store.read(key), self.settings.timeout_s)
        self._reads += 1
        self._read_s += self._now() - began
        if self._owes(key):  # replaced or deleted meanwhile
            found = None
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def put(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """At once, or queued; never raises where it is queued."""
        ttl_s = self.settings.ttl_s if ttl_s is None else ttl_s
        if len(value) > self.settings.max_value_bytes:
            self._dropped += 1
            self._take_from_queue(key)
            self._owe(key)  # what is there is older than what could not be kept
            self._mend()
        elif self.settings.behind:
            self._put_later(key, value, ttl_s)
        else:
            await self._write(key, value, ttl_s)

    def fill(self, key: str, value: bytes, left_s: float | None) -> None:
        """Keep a copy of what a lower tier had, which keeps it for `left_s` more. Off the caller's path."""
        if key in self._queue or self._owes(key) or len(value) > self.settings.max_value_bytes:
            return
        ttl_s = self.settings.fill_ttl_s if left_s is None else min(left_s, self.settings.fill_ttl_s)
        if not self._breaker.open:
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
        dropped = await self.ask(self.store.delete(prefix), self.settings.delete_timeout_s)
        self._owed_prefixes.pop(prefix, None)
        return len(queued) + dropped

    async def remove(self, key: str) -> None:
        self._take_from_queue(key)
        self._owe(key)
        for write in self._under_way:
            write.void = write.void or write.key == key
        await self.ask(self.store.remove(key), self.settings.write_timeout_s)
        self._owed_keys.pop(key, None)

    async def keys(self, prefix: str, limit: int) -> Sequence[str]:
        there = await self.ask(self.store.keys(prefix, limit=limit), self.settings.delete_timeout_s)
        found = {key for key in there if not self._owes(key)} | {key for key in self._queue if key.startswith(prefix)}
        return list(found)[:limit]

    async def add(self, key: str, amount: int, ttl_s: float | None) -> int:
        if key in self._queue:  # the store adds to what was put
            await self.flush()
        return await self.ask(self.store.add(key, amount, ttl_s=ttl_s), self.settings.write_timeout_s)

    async def flush(self) -> None:
        """Until the queue is empty."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self.flush()
        self._closed = True
        tasks = [task for task in (self._writer, self._mender, self._trial, *self._running) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_S)

    def stats(self) -> TierStats:
        spoilt = getattr(self.store, "spoilt", 0)
        return TierStats(
            self.name,
            self._breaker.open,
            self.hits,
            self.misses,
            self._errors,
            self._timeouts,
            self._skipped,
            self._writes,
            self._dropped,
            spoilt,
            self._breaker.trips,
            len(self._queue),
            self._reads,
            self._read_s,
        )

    # --- asking ---------------------------------------------------------------------------------------------

    async def ask(self, work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
        """The result of `work`, something asked of the server that the tier stands on."""
        if self._breaker.open:
            work.close()
            self._skipped += 1
            self.try_again()
            raise StoreError(f"The cache tier {self.name} is down; it is tried again soon.")
        if timeout_s is not None:
            return await self._bounded(work, timeout_s)
        try:
            result = await work
        except StoreError as error:
            self._failed(error)
            raise
        self._worked()
        return result

    async def _bounded(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Waits no longer than that even for work that does not stop when it is cancelled. Whether the tier is well is
        judged by the work, also when the caller leaves before the time is up.
        """
        if len(self._running) >= _AT_ONCE:
            work.close()
            self._skipped += 1
            raise StoreError(f"The cache tier {self.name} is busy.")
        loop = asyncio.get_running_loop()
        question = _Question(loop.create_future(), loop.create_task(_settled(work)))
        self._running.add(question.task)
        timer = loop.call_later(timeout_s, self._late, question, timeout_s)
        question.task.add_done_callback(partial(self._finished, question, timer))
        result: T = await question.answer
        return result

    def _late(self, question: _Question, timeout_s: float) -> None:
        question.late = True
        self._timeouts += 1
        error = StoreError(f"The cache tier {self.name} did not answer within {timeout_s * 1000:.0f} ms.")
        self._failed(error)
        question.tell(None, error)
        question.task.cancel()

    def _finished(self, question: _Question, timer: asyncio.TimerHandle, task: asyncio.Task[Any]) -> None:
        timer.cancel()
        self._running.discard(task)
        if task.cancelled():
            result, error = None, StoreError(f"The cache tier {self.name} was stopped.")
        else:
            result, error = task.result()
            if error is None:
                self._worked()
            elif isinstance(error, StoreError) and not question.late:  # or it has been counted
                self._failed(error)
        question.tell(result, error)

    def try_again(self) -> None:
        """Begin a trial, if one is due. Without a caller, who would wait for it."""
        if self._breaker.trial_is_due(self._now()) and not self._closed:
            self._trial = asyncio.create_task(self._try(), name=f"try {self.name}")

    async def _try(self) -> None:
        error: str | None = "it did not answer"
        try:
            async with asyncio.timeout(self.settings.trial_timeout_s):
                await self.store.read("")
            error = None
        except StoreError as failure:
            error = failure.message
        except TimeoutError:
            pass
        finally:
            if self._breaker.tried(error is None, self._now()):
                log.info("a cache tier answers", extra={"tier": self.name})
        if error is None:
            self._mend()
        else:
            self._errors += 1
            if not self._told:
                self._told = True
                log.warning("a cache tier is down, and is passed over", extra={"tier": self.name, "detail": error})

    def _worked(self) -> None:
        self._told = False
        if self._breaker.worked():
            log.info("a cache tier answers again", extra={"tier": self.name})
        self._mend()

    def _failed(self, error: StoreError) -> None:
        self._errors += 1
        if self._breaker.failed(self._now()):
            self._told = True
            log.warning("a cache tier is down, and is passed over", extra={"tier": self.name, "detail": error.message})

    # --- writing --------------------------------------------------------------------------------------------

    async def _write(self, key: str, value: bytes, ttl_s: float | None) -> None:
        write = _Write(key)
        self._under_way.append(write)
        try:
            await self.ask(self.store.put(key, value, ttl_s=ttl_s), self.settings.write_timeout_s)
        except BaseException:
            self._dropped += 1
            self._owe(key)
            raise
        finally:
            self._under_way.remove(write)
        self._writes += 1
        if write.void:  # deleted meanwhile, perhaps before it was written
            self._owe(key)
            self._mend()
        else:
            self._owed_keys.pop(key, None)

    def _put_later(self, key: str, value: bytes, ttl_s: float | None) -> None:
        self._take_from_queue(key)
        self._queue[key] = (value, None if ttl_s is None else self._now() + ttl_s)
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
            value, until = entry
            left_s = None if until is None else until - self._now()
            try:
                if left_s is None or left_s > 0:
                    await self._write(key, value, left_s)
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
            self._queue_bytes -= len(entry[0])

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
                await self.ask(self.store.delete(prefix), self.settings.delete_timeout_s)
                self._owed_prefixes.pop(prefix, None)
            for key in list(self._owed_keys):
                if key not in self._owed_keys:
                    continue
                await self.ask(self.store.remove(key), self.settings.write_timeout_s)
                if key not in self._queue:
                    self._owed_keys.pop(key, None)

    def _mended(self, _task: asyncio.Task[None]) -> None:
        self._mender = None


class _Write:
    """A put under way. void: what it writes has been deleted meanwhile."""

    __slots__ = ("key", "void")

    def __init__(self, key: str) -> None:
        self.key = key
        self.void = False


class _Question:
    """Something asked of a store, and who waits for the answer. late: the answer was that it takes too long."""

    __slots__ = ("answer", "late", "task")

    def __init__(self, answer: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        self.answer = answer
        self.task = task
        self.late = False

    def tell(self, result: Any, error: Exception | None) -> None:
        if self.answer.done():  # or the caller left
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


async def _settled(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """The result or the error: a task that nobody waits for any more must not complain about an error not fetched."""
    try:
        return await work, None
    except Exception as error:  # noqa: BLE001 - handed on as it is
        return None, error
