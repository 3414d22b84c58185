"""A call that asks all targets of a cascade: the caller gets the strongest one's answer, and the others are held to it.

The strongest is bought anyway, so its answer is given: no caller gets less for having been drawn, and nothing is asked
behind anybody's back. Such calls are drawn at random from all, so that what they show holds for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ...call import CHARGED, Call, Step, Verdict
from ...errors import PennyweightError
from ...flow import Flow
from ...money import PicoUSD
from ...request import Charge, Done, Reply, get_header
from ...routing.confidence.agreement import agree
from ...routing.confidence.checks import complaints
from ...routing.confidence.comparisons import Comparison, Kind
from ...routing.confidence.decision import Standing, decide
from ...routing.confidence.said import Asked, read_answer
from ...routing.ladder import JUDGED, Judged, climb
from ...wire import codec
from ..fallback import ANSWERED
from ..refusals import add_charges
from .climbing import hearings, stopped
from .upward import upward

if TYPE_CHECKING:
    from .cascade import Cascade

log = logging.getLogger(__name__)

__all__ = ["Compared"]

_WAIT_S = 15.0  # for the others, once the caller has its answer


class Compared:
    """`open` it once."""

    def __init__(self, outer: Cascade, call: Call, asked: Asked, standing: Standing, kind: Kind) -> None:
        self._outer = outer
        self._call = call
        self._asked = asked
        self._kind = kind
        self._standing = standing
        self._cheap, self._peer, self._tokens = hearings(outer, call)
        self._held: list[bytes] | None = []
        self._room = outer.settings.hold_bytes
        self._streamed = False

    async def open(self) -> Reply:
        others = [asyncio.create_task(self._cheap.hear())]
        if self._peer is not None:
            others.append(asyncio.create_task(self._peer.hear()))
        step = self._outer.note(self._call, "all targets were asked, to compare what they say", ())
        try:
            try:
                inner = await upward(self._outer.inner, self._call, climb(self._call), step)
            except PennyweightError:
                await asyncio.wait(set(others))
                if not self._cheap.whole:
                    raise
                return await self._instead(others)  # rather that one than none
        except BaseException:
            await self._stop(others)
            raise
        return self._watched(inner, others)

    async def _instead(self, others: list[asyncio.Task[None]]) -> Reply:
        for task in others:
            await stopped(task)
        spent = await self._peer.drop() if self._peer is not None else ()
        earlier = tuple(self._call.facts.pop(CHARGED, ()))  # of strong targets that failed
        reply = self._cheap.kept()
        self._call.facts[ANSWERED] = self._call.target
        reply.notes.append(Step("cascade", Verdict.ACCEPTED, why="the first answer, as no other came"))
        add_charges(reply, (*earlier, *spent))
        return reply

    async def _stop(self, others: list[asyncio.Task[None]]) -> tuple[Charge, ...]:
        """What the others were billed, whether they came to their end or not."""
        for task in others:
            await stopped(task)
        spent = await self._cheap.drop()
        if self._peer is not None:
            spent += await self._peer.drop()
        if spent:
            self._call.facts[CHARGED] = (*self._call.facts.get(CHARGED, ()), *spent)
        return spent

    def _watched(self, inner: Reply, others: list[asyncio.Task[None]]) -> Reply:
        """The strongest target's reply, whose end compares and tells all charges."""
        chunks = inner.chunks
        if chunks is not None:
            self._streamed = True
            if isinstance(chunks, Flow):
                chunks.watch(self._see)
            else:
                chunks = _seen(chunks, self._see)
        reply = Reply(inner.status, inner.headers, wire=inner.wire, content=inner.content, chunks=chunks)
        reply.notes = inner.notes
        reply.asked_at = inner.asked_at
        reply.output_text = inner.output_text
        if inner.content is not None:
            reply.done = inner.done

        async def close() -> None:
            ending = asyncio.create_task(self._ended(reply, inner, others))
            left: asyncio.CancelledError | None = None
            while not ending.done():
                try:
                    await asyncio.wait({ending})
                except asyncio.CancelledError as error:  # the caller has its answer and is gone; the bills are not
                    left = error
            reply.done = ending.result()
            if left is not None:
                raise left

        reply.close = close
        return reply

    async def _ended(self, reply: Reply, inner: Reply, others: list[asyncio.Task[None]]) -> Done:
        """Compare, once all have ended, and say what they were billed. A caller that left early is not waited for."""
        await inner.aclose()
        done = inner.done or Done(complete=False)
        compared: Comparison | None = None
        if done.complete:
            await asyncio.wait(set(others), timeout=_WAIT_S)
            if inner.ok:
                try:
                    compared = self._compare(inner)
                except Exception as error:  # noqa: BLE001 - what we learn must never cost an answer
                    log.warning("a comparison could not be made", extra={"error": type(error).__name__})
        spent = await self._stop(others)
        self._call.facts.pop(CHARGED, None)
        lost, last = self._cost(spent), self._cost(done.charges)
        if compared is not None:
            await self._outer.book.add(msgspec.structs.replace(compared, first=lost, last=last))
        if lost:
            reply.notes.append(Step("cascade", Verdict.ACCEPTED, saving=-lost, why="what comparing cost"))
        return msgspec.structs.replace(done, charges=(*spent, *done.charges))

    def _see(self, chunk: bytes) -> None:
        if self._held is not None:
            self._held.append(chunk)
            self._room -= len(chunk)
            if self._room < 0:
                self._held = None

    def _cost(self, charges: Sequence[Charge]) -> PicoUSD:
        return sum(self._outer.cost(charge) or 0 for charge in charges)

    def _compare(self, inner: Reply) -> Comparison | None:
        """What the answers were like; None where one of them cannot be read."""
        cheap, peer = self._cheap, self._peer
        if cheap.said is None or not cheap.whole or self._held is None:
            return None
        if get_header(inner.headers, "content-encoding") not in (None, "", "identity"):
            return None
        try:
            body = inner.content if not self._streamed else codec(inner.wire).fold(b"".join(self._held))
            strong = read_answer(inner.wire, body or b"")
        except ValueError:
            return None
        theirs = peer.said if peer is not None and peer.whole else None
        decision = decide(
            cheap.said,
            self._asked,
            peer=theirs,
            sure=self._tokens.sureness(),
            familiar=self._outer.familiar(self._call),
            standing=self._standing,
            mode=self._outer.settings.mode,
        )
        keepable = not complaints(cheap.said, self._asked)
        same = agree(cheap.said, strong, self._asked).same is True
        self._call.facts[JUDGED] = Judged(self._call.target, same, "comparison")
        old = not complaints(strong, self._asked)
        try:
            self._outer.tell(self._call, float(keepable if decision.keep else old), float(old))
        except Exception as error:  # noqa: BLE001 - who listens must not cost what is learnt here
            log.warning("a comparison could not be told", extra={"error": type(error).__name__})
        return Comparison(self._outer.clock.now(), self._kind, decision.features, keepable, same)


async def _seen(chunks: AsyncIterator[bytes], see: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        see(chunk)
        yield chunk
