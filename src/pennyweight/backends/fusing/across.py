"""Identical calls of several replicas share one upstream answer: one asks and tells the others what comes.

Whatever goes wrong between them (a store that is down or slow, a replica that was killed, an answer too long to keep)
ends in the same way: the call asks by itself, and goes on where it was. Stands below `Coalesce`, so that one call of
each replica comes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from ...call import Call, Step, Verdict
from ...errors import StoreError, StreamCut
from ...protocols import Backend
from ...request import Done, Reply
from ..coalesce import Fuse, share_key, unbilled
from ..direct import beneath
from . import entries
from .resume import Resume, whole_events

__all__ = ["Across", "Reading", "Relay", "Writing"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Writing(Protocol):
    """The right to tell the others one answer."""

    async def append(self, entries: Sequence[bytes] = ()) -> bool:
        """False: the right has lapsed. Raises StoreError."""
        ...

    async def readers(self) -> int:
        """How many replicas read it. Raises StoreError."""
        ...

    async def end(self) -> None: ...


class Reading(Protocol):
    """An answer that another replica gets."""

    async def more(self, *, timeout_s: float) -> list[bytes]:
        """What was told since the last time. Raises StoreError."""
        ...

    async def alive(self) -> bool:
        """Whether somebody still has the right to tell it. Raises StoreError."""
        ...


class Relay(Protocol):
    """What carries answers between replicas. Raises StoreError."""

    async def write(self, key: str, *, ttl_s: float) -> Writing | None: ...

    async def read(self, key: str) -> Reading | None: ...


class Across:
    """A Backend that joins a call to an equal one that another replica has under way.

    lease_s: a replica that says nothing for so long is taken for dead. store_s: how long a call waits for the store
    before it goes on without. most_bytes: an answer longer than that is not shared any further.
    """

    def __init__(
        self,
        inner: Backend,
        relay: Relay,
        *,
        fuse: Callable[[Call], Fuse] = lambda _call: "repeatable",
        lease_s: float = 3.0,
        store_s: float = 0.25,
        most_bytes: int = 4 * 2**20,
    ) -> None:
        self._inner = inner
        self.relay = relay
        self.fuse = fuse
        self.lease_s = lease_s
        self.store_s = store_s
        self.most_bytes = most_bytes
        self.telling: set[_Told] = set()
        self.posting: set[asyncio.Task[None]] = set()
        self._rest_s = 0.0  # 0: the store answers
        self._rests_until = 0.0  # by the event loop's clock

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        key = share_key(call, self.fuse(call))
        return self._inner.open(call) if key is None else self._shared(call, key.hex())

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call) if share_key(call, self.fuse(call)) is None else self

    async def _shared(self, call: Call, key: str) -> Reply:
        now = asyncio.get_running_loop().time()
        for _ in range(_TRIES if now >= self._rests_until else 0):
            try:
                writing = await self.soon(self.relay.write(key, ttl_s=self.lease_s))
                reading = None if writing is not None else await self.soon(self.relay.read(key))
            except StoreError as error:
                self._rest(error)
                break
            self._rest_s = 0.0
            if writing is not None:
                return await _Told(self, call, writing).open()
            if reading is not None:
                reply = await _Heard(self, call, key, reading).open()
                if reply is not None:
                    return reply
        return await self._inner.open(call)

    def _rest(self, error: StoreError) -> None:
        """Leave the store alone for a while, a longer one each time: every call would wait for it in vain."""
        if not self._rest_s:
            log.warning("calls are not shared with other replicas", extra={"detail": str(error)})
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _LAST_REST_S)
        self._rests_until = asyncio.get_running_loop().time() + self._rest_s

    async def ask(self, call: Call) -> Reply:
        return await self._inner.open(call)

    async def again(self, call: Call, key: str) -> Reply:
        """Another answer from its start, for one that broke off."""
        return await self._shared(call, key)

    async def aclose(self) -> None:
        """Stop what is told to others: they go on by themselves."""
        for told in tuple(self.telling):
            told.stop()
        if self.posting:
            _, late = await asyncio.wait(tuple(self.posting), timeout=self.store_s)
            for task in late:
                task.cancel()

    async def soon(self, asked: Coroutine[Any, Any, T]) -> T:
        """Raises StoreError when the store takes too long."""
        try:
            async with asyncio.timeout(self.store_s):
                return await asked
        except TimeoutError:
            raise StoreError(f"The store that replicas share took longer than {self.store_s} s.") from None


_FIRST_REST_S, _LAST_REST_S = 0.5, 10.0
_TRIES = 4  # holders that may fail before a call goes on by itself


class _Told:
    """An answer that this replica gets, for its own caller and for whoever reads it elsewhere.

    Its own task reads the upstream, so that the others have their answer when the caller here leaves.
    """

    def __init__(self, across: Across, call: Call, writing: Writing) -> None:
        self._across = across
        self._call = call
        self._writing = writing
        self._outbox: list[bytes] = []
        self._told_bytes = 0
        self._muted = False  # nothing is told any more
        self._over = False
        self._mail = asyncio.Event()
        self._chunks: deque[bytes] = deque()  # for the caller here
        self._kept_bytes = 0
        self._left = False  # the caller here has gone
        self._error: Exception | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._pumped = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._posting = asyncio.create_task(self._post())
        across.posting.add(self._posting)
        self._posting.add_done_callback(across.posting.discard)

    async def open(self) -> Reply:
        try:
            reply = await self._across.ask(self._call)
        except BaseException:
            self._last(entries.FAILED)
            raise
        if reply.status >= 500 or (reply.content is not None and len(reply.content) > self._across.most_bytes):
            self._last(entries.FAILED)
            return reply
        self._tell(entries.head(reply))
        if reply.chunks is None:  # the caller here has it now; the others have it as soon as it is told
            self._tell(entries.BYTES + (reply.content or b""))
            self._last(entries.end(reply.done))
            return reply
        pumping = self._pumping = asyncio.create_task(self._pump(reply, reply.chunks))
        self._across.telling.add(self)

        async def close() -> None:
            self._left = True
            self._room.set()
            if not self._pumped and not await self._has_readers():
                pumping.cancel()
            await asyncio.wait((pumping,))
            outer.done = reply.done

        outer = Reply(reply.status, reply.headers, wire=reply.wire, chunks=self._relayed(), close=close)
        outer.output_text = reply.output_text
        outer.asked_at = reply.asked_at
        outer.notes = reply.notes
        return outer

    def stop(self) -> None:
        if self._pumping is not None:
            self._pumping.cancel()

    async def _pump(self, reply: Reply, chunks: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in chunks:
                self._tell(entries.BYTES + chunk)
                if not self._left:
                    self._chunks.append(chunk)
                    self._kept_bytes += len(chunk)
                    self._news.set()
                while self._kept_bytes > self._across.most_bytes and not self._left:
                    self._room.clear()
                    await self._room.wait()
                if self._left and self._muted:
                    raise StreamCut("Nobody reads this answer any more.")
        except asyncio.CancelledError:
            self._error = StreamCut("The answer was stopped before its end.")
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._error = error
        finally:
            self._across.telling.discard(self)
            try:
                await reply.aclose()
            finally:
                self._pumped = True
                self._news.set()
                self._last(entries.end(reply.done) if self._error is None else entries.FAILED)
                await self._told()

    async def _relayed(self) -> AsyncIterator[bytes]:
        while True:
            if self._chunks:
                chunk = self._chunks.popleft()
                self._kept_bytes -= len(chunk)
                self._room.set()
                yield chunk
            elif not self._pumped:
                self._news.clear()
                await self._news.wait()
            elif self._error is not None:
                raise self._error
            else:
                return

    async def _has_readers(self) -> bool:
        if self._muted:
            return False
        try:
            return await self._across.soon(self._writing.readers()) > 0
        except StoreError:
            return False

    # --- telling the others: it may be slow, and must hold up nobody -------------------------------------------

    def _tell(self, entry: bytes) -> None:
        if self._muted:
            return
        self._told_bytes += len(entry)
        if self._told_bytes > self._across.most_bytes:
            self._outbox.append(entries.FAILED)
            self._muted = True
        else:
            self._outbox.append(entry)
        self._mail.set()

    def _last(self, entry: bytes) -> None:
        """Tell how it ended."""
        if not self._muted:
            self._outbox.append(entry)
        self._over = True
        self._mail.set()

    async def _told(self) -> None:
        """All has been told, or the store has had its time."""
        await asyncio.wait((self._posting,), timeout=self._across.store_s)
        if not self._posting.done():
            self._posting.cancel()
            await asyncio.wait((self._posting,))

    async def _post(self) -> None:
        """Sends what is to be told, and keeps the right to tell it while there is nothing."""
        try:
            while not (self._over and not self._outbox):
                if not self._outbox:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._across.lease_s / 3):
                            await self._mail.wait()
                self._mail.clear()
                batch, self._outbox = self._outbox, []
                if not await self._across.soon(self._writing.append(batch)):
                    raise StoreError("The lease has lapsed.")
                if self._muted or (self._left and not await self._across.soon(self._writing.readers())):
                    break
            await self._across.soon(self._writing.end())
        except StoreError as error:
            log.warning("an answer is not told to other replicas any more", extra={"detail": str(error)})
        finally:
            self._muted = True


class _Heard:
    """An answer that another replica gets, read for the caller here; if that ends early, another one gone on with."""

    def __init__(self, across: Across, call: Call, key: str, reading: Reading) -> None:
        self._across = across
        self._call = call
        self._key = key
        self._reading = reading
        self._queue: deque[bytes] = deque()
        self._own: Reply | None = None  # what is gone on with
        self.done: Done | None = None

    async def open(self) -> Reply | None:
        """The reply, or None when the other replica failed before it had any: then this one asks."""
        first = await self._next()
        if first is None or first[:1] != entries.HEAD:
            return None
        try:
            told = entries.decode_head(first)
        except StoreError:
            return None
        if not told.streams:
            content, last = await self._next(), await self._next()
            if content is None or last is None or content[:1] != entries.BYTES or last[:1] != entries.END:
                return None
            done = entries.decode_end(last)
            reply = Reply(told.status, told.headers, wire=told.wire, content=content[1:], done=done)
        else:

            async def close() -> None:
                if self._own is not None:
                    await self._own.aclose()
                    reply.done = self._own.done
                    return
                reply.done = self.done or unbilled(Done(complete=False))

            reply = Reply(told.status, told.headers, wire=told.wire, chunks=self._chunks(told), close=close)
        reply.notes.append(Step("coalesce", Verdict.ACCEPTED, why="shares the answer of a call of another replica"))
        return reply

    async def _next(self) -> bytes | None:
        """The next entry; None when there will be none: its writer died, or the store did."""
        while not self._queue:
            try:
                self._queue.extend(await self._more())
                if not self._queue and not await self._across.soon(self._reading.alive()):
                    self._queue.extend(await self._more(0.0))  # what was told between the two questions
                    if not self._queue:
                        return None
            except StoreError:
                return None
        return self._queue.popleft()

    async def _more(self, timeout_s: float | None = None) -> list[bytes]:
        wait_s = self._across.lease_s / 2 if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(wait_s + self._across.store_s):
                return await self._reading.more(timeout_s=wait_s)
        except TimeoutError:
            raise StoreError("The store that replicas share does not answer.") from None

    async def _chunks(self, told: entries.Head) -> AsyncIterator[bytes]:
        sent: list[bytes] = []
        pending = b""
        while (entry := await self._next()) is not None and entry[:1] == entries.BYTES:
            out, pending = whole_events(told.wire, pending + entry[1:])
            if out:
                sent.append(out)
                yield out
        if entry is not None and entry[:1] == entries.END:
            with contextlib.suppress(StoreError):
                self.done = entries.decode_end(entry)
                if pending:
                    yield pending
                if not self.done.complete:
                    raise StreamCut("The upstream ended its stream before it was complete; ask again.")
                return
        async for chunk in self._go_on(told, b"".join(sent)):
            yield chunk

    async def _go_on(self, told: entries.Head, sent: bytes) -> AsyncIterator[bytes]:
        """The rest, out of an answer of our own. Raises what asking raised, and StreamCut where the two differ."""
        self._own = await self._across.again(self._call, self._key)
        if self._own.chunks is None or not self._own.ok:
            raise StreamCut("The answer broke off, and the upstream gave no second one. Ask again.")
        asked = self._call.request.envelope.stream_options
        include_usage = asked is not None and b'"include_usage"' in bytes(asked) and b"true" in bytes(asked)
        resume = Resume(told.wire, sent, model=self._call.target.model, include_usage=include_usage)
        async for chunk in self._own.chunks:
            if more := resume.feed(chunk):
                yield more
        if rest := resume.end():
            yield rest
