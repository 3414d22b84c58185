"""Never passes on a call to a tool that the caller did not offer.

An optimizer may send a call with another tool list than the caller's (a wake on its session's cached head). The model
may then call a tool that the caller has switched off for this call. Such an answer is dropped before the caller sees a
byte of it, and the call is asked again as the caller wrote it: what comes back is what would have come without us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from ..call import Call, Step, Verdict
from ..errors import BackendError, BadRequest, StreamCut
from ..money import PicoUSD
from ..prefix import items
from ..protocols import Backend, Clock
from ..request import Charge, Done, Operation, Reply, Request, Wire, get_header
from ..wire import codec
from ..wire.offered import Offer, calls_in, offered
from ..wire.recall_tool import NAME, has_tool
from .direct import beneath

__all__ = ["OfferedTools"]

_PULSE = b": \n\n"
"""A comment of the event stream, so that the connection does not look dead while an answer is held."""


class OfferedTools:
    """A Backend over `inner`. Of a call whose tools are the caller's own it costs a comparison, and nothing else.

    A guarded answer is held until it is whole: wakes are background work, and half an answer cannot be taken back.
    cost: what a charge comes to, so that the receipt counts a dropped answer against the saving. pulse_s: while a
    stream is held, the caller gets a comment about this often.
    """

    def __init__(
        self, inner: Backend, clock: Clock, *, cost: Callable[[Charge], PicoUSD | None], pulse_s: float = 5.0
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._cost = cost
        self._pulse_s = pulse_s

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        if call.request is call.original or call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        offers = _offers(call)
        return self._inner.open(call) if offers is None else _Guarded(self, call, *offers).open()

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call)  # its tools are the caller's own


class _Guarded:
    """One call that is sent with more tools than its caller offered."""

    def __init__(self, outer: OfferedTools, call: Call, own: Offer, sent: Offer) -> None:
        self._outer = outer
        self._call = call
        self._own = own
        self._sent = sent
        self._reply: Reply | None = None  # what the caller gets
        self._current: Reply | None = None  # the upstream's that is open
        self._earlier: tuple[Charge, ...] = ()  # of an answer that was dropped

    async def open(self) -> Reply:
        inner = await self._outer._inner.open(self._call.sending(_readable(self._call.request)))
        if inner.ok and inner.chunks is not None:
            return self._as_ours(inner, chunks=self._held(inner))
        try:
            why = self._why_not(inner, inner.content or b"") if inner.ok else ""
        except BaseException:
            await inner.aclose()
            raise
        return inner if not why else await self._again(inner, why)

    async def _again(self, dropped: Reply, why: str) -> Reply:
        """The answer to the call as its caller wrote it."""
        await dropped.aclose()
        self._count(dropped)
        inner = await self._outer._inner.open(self._call.sending(self._call.original))
        inner.notes.insert(0, self._note(why))
        return self._as_ours(inner, chunks=inner.chunks)

    def _as_ours(self, inner: Reply, *, chunks: AsyncIterator[bytes] | None) -> Reply:
        """A reply whose end tells the charges of all that was asked."""
        self._current = inner
        reply = Reply(
            inner.status, inner.headers, wire=inner.wire, content=inner.content, chunks=chunks, close=self._close
        )
        reply.done = self._done() if inner.content is not None else None
        reply.notes = inner.notes
        reply.asked_at = inner.asked_at
        reply.output_text = lambda: self._current.output_text() if self._current and self._current.output_text else ""
        self._reply = reply
        return reply

    async def _held(self, inner: Reply) -> AsyncIterator[bytes]:
        """The stream once it is whole and calls no tool but the caller's own; else that of asking again."""
        clock = self._outer._clock
        pulses = inner.wire is not Wire.OLLAMA
        held: list[bytes] = []
        told = clock.monotonic()
        async for chunk in inner.chunks or _nothing():
            held.append(chunk)
            if pulses and clock.monotonic() - told >= self._outer._pulse_s:
                told = clock.monotonic()
                yield _PULSE
        why = self._why_not(inner, b"".join(held))
        if not why:
            for chunk in held:
                yield chunk
            return
        second = await self._instead(inner, why)
        if second.content is not None:
            for chunk in codec(second.wire).unfold(second.content):
                yield chunk
        async for chunk in second.chunks or _nothing():
            yield chunk

    async def _instead(self, dropped: Reply, why: str) -> Reply:
        """The second answer to a stream whose head the caller has already. Raises StreamCut if there is none."""
        await dropped.aclose()
        self._count(dropped)
        self._current = None
        if self._reply is not None:
            self._reply.notes.append(self._note(why))
        try:
            second = await self._outer._inner.open(self._call.sending(_readable(self._call.original)))
        except BackendError as error:
            raise StreamCut(f"The upstream failed when it was asked again: {error}") from None
        self._current = second
        if not second.ok:
            raise StreamCut(f"The upstream answered {second.status} when it was asked again; ask again.")
        return second

    def _why_not(self, inner: Reply, body: bytes) -> str:
        """Why this answer must not be passed on; "" where nothing is wrong with it."""
        if get_header(inner.headers, "content-encoding") not in (None, "identity"):
            return "the answer is encoded and cannot be checked"
        try:
            whole = body if inner.content is not None else codec(inner.wire).fold(body)
            for name, arguments in calls_in(inner.wire, whole):
                if self._own.refuses(name, arguments, self._sent):
                    shown = name if name in self._sent.names else "a tool that nobody offered"
                    return f"the answer calls {shown}, which the caller did not allow in this call"
        except ValueError:
            return "the answer cannot be read"
        return ""

    def _count(self, dropped: Reply) -> None:
        self._earlier += dropped.done.charges if dropped.done is not None else ()

    def _note(self, why: str) -> Step:
        """What the rewrites were to save is not saved, and what the dropped answer cost is lost as well."""
        claimed = sum(step.saving for step in self._call.trail if step.verdict is Verdict.ACCEPTED)
        costs = [self._outer._cost(charge) or 0 for charge in self._earlier]
        return Step(
            "offered_tools", Verdict.ACCEPTED, saving=-claimed - sum(costs), why=f"asked again unchanged: {why}"
        )

    async def _close(self) -> None:
        current = self._current
        if current is not None:
            await current.aclose()
        if self._reply is not None:
            self._reply.done = self._done()

    def _done(self) -> Done:
        done = self._current.done if self._current is not None else None
        if done is None:
            return Done(charges=self._earlier, complete=False)
        return msgspec.structs.replace(done, charges=(*self._earlier, *done.charges)) if self._earlier else done


