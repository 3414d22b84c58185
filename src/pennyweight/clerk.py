"""The clerk: after the caller was answered, makes receipts, writes them in batches, and lets optimizers learn.

What can be done for many calls at once is done so: receipts are watched, written and learnt from in portions. Three
loops, so that none holds up another: one makes receipts (in small portions, because the same event loop serves
requests) and lets optimizers learn as far as that needs no waiting, one writes, one waits for what optimizers wait for.
A ledger that fails delays receipts in a bounded queue and never an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import islice, repeat
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from .call import Outcome, Receipt
from .errors import StoreError
from .flow import Begun
from .protocols import Clock, Ledger

log = logging.getLogger(__name__)

__all__ = ["Clerk", "Counters", "Settings"]

T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True):
    """What a kill -9 may lose is `batch_s` and the write after it: under 200 ms in all."""

    batch_s: float = 0.05  # how long receipts gather before they are written
    portion: int = 16  # receipts made before other tasks of the event loop get their turn
    portion_s: float = 0.0005  # and as soon as making them took so long
    limit: int = 10_000  # receipts waiting; past it new ones are lost, and counted
    unsettled_limit: int = 1_000  # outcomes hold whole bodies, so fewer of them may wait for optimizers
    retry_s: float = 0.1  # wait after the first failed write; doubles
    retry_max_s: float = 5.0
    close_s: float = 5.0  # how long a stop waits for a ledger that fails
    complain_s: float = 60.0  # the same trouble is logged this often


class Counters(msgspec.Struct, frozen=True):
    """What became of receipts since the start; `queued` and `unsettled` are of this moment."""

    queued: int
    written: int
    lost: int  # the queue was full, or the receipt could not be made or stored
    delayed: int  # had to wait for a ledger that failed
    unsettled: int
    unlearnt: int  # outcomes that optimizers never saw, because too many waited
    last_error: str  # "" while the ledger works


class Clerk:
    """`submit` outcomes; `async with` it, or `start` and `close`. It belongs to the event loop it was started in."""

    def __init__(
        self,
        ledger: Ledger,
        receipt: Callable[[Outcome], Receipt],
        *,
        settle: Callable[[Sequence[Outcome]], Coroutine[Any, Any, None]] | None,
        clock: Clock,
        settings: Settings | None = None,
        watch: Callable[[Sequence[Receipt], Sequence[Outcome]], None] | None = None,
    ) -> None:
        """watch: told of receipts that were made, with the outcomes they were made from."""
        self._ledger = ledger
        self._receipt = receipt
        self._settle = settle
        self._watch = watch
        self._clock = clock
        self._settings = settings or Settings()
        self._limit = self._settings.limit
        self._inbox: deque[Outcome] = deque()
        self._pending: deque[Receipt] = deque()
        self._unsettled: deque[Outcome] = deque()
        self._begun: deque[tuple[Begun, int]] = deque()  # wait for a store, with the number of their outcomes
        self._arrived = asyncio.Event()
        self._made = asyncio.Event()
        self._learn = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._settling = 0  # outcomes that are waited for, those in `_begun` included
        self._written = self._lost = self._delayed = self._unlearnt = 0
        self._last_error = ""
        self._complained: dict[str, float] = {}

    def submit(self, outcome: Outcome) -> None:
        """Take note of a finished call. Never blocks, never raises; a full queue loses the receipt and counts it."""
        inbox = self._inbox
        if self._closed or len(inbox) + len(self._pending) >= self._limit:
            self._lose(
                1, "receipts lost: the queue is full" if not self._closed else "receipts lost: the clerk stopped"
            )
            return
        if not inbox:
            self._arrived.set()
        inbox.append(outcome)
        if outcome.response is not None:  # somebody may ask the same at once, and a cache must have the answer by then
            self._settle_now((outcome,))

    @property
    def counters(self) -> Counters:
        return Counters(
            queued=len(self._inbox) + len(self._pending),
            written=self._written,
            lost=self._lost,
            delayed=self._delayed,
            unsettled=len(self._unsettled) + self._settling,
            unlearnt=self._unlearnt,
            last_error=self._last_error,
        )

    def start(self) -> None:
        loops = [self._make_all(), self._write_all()] + ([self._settle_all()] if self._settle is not None else [])
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all that was submitted is written and settled; False when it was not within the time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while self.counters.queued or self.counters.unsettled:
                if asyncio.get_running_loop().time() >= deadline:
                    return False
                self._hurry.set()
                await asyncio.sleep(0.002)
            return True
        finally:
            self._hurry.clear()

    async def close(self) -> None:
        """Write and settle what is left, then stop. What a failing ledger did not take in `close_s` is lost, loudly."""
        if not self._tasks:
            return
        self._closed = True
        await self.flush(self._settings.close_s)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left := self.counters.queued:
            self._inbox.clear()
            self._pending.clear()
            self._lose(left, "receipts lost: the ledger failed until the end")

    async def __aenter__(self) -> Clerk:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- the three loops ------------------------------------------------------------------------------------

    async def _make_all(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            self._arrived.clear()
            while self._inbox:
                self._make_some()
                await asyncio.sleep(0)
                self._settle_some()
            self._made.set()  # once for all that gathered: few large transactions cost far less than many small ones

    async def _gather(self) -> None:
        """Let a batch come together, unless somebody waits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.batch_s):
                await self._hurry.wait()

    def _make_some(self) -> None:
        inbox, monotonic = self._inbox, self._clock.monotonic
        made: list[Receipt] = []
        outcomes: list[Outcome] = []
        enough = monotonic() + self._settings.portion_s
        make, next_outcome = self._receipt, inbox.popleft
        for _ in range(min(self._settings.portion, len(inbox))):
            outcome = next_outcome()
            try:
                made.append(make(outcome))
                outcomes.append(outcome)
            except Exception as error:  # noqa: BLE001 - one odd call must not stop the books
                self._lose(1, "receipt lost: it could not be made", error)
                self._to_settle(_unsettled((outcome,)))
            if monotonic() > enough:
                break
        self._pending.extend(made)
        if self._watch is not None:
            try:
                self._watch(made, outcomes)
            except Exception as error:  # noqa: BLE001 - who looks on must not stop the books
                self._complain("receipts could not be watched", error)
        self._to_settle(_unsettled(outcomes))

    def _to_settle(self, outcomes: Sequence[Outcome]) -> None:
        if self._settle is None:
            return
        room = max(self._settings.unsettled_limit - len(self._unsettled) - self._settling, 0)
        self._unsettled.extend(outcomes[:room])
        if room < len(outcomes):
            self._skip(len(outcomes) - room)

    def _skip(self, count: int) -> None:
        self._unlearnt += count
        self._complain("optimizers learn too slowly: outcomes skipped")

    def _settle_some(self) -> None:
        """Let optimizers learn from a portion of what waits, unless they wait for something themselves: then it is
        learnt after that."""
        if self._unsettled and not self._settling:
            self._settle_now(_take(self._unsettled, self._settings.portion))

    def _settle_now(self, outcomes: Sequence[Outcome]) -> None:
        """As far as that goes without waiting."""
        if self._settle is None:
            return
        work = self._settle(outcomes)
        try:
            waiting = work.send(None)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._complain("optimizers failed to learn", error)
            return
        if len(self._unsettled) + self._settling >= self._settings.unsettled_limit:
            self._skip(len(outcomes))
            return
        self._settling += len(outcomes)
        self._begun.append((Begun(work, waiting), len(outcomes)))
        self._learn.set()

    async def _write_all(self) -> None:
        """A batch leaves the queue when the ledger has it, not before."""
        waits = _backoff(self._settings)
        late = 0  # receipts at the head of the queue that are counted as delayed already
        while True:
            await self._made.wait()
            self._made.clear()
            while self._pending:
                batch = list(islice(self._pending, 1000))
                try:
                    await self._append(batch)
                except StoreError as error:
                    self._last_error = str(error)
                    self._delayed += max(len(batch) - late, 0)
                    late = max(late, len(batch))
                    self._complain("receipts delayed: the ledger failed", error, waiting=len(self._pending))
                    await self._pause(next(waits))
                    continue
                self._last_error = ""
                waits = _backoff(self._settings)
                late = max(late - len(batch), 0)
                _take(self._pending, len(batch))

    async def _append(self, batch: list[Receipt]) -> None:
        """Raises StoreError when the ledger failed; a receipt that it cannot store is lost alone, not its batch."""
        try:
            await self._ledger.append(batch)
            self._written += len(batch)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - see above; a plugin's ledger may raise anything
            if len(batch) == 1:
                self._lose(1, "receipt lost: the ledger cannot store it", error)
                return
            for receipt in batch:
                await self._append([receipt])

    async def _settle_all(self) -> None:
        """Wait for what optimizers wait for, one after the other."""
        while True:
            await self._learn.wait()
            self._learn.clear()
            while self._begun or self._unsettled:
                if self._begun:
                    work, count = self._begun.popleft()
                    try:
                        await work
                    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                        self._complain("optimizers failed to learn", error)
                    finally:
                        self._settling -= count
                self._settle_some()
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        """Wait before trying again; a stop or a flush cuts it short."""
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, 0.05))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    # --- trouble --------------------------------------------------------------------------------------------

    def _lose(self, count: int, phrase: str, error: Exception | None = None) -> None:
        self._lost += count
        if error is not None:
            self._last_error = f"{type(error).__name__}: {phrase}"
        self._complain(phrase, error, level=logging.ERROR)

    def _complain(
        self, phrase: str, error: Exception | None = None, *, level: int = logging.WARNING, waiting: int = 0
    ) -> None:
        """Log a phrase once in `complain_s`. Of errors only the class, except a store's own words."""
        now = self._clock.monotonic()
        last = self._complained.get(phrase)
        if last is not None and now - last < self._settings.complain_s:
            return
        self._complained[phrase] = now
        facts = {"lost": self._lost, "waiting": waiting, "error": type(error).__name__ if error else ""}
        if isinstance(error, StoreError):
            facts["detail"] = str(error)
        log.log(level, phrase, extra=facts)


_response = attrgetter("response")


def _take(queue: deque[T], count: int) -> list[T]:
    """The first ones, at most so many."""
    return list(map(deque.popleft, repeat(queue, min(count, len(queue)))))


def _unsettled(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Those whose optimizers have yet to learn: answers that were kept went to them at once, see `submit`."""
    if not any(map(_response, outcomes)):
        return outcomes
    return [outcome for outcome in outcomes if outcome.response is None]


def _backoff(settings: Settings) -> Iterator[float]:
    """Seconds to wait before each new try."""
    wait = settings.retry_s
    while True:
        yield wait
        wait = min(wait * 2, settings.retry_max_s)
