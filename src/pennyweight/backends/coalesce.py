"""Identical calls in flight share one upstream answer; exactly one of them is charged.

Two equal sampled calls sent at once may be two samples wanted on purpose, so only calls that ask to be repeatable are
shared (temperature 0 or a seed) and ask for one answer, embeddings and token counts, and calls under one
`idempotency-key`. A client's mark that it retries (`x-stainless-retry-count`) is not enough: the retry could end up
sharing the answer of a second sample. A route or the header `x-pennyweight-fuse` can ask for more, or for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from ..call import Call, Step, Verdict
from ..errors import BackendError, LimitReached, Overloaded, RateLimited, StreamCut, Unreachable
from ..protocols import Backend, Clock
from ..request import Done, Operation, Reply, Request, Usage
from ..wire.sameness import origin, repeatable
from .direct import beneath

if TYPE_CHECKING:
    from .fusing.branching import Branching, Template

__all__ = ["HEADER", "Coalesce", "Fuse", "share_key", "unbilled"]

Fuse = Literal["off", "repeatable", "all"]
"""Which calls may share: none, those that ask for one repeatable answer, or sampled ones and those for several too."""

HEADER = "x-pennyweight-fuse"
"""The caller's own word on it. One that is not known is taken as "off"."""


def share_key(call: Call, fuse: Fuse = "repeatable") -> bytes | None:
    """What two calls must have in common to share an answer, exact body bytes included; None when this one may not.

    fuse: what holds for the call's route; its header goes before it.
    """
    if call.optimize == "off":
        return None
    request = call.request
    fields = request.fields
    asked = fields.get(HEADER)
    if asked is not None:
        fuse = next((known for known in get_args(Fuse) if known == asked.strip().lower()), "off")
    if fuse == "off":
        return None
    operation = request.operation
    if operation is Operation.GENERATE:
        if fuse != "all" and "idempotency-key" not in fields and not _one_answer(request):
            return None
    elif operation is Operation.OTHER:
        return None
    digest = blake2b(origin(call, request), digest_size=32)
    digest.update(b"\0")
    digest.update(request.raw)
    return digest.digest()


class _Several(msgspec.Struct, frozen=True):
    n: Any = None


_several = msgspec.json.Decoder(_Several)


def _one_answer(request: Request) -> bool:
    """Whether the caller asks for one answer, the same each time."""
    if not repeatable(request):
        return False
    return b'"n"' not in request.raw or _several.decode(request.raw).n in (None, 1)


