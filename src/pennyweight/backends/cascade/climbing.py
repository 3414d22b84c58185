"""One call of a cascade on its way: the cheap answer, the peer's, what is made of them, and the way up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from ...call import CHARGED, EARLIER, Call, Step, Verdict
from ...errors import PennyweightError, StreamCut
from ...request import Charge, Done, Reply, Wire
from ...routing.confidence.agreement import agree
from ...routing.confidence.checks import complaints, early_complaint
from ...routing.confidence.decision import Decision, Standing, decide
from ...routing.confidence.entropy import Tokens
from ...routing.confidence.said import Asked, Said
from ...routing.ladder import JUDGED, Judged, climb
from ...wire import codec
from ..fallback import ANSWERED
from ..refusals import add_charges
from .hearing import Hearing
from .logprobs import WANTED
from .upward import alone, asking, upward

if TYPE_CHECKING:
    from .cascade import Cascade

log = logging.getLogger(__name__)

__all__ = ["Climb", "hearings", "stopped"]

_PULSE = b": \n\n"
"""A comment of the event stream, so that the connection does not look dead while an answer is held."""


def hearings(outer: Cascade, call: Call) -> tuple[Hearing, Hearing | None, Tokens]:
    """The cheap target's answer and the peer's, not asked yet, and where the odds of the first will be."""
    tokens = Tokens()
    first = alone(call)
    if outer.settings.logprobs:
        first.facts[WANTED] = tokens
    most = outer.settings.hold_bytes
    cheap = Hearing(outer.inner, first, most_bytes=most, charges=outer.charges)
    rungs = call.rungs
    if rungs is None or rungs.peer is None or rungs.peer == call.target:
        return cheap, None, tokens
    return cheap, Hearing(outer.inner, asking(call, rungs.peer), most_bytes=most, charges=outer.charges), tokens


async def stopped(task: asyncio.Task[None] | None) -> None:
    """Cancel a task that is not wanted any more, and wait until it has let go of its upstream."""
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # seen


class Climb:
    """`open` it once."""

    def __init__(self, outer: Cascade, call: Call, asked: Asked, standing: Standing) -> None:
        self._outer = outer
        self._call = call
        self._asked = asked
        self._standing = standing
        self._cheap, self._peer, self._tokens = hearings(outer, call)
        self._peer_task: asyncio.Task[None] | None = None
        self._spent: tuple[Charge, ...] = ()
        self._agreed = False
        self._reply: Reply | None = None  # what the caller gets while it waits for more

    async def open(self) -> Reply:
        if not self._call.request.stream:
            return await self._settled()
        task = asyncio.create_task(self._settled())
        try:
            done, _waiting = await asyncio.wait({task}, timeout=self._outer.settings.pulse_s)
        except BaseException:
            ready = await _abandoned(task)
            if ready is not None:  # in the same moment
                await ready.aclose()
                self._call.facts[CHARGED] = ready.done.charges if ready.done is not None else ()
            raise
        return task.result() if done else self._later(task)

    # --- the decision -----------------------------------------------------------------------------------------

    async def _settled(self) -> Reply:
        """The cheap answer where it is kept, else the stronger one. Whoever leaves stops all."""
        try:
            decision = await self._decided()
            if decision.keep:
                return await self._kept(decision)
            return await self._up(decision)
        except BaseException:
            await stopped(self._peer_task)
            await self._drop_peer()
            self._spent += await self._cheap.drop()
            if self._spent:
                self._call.facts[CHARGED] = _joined(self._call.facts.get(CHARGED, ()), self._spent)
            raise

    async def _decided(self) -> Decision:
        cheap, peer, rule = self._cheap, self._peer, self._outer.settings
        if peer is not None and rule.ask_peer == "at_once":
            self._peer_task = asyncio.create_task(peer.hear())
        await cheap.hear(self._doubt)
        if cheap.failed or cheap.doubted or cheap.said is None:
            return Decision(False, f"{_name(cheap)}: {cheap.failed or cheap.doubted or 'no answer'}")
        try:
            found = complaints(cheap.said, self._asked)
            if found:
                self._call.facts[JUDGED] = Judged(self._call.target, False, "validity")
        except RecursionError:
            return Decision(False, "it is nested too deeply to be judged")
        if peer is not None and not found:
            if self._peer_task is None:
                self._peer_task = asyncio.create_task(peer.hear())
            await asyncio.wait({self._peer_task}, timeout=rule.peer_wait_s)
        await stopped(self._peer_task)
        try:
            return self._judged(cheap.said)
        except Exception as error:  # noqa: BLE001 - whatever an answer holds, there is a stronger one to be had
            log.warning("an answer could not be judged", extra={"error": type(error).__name__})
            return Decision(False, "it could not be judged")

    def _judged(self, said: Said) -> Decision:
        theirs = self._peer.said if self._peer is not None and self._peer.whole else None
        self._agreed = theirs is not None and agree(said, theirs, self._asked).same is True
        return decide(
            said,
            self._asked,
            peer=theirs,
            sure=self._tokens.sureness(),
            familiar=self._outer.familiar(self._call),
            standing=self._standing,
            mode=self._outer.settings.mode,
        )

    def _doubt(self, cheap: Hearing) -> str:
        """Why the answer that is coming will not be kept, whatever follows; "" while that is open."""
        spoken = cheap.spoken
        why = early_complaint(spoken.text, spoken.names, self._asked)
        if spoken.text.strip() and not self._asked.may_call:
            spoken.enough()  # the rest decides nothing before the end
        peer = self._peer.said if self._peer is not None else None
        if why or peer is None or self._standing.learnt:
            return why
        theirs = {call.name for call in peer.calls}
        if spoken.names and not theirs.issuperset(spoken.names):
            return "the peer disagrees (another tool)" if theirs else "the peer disagrees (no call)"
        return ""

    # --- what comes of it -------------------------------------------------------------------------------------

    async def _kept(self, decision: Decision) -> Reply:
        await self._drop_peer()
        reply = self._cheap.kept()
        self._call.facts[ANSWERED] = self._call.target
        if self._agreed:
            self._call.facts[JUDGED] = Judged(self._call.target, True, "agreement")
        lost = sum(self._outer.cost(charge) or 0 for charge in self._spent)
        why = f"kept {_name(self._cheap)}: {decision.why}"
        reply.notes.insert(0, Step("cascade", Verdict.ACCEPTED, saving=-lost, why=why))
        self._owe(reply)
        return reply

    async def _up(self, decision: Decision) -> Reply:
        await stopped(self._peer_task)
        await self._drop_peer()
        cheap = self._cheap
        servable = cheap.whole
        if not servable:
            self._spent = (*await cheap.drop(), *self._spent)
        step = self._outer.note(self._call, decision.why, self._spent)
        if not servable:
            self._call.facts[EARLIER] = self._spent
            return await upward(self._outer.inner, self._call, climb(self._call), step, charges=self._spent)
        # The answer stays at hand until a stronger one is there: rather that one than none.
        used: list[Reply] = []

        def instead() -> Reply:
            used.append(cheap.kept())
            return used[0]

        reply = await upward(self._outer.inner, self._call, climb(self._call), step, charges=(), instead=instead)
        if used:
            self._owe(reply)
            return reply
        try:
            dropped = await cheap.drop()
        except BaseException:
            await reply.aclose()
            self._spent += reply.done.charges if reply.done is not None else ()
            raise
        lost = sum(self._outer.cost(charge) or 0 for charge in dropped)
        reply.notes = [_dearer(note, lost) for note in reply.notes]
        self._spent = (*dropped, *self._spent)
        self._owe(reply)
        return reply

    def _owe(self, reply: Reply) -> None:
        """What was asked beside this answer is billed with it."""
        add_charges(reply, self._spent)
        self._call.facts[EARLIER] = self._spent

    async def _drop_peer(self) -> None:
        if self._peer is not None:
            self._spent += await self._peer.drop()

    # --- while a stream is held -------------------------------------------------------------------------------

    def _later(self, task: asyncio.Task[Reply]) -> Reply:
        """A stream that says nothing until it is decided, but that it is alive."""
        wire = self._call.request.wire
        headers = (("content-type", codec(wire).stream_type()), ("cache-control", "no-cache"))

        async def close() -> None:
            inner = await _abandoned(task)
            if inner is None:
                reply.done = Done(charges=self._call.facts.pop(CHARGED, self._spent), complete=False)
                return
            await inner.aclose()
            reply.done = inner.done

        reply = Reply(200, headers, wire=wire, chunks=self._waiting(task), close=close)
        reply.output_text = lambda: _output_text(task)
        self._reply = reply
        return reply

    async def _waiting(self, task: asyncio.Task[Reply]) -> AsyncIterator[bytes]:
        wire = self._call.request.wire
        while not task.done():
            if wire is not Wire.OLLAMA:  # its lines know no comment
                yield _PULSE
            await asyncio.wait({task}, timeout=self._outer.settings.pulse_s)
        try:
            inner = task.result()
        except PennyweightError as error:
            raise StreamCut(f"No target answered: {error}") from None
        if self._reply is not None:
            self._reply.notes += inner.notes
        if not inner.ok:
            raise StreamCut(f"The upstream answered {inner.status}; ask again.")
        if inner.content is not None:
            for chunk in codec(inner.wire).unfold(inner.content):
                yield chunk
        elif inner.chunks is not None:
            async for chunk in inner.chunks:
                yield chunk


async def _abandoned(task: asyncio.Task[Reply]) -> Reply | None:
    """Stop a task; the reply that it had opened already, if it had."""
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _output_text(task: asyncio.Task[Reply]) -> str:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return ""
    text = task.result().output_text
    return text() if text is not None else ""


def _dearer(note: Step, lost: int) -> Step:
    if note.optimizer != "escalated" or not lost:
        return note
    return msgspec.structs.replace(note, saving=note.saving - lost)


def _joined(a: tuple[Charge, ...], b: tuple[Charge, ...]) -> tuple[Charge, ...]:
    return a + tuple(charge for charge in b if charge not in a)


def _name(hearing: Hearing) -> str:
    target = hearing.call.target
    return target.name
