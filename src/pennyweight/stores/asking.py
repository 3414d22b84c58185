"""Asking one store, no longer than a caller should wait and not while it is down.

It knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from ..errors import StoreError
from ..protocols import Clock
from .breaker import Breaker, Refused

__all__ = ["Asking"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOP_LATE_S = 0.005


class Asking:
    """What is asked of one store, bounded and counted, behind a circuit breaker.

    look: something to ask in order to see whether the store is well, with `trial_timeout_s` for it; nobody waits for
    that. untried: taken for down until that has worked. on_well: called whenever the store has answered. at_once:
    questions under way; more are refused, so that a store that hangs does not collect them.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        look: Callable[[], Coroutine[Any, Any, object]],
        on_well: Callable[[], None],
        trial_timeout_s: float,
        untried: bool,
        at_once: int = 64,
    ) -> None:
        self._name = name
        self._now = clock.monotonic
        self._look = look
        self._on_well = on_well
        self._trial_timeout_s = trial_timeout_s
        self._breaker = Breaker(untried=untried)
        self._running: set[asyncio.Task[Any]] = set()
        self._trial: asyncio.Task[None] | None = None
        self._at_once = at_once
        self._closed = False
        self._told = self._refusal_told = False  # the log, that it is down, that it refuses writes
        self.errors = self.timeouts = self.skipped = 0

    @property
    def down(self) -> bool:
        return self._breaker.open

    @property
    def trips(self) -> int:
        return self._breaker.trips

    async def ask(self, work: Coroutine[Any, Any, T], timeout_s: float | None, *, reads: bool = True) -> T:
        """reads: whether a refusal means that the tier is of no use; a server that only refuses writes still is."""
        if self._breaker.open:
            work.close()
            self.skipped += 1
            self.try_again()
            raise StoreError(f"The cache tier {self._name} is down; it is tried again soon.")
        if timeout_s is not None:
            return await self._bounded(work, timeout_s, reads)
        try:
            result = await work
        except StoreError as error:
            self._failed(error, reads=reads)
            raise
        self._worked()
        return result

    async def _bounded(self, work: Coroutine[Any, Any, T], timeout_s: float, reads: bool) -> T:
        """Waits no longer than that even for work that does not stop when it is cancelled. Whether the tier is well is
        judged by the work, also when the caller leaves before the time is up.
        """
        if len(self._running) >= self._at_once:
            work.close()
            self.skipped += 1
            raise StoreError(f"The cache tier {self._name} is busy.")
        loop = asyncio.get_running_loop()
        question = _Question(work, loop.create_future(), loop.create_task(_settled(work)), reads)
        self._running.add(question.task)
        question.timer = loop.call_later(timeout_s, self._late, question, timeout_s)
        question.task.add_done_callback(partial(self._finished, question))
        result: T = await question.answer
        return result

    def _late(self, question: _Question, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - question.timer.when() > _LOOP_LATE_S and not question.again:
            # It was this process that was held up. The answer may have come, and wants a moment to be read.
            question.again = True
            question.timer = loop.call_later(timeout_s, self._late, question, timeout_s)
            return
        question.late = True
        self.timeouts += 1
        error = StoreError(f"The cache tier {self._name} did not answer within {timeout_s * 1000:.0f} ms.")
        self._failed(error)
        question.tell(None, error)
        question.task.cancel()

    def _finished(self, question: _Question, task: asyncio.Task[Any]) -> None:
        question.timer.cancel()
        self._running.discard(task)
        if task.cancelled():
            question.work.close()  # cancelled before it had begun, it would be told of as never awaited
            result, error = None, StoreError(f"The cache tier {self._name} was stopped.")
        else:
            result, error = task.result()
            if error is None:
                self._worked()
            elif isinstance(error, StoreError) and not question.late:  # or it has been counted
                self._failed(error, reads=question.reads)
        question.tell(result, error)

    def try_again(self) -> None:
        """Begin a trial, if one is due. Without a caller, who would wait for it."""
        if self._breaker.trial_is_due(self._now()) and not self._closed:
            self._trial = asyncio.create_task(self._try(), name=f"try {self._name}")

    async def _try(self) -> None:
        error: str | None = "it did not answer"
        try:
            async with asyncio.timeout(self._trial_timeout_s):
                await self._look()
            error = None
        except StoreError as failure:
            error = failure.message
        except TimeoutError:
            pass
        finally:
            if self._breaker.tried(error is None, self._now()):
                log.info("a cache tier answers", extra={"tier": self._name})
        if error is None:
            self._told = False
            self._on_well()
        else:
            self.errors += 1
            self._tell_log("a cache tier is down, and is passed over", error)

    def _worked(self) -> None:
        self._told = False
        if self._breaker.worked():
            log.info("a cache tier answers again", extra={"tier": self._name})
        self._on_well()

    def _failed(self, error: StoreError, *, reads: bool = True) -> None:
        self.errors += 1
        if not reads and isinstance(error, Refused):
            if not self._refusal_told:
                self._refusal_told = True
                log.warning("a cache tier refuses writes", extra={"tier": self._name, "detail": error.message})
        elif self._breaker.failed(self._now()):
            self._tell_log("a cache tier is down, and is passed over", error.message)

    def _tell_log(self, what: str, detail: str) -> None:
        """Once, until it is well again."""
        if not self._told:
            self._told = True
            log.warning(what, extra={"tier": self._name, "detail": detail})

    def wrote(self) -> None:
        """A write has worked: the next refusal is news."""
        self._refusal_told = False

    async def close(self, timeout_s: float) -> None:
        """Stop what is under way; waits no longer than that for it."""
        self._closed = True
        tasks = [task for task in (self._trial, *self._running) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)


class _Question:
    """Something asked of a store, and who waits for the answer. late: the answer was that it takes too long. again: it
    has been given more time.
    """

    __slots__ = ("again", "answer", "late", "reads", "task", "timer", "work")

    timer: asyncio.TimerHandle

    def __init__(
        self, work: Coroutine[Any, Any, Any], answer: asyncio.Future[Any], task: asyncio.Task[Any], reads: bool
    ) -> None:
        self.work = work
        self.answer = answer
        self.task = task
        self.reads = reads
        self.late = self.again = False

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
