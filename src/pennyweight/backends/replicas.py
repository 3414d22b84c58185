"""Identical calls in flight in several replicas are answered by one upstream call.

`Coalesce` sees to it within a process, and asks this once for all who wait there; so one call per replica meets the
others' here. The one that holds the lease asks; the others wait for its end and get its answer whole. Whatever goes
wrong (the server on which they meet, the replica that asks, an answer that is no good), each asks by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

import msgspec

from ..call import Call, Step, Verdict
from ..errors import StoreError
from ..protocols import Backend, Lease
from ..request import Done, Reply, Usage, Wire

__all__ = ["Meeting", "Replicas"]

_LEASE_S = 15.0  # renewed every third of that; a replica that died is waited for no longer
_KEPT, _NOTHING = b"kept", b"nothing"  # last words of leases


class Meeting(Protocol):
    """Where replicas meet. Raises StoreError, soon."""

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None: ...

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None: ...

    async def answer(self, key: str) -> bytes | None: ...

    async def keep(self, key: str, answer: bytes) -> None: ...


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """A whole answer as it was read from the upstream. stream: whether it came as one."""

    status: int
    headers: tuple[tuple[str, str], ...]
    wire: Wire
    stream: bool
    raw: bytes
    usage: Usage | None
    finish_reason: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


class Replicas:
    """A Backend that asks `inner` unless another replica is asking the same.

    key: what two calls must have in common to share an answer; None: this one may not. wait_s: how long to wait for
    another's answer. limit_bytes: longer answers are not handed on; those who wait for them ask by themselves.
    """

    def __init__(
        self,
        inner: Backend,
        meeting: Meeting,
        key: Callable[[Call], bytes | None],
        *,
        wait_s: float = 30.0,
        limit_bytes: int = 4 * 2**20,
    ) -> None:
        self._inner = inner
        self._meeting = meeting
        self._key = key
        self._wait_s = wait_s
        self._limit_bytes = limit_bytes
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what opening the upstream raised."""
        key = self._key(call)
        return self._inner.open(call) if key is None else self._met(call, key.hex())

    async def aclose(self) -> None:
        """Hand on what is being handed on, and give up the leases."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        for task in self._tasks:
            task.cancel()

    async def _met(self, call: Call, key: str) -> Reply:
        try:
            async with asyncio.timeout(self._wait_s):
                lease, answer = await self._arranged(key)
        except (StoreError, TimeoutError):
            return await self._inner.open(call)
        if answer is not None:
            return _replayed(answer)
        return await self._inner.open(call) if lease is None else await self._asked(call, key, lease)

    async def _arranged(self, key: str) -> tuple[Lease | None, _Answer | None]:
        """The lease, or the answer of the one that had it; neither where there is no use in waiting."""
        while True:
            lease = await self._meeting.acquire(key, ttl_s=_LEASE_S)
            if lease is not None:
                return lease, None
            word = await self._meeting.wait(key, timeout_s=self._wait_s)
            if word == _KEPT and (answer := _decoded(await self._meeting.answer(key))) is not None:
                return None, answer
            if word != b"":  # too long, or no answer to hand on: waiting for the next one might be as vain
                return None, None

    async def _asked(self, call: Call, key: str, lease: Lease) -> Reply:
        """The upstream's answer, handed on at its end."""
        renewing = self._begin(_renew(lease))
        try:
            head = await self._inner.open(call)
        except BaseException:
            self.finish(lease, renewing, key, None)
            raise
        if not head.ok or (head.content is not None and len(head.content) > self._limit_bytes):
            self.finish(lease, renewing, key, None)
            return head
        return self._handed_on(head, _Handing(self, lease, renewing, key, head, self._limit_bytes))

    def _handed_on(self, head: Reply, handing: _Handing) -> Reply:
        async def close() -> None:
            await head.aclose()
            reply.done = head.done
            handing.end()

        chunks = None if head.chunks is None else handing.relay(head.chunks)
        reply = Reply(
            head.status, head.headers, wire=head.wire, content=head.content, chunks=chunks, done=head.done, close=close
        )
        reply.output_text = head.output_text
        reply.asked_at = head.asked_at
        reply.notes.extend(head.notes)
        return reply

    def finish(self, lease: Lease, renewing: asyncio.Task[None], key: str, answer: _Answer | None) -> None:
        """Give the lease up, and tell those who wait whether there is an answer for them."""
        renewing.cancel()
        self._begin(self._hand_on(lease, key, answer))

    async def _hand_on(self, lease: Lease, key: str, answer: _Answer | None) -> None:
        word = _NOTHING
        if answer is not None:
            try:
                await self._meeting.keep(key, _encode(answer))
                word = _KEPT
            except StoreError:
                pass
        await lease.release(word)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Handing:
    """An answer under way to this replica's callers, kept for the others'."""

    def __init__(
        self,
        replicas: Replicas,
        lease: Lease,
        renewing: asyncio.Task[None],
        key: str,
        head: Reply,
        limit_bytes: int,
    ) -> None:
        self._replicas = replicas
        self._lease = lease
        self._renewing = renewing
        self._key = key
        self._head = head
        self._limit_bytes = limit_bytes
        self._stream = head.chunks is not None
        self._chunks: list[bytes] = [head.content] if head.content is not None else []
        self._size_bytes = 0

    async def relay(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._size_bytes += len(chunk)
            if self._size_bytes <= self._limit_bytes:
                self._chunks.append(chunk)
            else:
                self._chunks.clear()
            yield chunk

    def end(self) -> None:
        done = self._head.done
        whole = done is not None and done.complete and self._size_bytes <= self._limit_bytes
        answer = self._answer(done) if whole and done is not None else None
        self._replicas.finish(self._lease, self._renewing, self._key, answer)

    def _answer(self, done: Done) -> _Answer:
        head = self._head
        raw = b"".join(self._chunks)
        return _Answer(head.status, tuple(head.headers), head.wire, self._stream, raw, done.usage, done.finish_reason)


async def _renew(lease: Lease) -> None:
    """For as long as the upstream takes. One that is lost is lost: two replicas asking is no error."""
    while True:
        await asyncio.sleep(_LEASE_S / 3)
        try:
            if not await lease.renew():
                return
        except StoreError:
            continue


def _decoded(value: bytes | None) -> _Answer | None:
    """None for what is not there, or was written by another release."""
    try:
        return None if value is None else _decode(value)
    except msgspec.DecodeError:
        return None


def _replayed(answer: _Answer) -> Reply:
    """Charged to nobody here: the replica that asked pays. Usage that nobody told is 0, so that nothing is counted."""

    async def once() -> AsyncIterator[bytes]:
        yield answer.raw

    reply = Reply(
        answer.status,
        answer.headers,
        wire=answer.wire,
        content=None if answer.stream else answer.raw,
        chunks=once() if answer.stream else None,
        done=Done(answer.usage if answer.usage is not None else Usage(), answer.finish_reason),
    )
    reply.notes.append(Step("coalesce", Verdict.ACCEPTED, why="shares the answer that another replica got"))
    return reply
