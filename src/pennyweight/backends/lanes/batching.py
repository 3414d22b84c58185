"""A Backend that sends calls which can wait to their provider's Batch API, at half the price, and answers each caller.

Calls gather for a while, go out together, and their callers wait for the results: until a while before the deadline,
then the call is asked in the ordinary way, and what the batch still bills has a receipt of its own. A caller that
leaves and asks the same again finds its own call. Everything is on the shelf before it is at the provider, so a killed
process loses nothing and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from ...call import Call, Identity, Outcome, Step, Target, Verdict
from ...errors import StoreError
from ...money import PicoUSD
from ...protocols import Backend, Clock
from ...request import Charge, Headers, Operation, Reply, Request, Wire
from ...routing.background import Background, LaneSettings
from ...routing.batches import Batch, Group, Item, Shelf, recall, record
from ..upstream import ONCE
from .answering import NAME, answered, ended, placed, share_of
from .anthropic import AnthropicBatches
from .api import Api, Ask, Result
from .carrying import Carrying, Pace
from .chance import likely, pays
from .openai import OpenAIBatches

__all__ = ["NAME", "BatchLane"]

log = logging.getLogger(__name__)


class BatchLane:
    """decide: which calls can wait, and until when. cost: of one bill, None without a price. submit: takes the outcomes
    of calls that were billed after their callers had gone; bill: counts those in budgets whose callers were answered
    otherwise. foreseen(call): what it costs when it is asked at once, and as a batch; None where nobody knows.
    """

    def __init__(
        self,
        inner: Backend,
        shelf: Shelf,
        clock: Clock,
        *,
        settings: LaneSettings,
        decide: Callable[[Call], Background | None],
        cost: Callable[[Charge], PicoUSD | None],
        submit: Callable[[Outcome], None],
        bill: Callable[[Call, Sequence[Charge]], Coroutine[Any, Any, None]] | None = None,
        foreseen: Callable[[Call], tuple[PicoUSD, PicoUSD] | None] = lambda _call: None,
        pace: Pace | None = None,
    ) -> None:
        self._inner = inner
        self._shelf = shelf
        self._clock = clock
        self._settings = settings
        self._decide = decide
        self._cost = cost
        self._submit = submit
        self._bill = bill
        self._foreseen = foreseen
        self._pace = pace or Pace(settings.poll_s, settings.most_poll_s, quiet_s=2 * settings.poll_s)
        self._items: dict[str, Item] = {}
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._orphans: dict[str, list[str]] = {}  # by share: items that nobody waits for
        self._before: dict[str, str] = {}  # by call: items that an earlier process had begun
        self._started = False
        self._handed: dict[str, float] = {}  # items whose answer was given, and when
        self._gathering: dict[Group, _Gathering] = {}
        self._carrying: dict[str, Carrying] = {}
        self._took_s: dict[str, list[float]] = {}  # by provider, how long its batches took
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()

    # --- a call ---------------------------------------------------------------------------------------------

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises for a call that is asked in the ordinary way after all."""
        if call.target.provider not in self._settings.batch or call.credential is not None or call.optimize == "off":
            return self._inner.open(call)
        found = self._decide(call) or self._begun_before(call)
        place = placed(call) if found is not None else None
        if found is None or place is None:
            return self._inner.open(call)
        return self._considered(call, found, *place)

    def _begun_before(self, call: Call) -> Background | None:
        """A call that an earlier process had begun, though its deadline may have passed by now."""
        item = self._items.get(self._before.get(call.id, ""))
        return Background(item.until, "before") if item is not None else None

    async def _considered(self, call: Call, found: Background, group: Group, body: bytes) -> Reply:
        await self.start()
        share = share_of(call, body)
        item = self._adopted(call, share, found)
        if item is None:
            refused = self._refused(call, found, group, body)
            if refused:
                return await self._ordinary(call, refused, Verdict.NOT_WORTH_IT)
            name = f"pw_{uuid4().hex}"
            item = Item(name, share, group, record(call), body, self._clock.now(), found.until)
        waiter = asyncio.get_running_loop().create_future()
        self._items[item.id], self._waiters[item.id] = item, waiter
        try:
            await self._shelf.keep(items=(item,))
            if item.state == "queued" and not item.batch:
                self._gather(item)
            elif item.state != "sent" and not waiter.done():
                waiter.set_result(None)
            left_s = max(found.until - self._settings.margin_s - self._clock.now(), 0.0)
            await asyncio.wait((waiter,), timeout=left_s)
        except StoreError:
            if item.batch:  # it is at the provider, and billed
                self._left(item.id)
            else:
                self._drop(item.id)
            return await self._ordinary(call, "what waits cannot be stored", Verdict.FAILED)
        except BaseException:
            self._left(item.id)
            raise
        self._waiters.pop(item.id, None)
        item = self._items[item.id]
        if item.state in ("queued", "sent"):
            self._late(item.id)
            return await self._ordinary(call, "the batch was not done near the deadline", Verdict.FAILED)
        if item.state == "unserved":
            self._drop(item.id, stored=True)
            return await self._ordinary(call, f"the batch did not do it: {item.why}", Verdict.FAILED)
        self._handed[item.id] = self._clock.monotonic()
        self._items[item.id] = msgspec.structs.replace(item, until=0.0)  # another equal call is asked anew
        self._write(self._items[item.id])
        try:
            return answered(call, item, self._clock.now(), self._cost)
        except ValueError:
            self._items[item.id] = msgspec.structs.replace(self._items[item.id], late=True)
            self._tell(item.id)
            self._write(self._items[item.id])
            return await self._ordinary(call, "the batch's answer cannot be read", Verdict.FAILED)

    def _refused(self, call: Call, found: Background, group: Group, body: bytes) -> str:
        """Why this call does not go to a batch, "" if it does."""
        api = api_of(group)
        if len(body) > api.most_bytes // 4 or not api.takes(call.request.body):
            return "not a call for a batch"
        left_s = found.until - self._settings.margin_s - self._settings.window_s - self._clock.now()
        chance = likely(left_s, self._took_s.get(group.provider, ()))
        return "" if pays(chance, self._foreseen(call)) else "a batch would hardly be done in time, or not be cheaper"

    async def _ordinary(self, call: Call, why: str, verdict: Verdict) -> Reply:
        reply = await self._inner.open(call)
        reply.notes.append(Step(NAME, verdict, why=why))
        return reply

    # --- who waits ------------------------------------------------------------------------------------------

    def _adopted(self, call: Call, share: str, found: Background) -> Item | None:
        """An equal call that nobody waits for: its caller had left, or its process was killed."""
        own = self._items.get(self._before.pop(call.id, ""))
        if own is not None and own.id not in self._waiters:
            return own
        now, waiting = self._clock.now(), self._orphans.pop(share, [])
        while waiting:
            item = self._items.get(waiting.pop(0))
            usable = item is not None and item.id not in self._waiters and item.until > now
            if item is not None and usable and item.state in ("sent", "answered"):
                if waiting:
                    self._orphans[share] = waiting
                return msgspec.structs.replace(item, call=record(call), until=found.until, late=item.told)
        return None

    def _left(self, name: str) -> None:
        """Its caller has gone, and its receipt with it: what the batch bills has one of its own."""
        self._waiters.pop(name, None)
        item = self._items.get(name)
        if item is None:
            return
        if item.state == "queued":
            self._drop(name, stored=True)
            return
        self._items[name] = msgspec.structs.replace(item, late=True)
        self._orphans.setdefault(item.share, []).append(name)
        if item.state == "answered" and not item.told:
            self._tell(name)
        self._write(self._items[name])
        self._news(item.batch)

    def _late(self, name: str) -> None:
        item = self._items[name]
        if item.state == "queued":
            self._drop(name, stored=True)
            return
        self._items[name] = item = msgspec.structs.replace(item, late=True, until=0.0)
        self._write(item)
        self._news(item.batch)

    def _drop(self, name: str, *, stored: bool = False) -> None:
        item = self._items.pop(name, None)
        self._waiters.pop(name, None)
        gathering = self._gathering.get(item.group) if item is not None else None
        if gathering is not None and name in gathering.names:
            gathering.names.remove(name)
        if stored:
            self._write(gone=(name,))

    def _news(self, batch: str) -> None:
        carrying = self._carrying.get(batch)
        if carrying is not None:
            carrying.load.changed.set()

    # --- batches --------------------------------------------------------------------------------------------

    def _gather(self, item: Item) -> None:
        gathering = self._gathering.get(item.group)
        if gathering is None:
            gathering = self._gathering[item.group] = _Gathering()
            self._soon(self._send(item.group, gathering))
        gathering.names.append(item.id)
        gathering.size_bytes += len(item.body)
        api = api_of(item.group)
        full = len(gathering.names) >= min(self._settings.size, api.most_items)
        if full or gathering.size_bytes > min(api.most_bytes // 2, _MOST_BYTES):
            gathering.full.set()
            self._gathering.pop(item.group, None)

    async def _send(self, group: Group, gathering: _Gathering) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.window_s):
                await gathering.full.wait()
        if self._gathering.get(group) is gathering:
            del self._gathering[group]
        names = [name for name in gathering.names if name in self._items]
        if not names:
            return
        batch = Batch(f"pwb_{uuid4().hex}", group, self._clock.now(), len(names))
        items = [msgspec.structs.replace(self._items[name], batch=batch.id, state="sent") for name in names]
        try:
            await self._shelf.keep(batches=(batch,), items=items)
        except StoreError:
            items = [msgspec.structs.replace(item, state="unserved", why="it could not be stored") for item in items]
            self._items |= {item.id: item for item in items}
            self._wake(names)
            return
        self._items |= {item.id: item for item in items if item.id in self._items}
        await self._carry(batch)

    async def _carry(self, batch: Batch) -> None:
        load = _Load(self, batch.id)
        carrying = Carrying(
            batch,
            load,
            self._shelf,
            self._clock,
            api=api_of(batch.group),
            ask=self._ask(batch),
            known=lambda: {c.batch.remote for c in self._carrying.values() if c.batch.id != batch.id},
            pace=self._pace,
        )
        self._carrying[batch.id] = carrying
        results = await carrying.run()
        stored = await self._deliver(carrying.batch, results)
        del self._carrying[batch.id]
        if results and stored and self._settings.delete:
            await carrying.tidy()

    async def _deliver(self, batch: Batch, results: Mapping[str, Result]) -> bool:
        """Answer those who wait; whether the results are stored."""
        now = self._clock.now()
        nothing = Result("unserved", why=batch.note or "no result")
        over = msgspec.structs.replace(batch, state="ended", ended_at=now)
        done = []
        for item in self._of(batch.id):
            result = results.get(item.id, nothing)
            why = batch.remote if result.kind == "answered" else result.why
            done.append(
                msgspec.structs.replace(
                    item, state=result.kind, status=result.status, answer=result.body, why=why, body=b"", done_at=now
                )
            )
        self._items |= {item.id: item for item in done}
        alone = [item for item in done if item.id not in self._waiters]
        for item in alone:
            if item.state == "answered":
                self._tell(item.id)
        if results and batch.asked_at:
            self._took_s.setdefault(batch.group.provider, []).append(now - batch.asked_at)
        stored = await self._kept(over, [self._items[item.id] for item in done])
        self._wake([item.id for item in done])
        for item in alone:
            if item.state != "answered":
                self._drop(item.id, stored=True)
            elif not item.until:
                self._handed[item.id] = self._clock.monotonic()
        return stored

    async def _kept(self, batch: Batch, items: Sequence[Item]) -> bool:
        """Written before anybody is answered; where that does not go, callers are answered all the same."""
        for attempt in range(_TRIES):
            try:
                await self._shelf.keep(batches=(batch,), items=items)
                return True
            except StoreError as error:
                log.warning("results of a batch could not be stored", extra={"error": type(error).__name__})
                await asyncio.sleep(0.2 * (attempt + 1))
        return False

    def _wake(self, names: Sequence[str]) -> None:
        for name in names:
            waiter = self._waiters.get(name)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _tell(self, name: str) -> None:
        """The receipt of an answer that nobody was there to take: it was billed. The ledger takes no call twice, so
        what an earlier process may have told, and not seen written, is told again."""
        item = self._items[name]
        kept = item.call
        call = recall(msgspec.structs.replace(kept, id=f"{kept.id}-batch") if item.late else kept)
        done = ended(call, item, self._clock.now())
        step = Step(NAME, Verdict.FAILED, why="billed by a batch after its caller was answered, or had gone")
        outcome = Outcome(call.note(step), done, item.status, call.target.provider, abandoned=True)
        self._submit(outcome)
        self._items[name] = msgspec.structs.replace(item, told=True)
        if item.late and not item.until and not item.told and self._bill is not None:
            # One that left is counted in full by whoever held its budget; this one's was settled by another answer.
            self._begin(self._bill(call, done.charges), self._writing)

    def _of(self, batch: str) -> list[Item]:
        return [item for item in self._items.values() if item.batch == batch]

    def _ask(self, batch: Batch) -> Ask:
        target = Target(batch.group.provider, "", batch.group.wire)
        identity = Identity(tenant="", session=batch.id)  # by which the provider's keys are chosen: the same each time

        async def ask(
            method: str, path: str, *, query: str = "", headers: Headers = (), body: bytes = b""
        ) -> tuple[int, bytes]:
            request = Request(batch.group.wire, body, headers, path, query, method, Operation.OTHER)
            call = Call(batch.id, identity, request, request, target, self._clock.now(), optimize="off")
            if method == "POST":
                call.facts[ONCE] = True
            async with await self._inner.open(call) as reply:
                return reply.status, await reply.read()

        return ask

    # --- from one process to the next -----------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what processes that are no more have left, now and later. Never raises; safe to call again."""
        if self._started:
            return
        self._started = True
        await self._take_over()
        self._soon(self._tidy())

    async def _take_over(self) -> None:
        try:
            batches, items = await self._shelf.load()
            under_way = {batch.id for batch in batches if batch.state != "ended"}
            gone = [item.id for item in items if not self._goes_on(item, under_way)]
            if gone:
                await self._shelf.keep(gone=gone)
        except (StoreError, ValueError) as error:
            log.warning("batches of before cannot be read", extra={"error": type(error).__name__})
            return
        for batch in batches:
            if batch.ended_at is not None and batch.remote and batch.asked_at:
                self._took_s.setdefault(batch.group.provider, []).append(batch.ended_at - batch.asked_at)
        for item in items:
            if self._goes_on(item, under_way):
                self._items[item.id] = item
                self._before[item.call.id] = item.id
                if item.until:
                    self._orphans.setdefault(item.share, []).append(item.id)
                if item.state == "answered":
                    self._tell(item.id)
        for batch in batches:
            if batch.id in under_way:
                self._soon(self._carry(batch))

    def _goes_on(self, item: Item, under_way: set[str]) -> bool:
        if item.state == "sent":
            return item.batch in under_way
        young = item.done_at is not None and self._clock.now() - item.done_at < self._settings.keep_s
        return item.state == "answered" and young

    async def _tidy(self) -> None:
        """Answers that were given, and those that nobody fetched in time."""
        while True:
            await asyncio.sleep(_TIDY_S)
            now, at = self._clock.now(), self._clock.monotonic()
            gone = [name for name, given in self._handed.items() if at - given > _TIDY_S]
            old = [
                i.id for i in self._items.values() if i.done_at is not None and now - i.done_at > self._settings.keep_s
            ]
            for name in {*gone, *old}:
                self._handed.pop(name, None)
                self._items.pop(name, None)
            self._before = {call: name for call, name in self._before.items() if name in self._items}
            there = {share: [name for name in names if name in self._items] for share, names in self._orphans.items()}
            self._orphans = {share: names for share, names in there.items() if names}
            try:
                await self._shelf.keep(gone=[*gone, *old])
                await self._shelf.forget(now - _BATCHES_KEPT_S)
            except StoreError as error:
                log.warning("batches could not be tidied", extra={"error": type(error).__name__})
            await self._take_over()

    @property
    def waiting(self) -> tuple[int, int]:
        """(callers that wait, batches on their way)."""
        return len(self._waiters), len(self._carrying)

    async def aclose(self) -> None:
        """Stop following batches, the next process goes on with them; what is being written down is waited for."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        self._begin(work, self._tasks)

    def _write(self, *items: Item, gone: Sequence[str] = ()) -> None:
        self._begin(self._shelf.keep(items=items, gone=gone), self._writing)

    def _begin(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, tasks))

    def _ended(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("work on a batch failed", extra={"error": type(error).__name__})


class _Gathering:
    """Calls of one group that come together."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.size_bytes = 0
        self.full = asyncio.Event()


class _Load:
    """Protocol: `carrying.Load`."""

    def __init__(self, lane: BatchLane, batch: str) -> None:
        self._lane = lane
        self._batch = batch
        self.changed = asyncio.Event()

    @property
    def items(self) -> Sequence[Item]:
        return self._lane._of(self._batch)

    @property
    def wanted(self) -> bool:
        now = self._lane._clock.now()
        return any(item.until > now for item in self.items)

    @property
    def soonest(self) -> float | None:
        margin_s = self._lane._settings.margin_s
        waiting = [item.until for item in self.items if item.id in self._lane._waiters]
        return min(waiting) - margin_s if waiting else None


_TRIES = 5
_MOST_BYTES = 16 << 20  # in one batch: it is made and read in one piece
_TIDY_S = 30.0
_BATCHES_KEPT_S = 30 * 86_400.0


def api_of(group: Group) -> Api:
    return AnthropicBatches() if group.wire is Wire.ANTHROPIC_MESSAGES else OpenAIBatches()