def _offers(call: Call) -> tuple[Offer, Offer] | None:
    """What the caller offers and what is sent; None where nothing is sent that the caller does not offer."""
    try:
        ours, theirs = call.original, call.request
        if ours.envelope is theirs.envelope or (
            ours.envelope.tools is theirs.envelope.tools and _same_start(ours, theirs)
        ):
            return None
        if ours.envelope.tools == theirs.envelope.tools and _says(ours) == _says(theirs):
            return None
        own, sent = offered(call.original), offered(call.request)
        if NAME in sent.names - own.names and has_tool(call.request):
            own = Offer(own.names | {NAME}, own.catalogued)  # that tool is the gateway's, which answers its calls
    except BadRequest:
        return None
    if sent.names <= own.names and sent.catalogued <= own.catalogued:
        return None
    return own, sent


def _same_start(ours: Request, theirs: Request) -> bool:
    """Whether the instructions are the very same piece: an edit beside the prompt leaves them where they were."""
    a, b = ours.envelope, theirs.envelope
    return a.system is b.system and a.messages is b.messages and a.input is b.input


def _says(request: Request) -> bytes:
    """The instructions, in which tools may be listed that the dispatcher runs; b"" without a dispatcher."""
    if not any(b'"tool_call"' in bytes(tool) for tool in request.envelope.tools or ()):
        return b""
    said = request.envelope.system
    first = said if said is not None else next(iter(items(request)), b"")
    return bytes(first)


def _readable(request: Request) -> Request:
    """The request, asking for an answer that is not compressed: it has to be read."""
    headers = tuple(header for header in request.headers if header[0] != "accept-encoding")
    return request if len(headers) == len(request.headers) else msgspec.structs.replace(request, headers=headers)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