class Coalesce:
    """A Backend that joins a call to an equal one that is under way.

    Each caller reads the same stream from its start, at its own speed. The upstream is stopped when the last one
    leaves. The first caller still there when the answer ends carries the charges; the others' ends have the usage and
    no charges. A caller more than `buffer_bytes` behind the fastest is cut off, as it must not hold up the rest.

    A call that was here before whoever pays for the answer had all of it still gets it, though optimizers were asked in
    between: it was in flight with the other. From then on a cache has it, if it is one to be kept.

    An upstream that fails before it answers fails the call that was first. Those that waited with it ask together
    once more, as each would have done by itself; what a second try cannot help (a refusal, a provider's limit) goes to
    all.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        buffer_bytes: int = 4 * 2**20,
        fuse: Callable[[Call], Fuse] = lambda _call: "repeatable",
        branching: Branching | None = None,
        clock: Clock | None = None,
    ) -> None:
        """fuse: what a call's route says of it. branching: lets calls follow others of the same template, too.
        clock: of `Call.arrived`."""
        self._inner = inner
        self._branching = branching
        self._leading: dict[str, tuple[Template, _Flight]] = {}  # of each template, who came last
        self._buffer_bytes = buffer_bytes
        self._fuse = fuse
        self._inflight: dict[bytes, _Flight] = {}  # those that can be joined
        self._flying: set[_Flight] = set()
        self._clock = clock
        self._landed: dict[bytes, _Flight] = {}  # the last of each key
        self._landed_bytes = 0

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what opening the upstream raised."""
        key = share_key(call, self._fuse(call))
        return self._inner.open(call) if key is None else self._shared(call, key)

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call) if share_key(call, self._fuse(call)) is None else self

    async def _shared(self, call: Call, key: bytes) -> Reply:
        """Joins what is under way. One whose first flight failed another's call joins or begins a second one."""
        if self._branching is not None and key not in self._inflight:
            template = self._branching.template(call)
            if template is not None:
                return await self._of_template(self._branching, template, call, key)
        flight, first = self._boarded(call, key)
        if first:
            return await flight.join()
        try:
            reply = await flight.join()
        except LimitReached:
            pass  # the limit is of whose call was first, or of its session: the others may have room
        except BackendError as error:
            if not _worth_another_try(error):
                raise
        else:
            if reply.status < 500 or reply.status == Overloaded.status or reply.chunks is not None:
                return reply
            await reply.aclose()
        again, _first = self._boarded(call, key)
        return await again.join()

    async def _of_template(self, branching: Branching, template: Template, call: Call, key: bytes) -> Reply:
        """Follows a call of the same template, or is the one to be followed."""
        leader, ahead = self._leading.get(template.key, (None, None))
        if leader is not None and ahead is not None and ahead.joinable:
            plan = await branching.plan(leader, template)
            if plan is not None and ahead.joinable:
                with contextlib.suppress(BackendError):  # the leader's: the follower asks by itself
                    leading = await ahead.join()
                    if leading.ok:
                        return await branching.follow(plan, leading, call, self._inner.open)
                    await leading.aclose()
        flight, _first = self._boarded(call, key)
        if flight is not ahead:
            self._leading[template.key] = (template, flight)
            flight.task.add_done_callback(lambda _task: self._forget(template.key, flight))
        return await flight.join()

    def _forget(self, template: str, flight: _Flight) -> None:
        if self._leading.get(template, (None, None))[1] is flight:
            del self._leading[template]

    def _boarded(self, call: Call, key: bytes) -> tuple[_Flight, bool]:
        """The flight of that key, and whether this call began it."""
        flight = self._inflight.get(key) or self._just_landed(call, key)
        if flight is not None:
            return flight, False
        flight = _Flight(self._inner, call, self._buffer_bytes, lambda: self._lands(key), self._clock)
        self._inflight[key] = flight
        self._flying.add(flight)
        flight.task.add_done_callback(lambda _task: self._flying.discard(flight))
        return flight, True

    def _just_landed(self, call: Call, key: bytes) -> _Flight | None:
        """A whole answer that is over since the call is here, or not quite over."""
        flight = self._landed.get(key)
        if flight is None or flight.over_at is None:
            return flight
        return flight if call.arrived is not None and call.arrived < flight.over_at else None

    def _lands(self, key: bytes) -> None:
        flight = self._inflight.pop(key, None)
        if flight is None or self._clock is None or not flight.whole:
            return
        size_bytes = flight.kept_bytes
        if self._landed_bytes + size_bytes > self._buffer_bytes:
            return
        self._landed[key] = flight
        self._landed_bytes += size_bytes
        asyncio.get_running_loop().call_later(_ASKED_WITHIN_S, self._forget_landed, key, flight, size_bytes)

    def _forget_landed(self, key: bytes, flight: _Flight, size_bytes: int) -> None:
        self._landed_bytes -= size_bytes
        if self._landed.get(key) is flight:
            del self._landed[key]

    async def aclose(self) -> None:
        """Stop what is under way. Its callers see a cut stream."""
        for flight in tuple(self._flying):
            await flight.stop()


_ASKED_WITHIN_S = 1.0  # from when a call arrives until its optimizers were asked: mostly a millisecond


def _worth_another_try(error: BackendError) -> bool:
    """Whether those who waited may fare better. A limit or an overload would only be made worse by them."""
    return error.retryable and not isinstance(error, RateLimited | Overloaded)


class _Member:
    """One caller of a flight: how far it has read, and the end that its reply will tell."""

    __slots__ = ("cut", "done", "read", "read_bytes")

    def __init__(self) -> None:
        self.read = 0  # chunks, counted from the start of the answer
        self.read_bytes = 0
        self.cut = False
        self.done: Done | None = None


class _Flight:
    """One upstream answer under way. Its own task reads the upstream; the members read what it keeps for them.

    landed: called once, when it ended or a newcomer could not read its start any more. `over_at`: when whoever pays had
    all of it, on the clock.
    """

    def __init__(
        self, inner: Backend, call: Call, buffer_bytes: int, landed: Callable[[], object], clock: Clock | None
    ) -> None:
        self._call_id = call.id
        self._buffer_bytes = buffer_bytes
        self._landed: Callable[[], object] | None = landed
        self._clock = clock
        self.over_at: float | None = None
        self._payer: _Member | None = None
        self._members: dict[_Member, None] = {}  # in the order they came: the first one pays
        self._chunks: deque[bytes] = deque()
        self._dropped = 0  # chunks at the start that are kept no more
        self._kept_bytes = 0
        self._total_bytes = 0
        self._head: Reply | None = None
        self._error: Exception | None = None
        self._ended = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._fly(inner, call))

    # --- the upstream's side ------------------------------------------------------------------------------

    async def _fly(self, inner: Backend, call: Call) -> None:
        try:
            self._head = await inner.open(call)
            try:
                if self._head.chunks is not None:
                    self._tell()
                    await self._pump(self._head.chunks)
            finally:
                await self._head.aclose()
        except asyncio.CancelledError:
            self._error = StreamCut("The answer was stopped before its end.")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, every member gets it
            self._error = error
        finally:
            self._ended = True
            self._land()
            self._share_out()
            self._tell()

    async def _pump(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self._chunks.append(chunk)
            self._kept_bytes += len(chunk)
            self._total_bytes += len(chunk)
            self._tell()
            if self._kept_bytes > self._buffer_bytes:
                self._land()  # from here on the start is not kept, and a newcomer could not read it
                await self._make_room()

    async def _make_room(self) -> None:
        """Wait for the fastest member, as one caller alone holds up its upstream; cut off those far behind it."""
        while self._members:
            fastest_bytes = max(member.read_bytes for member in self._members)
            for member in self._members:
                member.cut = member.cut or self._lag_bytes(member, fastest_bytes) > self._buffer_bytes
            self._trim()
            if self._total_bytes - fastest_bytes <= self._buffer_bytes:
                return
            self._room.clear()
            await self._room.wait()

    def _lag_bytes(self, member: _Member, fastest_bytes: int) -> int:
        """How far behind it is. The chunk it reads next does not count, or one big chunk would cut off all but one."""
        behind = fastest_bytes - member.read_bytes
        return behind - len(self._chunks[member.read - self._dropped]) if behind else 0

    def _trim(self) -> None:
        """Forget what nobody will read again. Called when nobody can join any more."""
        reading = [member.read for member in self._members if not member.cut]
        while self._dropped < min(reading, default=0):
            self._kept_bytes -= len(self._chunks.popleft())
            self._dropped += 1

    @property
    def joinable(self) -> bool:
        return self._landed is not None

    @property
    def whole(self) -> bool:
        """Whether it ended well, and everything of it is here."""
        head = self._head
        if head is None or not self._ended or self._error is not None or self._dropped:
            return False
        return 200 <= head.status < 300 and head.done is not None and head.done.complete

    @property
    def kept_bytes(self) -> int:
        return self._kept_bytes + len((self._head.content if self._head is not None else None) or b"")

    def _land(self) -> None:
        landed, self._landed = self._landed, None
        if landed is not None:
            landed()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _share_out(self) -> None:
        """Tell the end: usage to all, charges to the first."""
        done = self._head.done if self._head is not None else None
        if done is None:
            return
        self._payer = next(iter(self._members), None)
        if self._payer is None:
            self._is_over()
        for member in self._members:
            member.done = done if member is self._payer else unbilled(done)

    # --- the callers' side --------------------------------------------------------------------------------

    async def join(self) -> Reply:
        member = _Member()
        follows = bool(self._members) or self._ended
        if self._ended and self._head is not None and self._head.done is not None:
            member.done = unbilled(self._head.done)
        self._members[member] = None
        try:
            head = await self._opened()
        except BaseException:
            await self._leave(member)
            raise

        async def close() -> None:
            await self._leave(member)
            reply.done = member.done

        whole = head.chunks is None
        reply = Reply(
            head.status,
            head.headers,
            wire=head.wire,
            content=head.content,
            chunks=None if whole else self._relay(member),
            done=member.done,
            close=close,
        )
        reply.output_text = head.output_text
        reply.notes.extend(head.notes)
        if follows:
            reply.notes.append(Step("coalesce", Verdict.ACCEPTED, why=f"shares the answer of call {self._call_id}"))
        return reply

    async def _opened(self) -> Reply:
        """The upstream's reply, once its stream began or its whole body is here. Raises what opening it raised."""
        while not self._ended:
            if self._head is not None and self._head.chunks is not None:
                return self._head
            await self._news.wait()
        if self._head is None:
            raise self._error if self._error is not None else Unreachable("The upstream gave no answer.")
        return self._head

    async def _relay(self, member: _Member) -> AsyncIterator[bytes]:
        while True:
            if member.cut:
                raise StreamCut("This caller read too far behind the others that share the answer. Ask again.")
            if member.read < self._dropped + len(self._chunks):
                chunk = self._chunks[member.read - self._dropped]
                member.read += 1
                member.read_bytes += len(chunk)
                self._room.set()
                yield chunk
            elif not self._ended:
                await self._news.wait()
            elif self._error is not None:
                raise self._error
            else:
                return

    async def _leave(self, member: _Member) -> None:
        """Take a member out. The last one to leave stops the upstream, and carries what it was billed."""
        try:
            if len(self._members) == 1 and not self._ended:
                await self.stop()
        finally:
            del self._members[member]
            if not self._ended:
                member.done = unbilled(Done(complete=False))
            elif member is self._payer:
                self._is_over()
            self._room.set()

    def _is_over(self) -> None:
        if self._clock is not None:
            self.over_at = self._clock.monotonic()

    async def stop(self) -> None:
        """Cancel the upstream and wait until it is closed."""
        self._land()
        self.task.cancel()
        await asyncio.wait((self.task,))


def unbilled(done: Done) -> Done:
    """The end for one who does not pay. A usage that nobody told is 0 for it, not unknown: nothing is left to count."""
    return msgspec.structs.replace(done, charges=(), usage=done.usage if done.usage is not None else Usage())
