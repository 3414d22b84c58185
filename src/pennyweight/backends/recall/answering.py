"""One call whose model may ask for what was left out: asked, answered and asked again, for one reply."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from ...call import CHARGED, Call, Step, Verdict
from ...errors import BadRequest, PennyweightError, StreamCut
from ...money import PicoUSD
from ...protocols import Backend
from ...references import BROUGHT, UNCHANGED
from ...request import Charge, Done, Reply, Request, Usage, get_header
from ...wire import codec
from ...wire.legs import Leg, Said, Weaver, legs
from ...wire.taps import loads
from .shelf import Shelf

__all__ = ["Answering", "unsaved"]

log = logging.getLogger(__name__)


class Answering:
    """One call whose model may ask us. The caller gets one reply; `_current` is the upstream's that is open."""

    def __init__(
        self, call: Call, inner: Backend, shelf: Shelf, *, cost: Callable[[Charge], PicoUSD | None], loops: int
    ) -> None:
        """loops: how often it is asked again, at most."""
        self._call = call
        self._inner = inner
        self._shelf = shelf
        self._cost = cost
        self._loops = loops
        self._legs = legs(call.request.wire)
        self._request = call.request  # with what was asked and given so far
        self._turns: list[Leg] = []  # the same, by legs
        self._reply: Reply | None = None
        self._current: Reply | None = None
        self._dones: list[Done] = []  # of the legs before
        self._given = 0
        self._alone = False  # nothing of an earlier leg is in the answer
        self._why = ""  # why it was asked as its caller wrote it, at last
        self._told = False

    async def open(self) -> Reply:
        await self._restore()
        inner = await self._inner.open(self._call.sending(_readable(self._request)))
        self._current = inner
        if not inner.ok:
            return inner
        try:
            if _encoded(inner):
                return await self._unchanged("the answer is encoded and cannot be read")
            if inner.content is None:
                return self._as_ours(inner, chunks=self._woven(inner))
            return await self._whole(inner)
        except BaseException:
            if self._current is not None:
                await self._current.aclose()
            raise

    async def _restore(self) -> None:
        """Put back into the request what its session's model was really told."""
        kept = await self._shelf.turns.of(self._call)
        if not kept:
            return
        try:
            edits, used = self._legs.restored(self._request, kept)
            self._request = self._request.edit(edits) if edits else self._request
        except (BadRequest, ValueError, AttributeError, KeyError, TypeError) as error:
            log.warning("an exchange cannot be put back", extra={"error": type(error).__name__})
            return
        self._call.facts[BROUGHT] = sum(exchange.tokens for exchange in used)

    async def _remember(self, answer: dict[str, Any]) -> None:
        """What the caller has only a part of. Of calls beside the client's own, the next request brings the results."""
        if self._alone or self._why:
            return
        said = self._legs.said(answer)
        if said.cut or not said.others or not (said.ours or self._turns):
            return
        results = [await self._shelf.result(self._call, called) for called in said.ours]
        self._given += len(results)
        exchange = self._legs.exchange((*self._turns, (answer, results)))
        if exchange is not None:
            tokens = self._shelf.tokens([result for _, given in self._turns for result in given] + results)
            await self._shelf.turns.add(self._call, msgspec.structs.replace(exchange, tokens=tokens))

    # --- whole answers --------------------------------------------------------------------------------------

    async def _whole(self, inner: Reply) -> Reply:
        answers: list[dict[str, Any]] = []
        while True:
            try:
                answers.append(await _read(inner))
                said = self._legs.said(answers[-1])
            except ValueError:  # what it says cannot be told
                return inner if len(answers) <= 1 and not self._dones else await self._unchanged(_UNREADABLE)
            if not said.asks:
                if not answers[:-1] and not said.ours:
                    return inner
                await self._remember(answers[-1])
                content = msgspec.json.encode(self._legs.joined(answers))
                return self._as_ours(inner, content=content)
            again = await self._again(said, answers[-1])
            if again is None:
                return await self._unchanged(self._why)
            inner = again

    async def _unchanged(self, why: str) -> Reply:
        """The answer to the call as its caller wrote it, in place of all that was said so far."""
        await self._leave()
        self._why = why
        self._alone = True
        self._call.facts[UNCHANGED] = True
        try:
            inner = self._current = await self._inner.open(self._call.sending(_new(self._call.original)))
        except PennyweightError as error:  # it says what it cost so far, which an exception could not
            content = codec(self._call.request.wire).error(error.status, error.kind, error.message, code=error.code)
            inner = Reply(error.status, _JSON, wire=self._call.request.wire, content=content, done=Done(complete=False))
            self._current = inner
        return self._as_ours(inner, content=inner.content, chunks=inner.chunks)

    # --- streams --------------------------------------------------------------------------------------------

    async def _woven(self, inner: Reply) -> AsyncIterator[bytes]:
        weaver: Weaver = self._legs.weaver()
        while True:
            kept: list[bytes] = []
            held = b""  # the last that was said, where what is to be remembered must be so before it is told
            try:
                async for chunk in _chunks(inner):
                    kept.append(chunk)
                    if shown := weaver.feed(chunk):
                        if held:
                            yield held
                        held = shown if self._turns or weaver.called else b""
                        if not held:
                            yield shown
            except PennyweightError:
                if held:
                    yield held
                raise
            held += weaver.close()
            if not weaver.asks:
                if self._turns or weaver.called:
                    await self._remember_stream(inner, b"".join(kept))
                if held:
                    yield held
                return
            if held:
                yield held
            ended, inner = inner, await self._next_leg(inner, b"".join(kept))
            weaver.next(ended.done.usage if ended.done is not None else None)

    async def _remember_stream(self, inner: Reply, stream: bytes) -> None:
        with contextlib.suppress(ValueError):  # a stream that was cut, or is odd
            await self._remember(loads(codec(inner.wire).fold(stream)))

    async def _next_leg(self, inner: Reply, stream: bytes) -> Reply:
        """Raises StreamCut where nobody answers any more."""
        again = None
        try:
            answer = loads(codec(inner.wire).fold(stream))
            said = self._legs.said(answer)
        except ValueError:
            self._why = _UNREADABLE
        else:
            again = await self._again(said, answer)
        if again is not None:
            return again
        await self._leave()
        self._call.facts[UNCHANGED] = True
        try:
            second = await self._inner.open(self._call.sending(_new(self._call.original)))
        except PennyweightError as error:
            raise StreamCut(f"The upstream failed when it was asked on: {error}") from None
        self._current = second
        if not second.ok:
            raise StreamCut(f"The upstream answered {second.status} when it was asked on; ask again.")
        return second

    # --- asking again ---------------------------------------------------------------------------------------

    async def _again(self, said: Said, answer: dict[str, Any]) -> Reply | None:
        """The next leg; None where there is none to be had, with `_why`."""
        if len(self._dones) >= self._loops:
            self._why = f"the model asked for left-out texts more than {self._loops} times"
            return None
        await self._leave()
        results = [await self._shelf.result(self._call, called) for called in said.ours]
        self._given += len(results)
        self._turns.append((answer, results))
        try:
            self._request = self._request.edit(self._legs.turn(self._request, answer, results))
            inner = await self._inner.open(self._call.sending(_new(self._request)))
        except PennyweightError as error:
            log.warning("a model could not be asked on", extra={"error": type(error).__name__})
            self._why = f"asking on failed: {type(error).__name__}"
            return None
        self._current = inner
        if inner.ok and not _encoded(inner):
            return inner
        self._why = f"asking on was answered with {inner.status}"
        return None

    async def _leave(self) -> None:
        """End the leg that is open, and count it."""
        current, self._current = self._current, None
        if current is not None:
            await current.aclose()
            self._dones.append(current.done or Done(complete=False))
            self._call.facts[CHARGED] = tuple(charge for done in self._dones for charge in done.charges)

    def _as_ours(
        self, inner: Reply, *, content: bytes | None = None, chunks: AsyncIterator[bytes] | None = None
    ) -> Reply:
        """A reply whose end tells the charges of all that was asked."""
        reply = Reply(inner.status, inner.headers, wire=inner.wire, content=content, chunks=chunks, close=self._close)
        reply.notes = inner.notes
        reply.asked_at = inner.asked_at
        reply.output_text = lambda: self._current.output_text() if self._current and self._current.output_text else ""
        if content is not None:
            reply.done = self._done()
            self._tell(reply)
        self._reply = reply
        return reply

    async def _close(self) -> None:
        if self._current is not None:
            await self._current.aclose()
        if self._reply is not None:
            self._reply.done = self._done()
            self._tell(self._reply)

    def _done(self) -> Done:
        """The end of the last leg, with all charges; its usage has the output of all legs, for so the caller was told.

        Of a leg that was cut, its own usage alone: what was streamed of it is then counted in its place.
        """
        last = self._current.done if self._current is not None and self._current.done else Done(complete=False)
        charges = tuple(charge for done in (*self._dones, last) for charge in done.charges)
        usages = [done.usage for done in self._dones if done.usage is not None]
        usage = last.usage
        if usage is not None and usages and last.complete and not self._alone:
            usage = _with_output(usage, usages)
        return msgspec.structs.replace(last, usage=usage, charges=charges)

    def _tell(self, reply: Reply) -> None:
        """What was done about it, once, for the trail."""
        if self._told or not (self._given or self._why):
            return
        self._told = True
        done = reply.done or Done()
        if self._why:
            reply.notes.append(unsaved(self._call, f"asked unchanged: {self._why}", self._extra(done)))
            return
        gave, asked = _times(self._given, "left-out text"), _times(len(self._dones), "time")
        why = f"gave {gave} back, asked {asked} more" if self._dones else f"gives {gave} back with the next request"
        reply.notes.append(Step("recall", Verdict.ACCEPTED, saving=-self._extra(done), why=why))

    def _extra(self, done: Done) -> PicoUSD:
        """What all asks cost beyond one: with the first prompt and the last answer, or, where that was asked at last,
        as the caller wrote it."""
        if len(done.charges) < 2:
            return 0
        first, last = done.charges[0], done.charges[-1]
        once = last
        if not self._why:
            output = {"output_tokens": last.usage.output_tokens, "reasoning_tokens": last.usage.reasoning_tokens}
            once = Charge(first.provider, first.model, msgspec.structs.replace(first.usage, **output), first.at)
        return sum(self._cost(charge) or 0 for charge in done.charges) - (self._cost(once) or 0)


def _times(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


_JSON = (("content-type", "application/json"),)
_UNREADABLE = "the answer cannot be read"


def unsaved(call: Call, why: str, lost: PicoUSD = 0) -> Step:
    """What the rewrites were to save is not saved, and `lost` beside."""
    claimed = sum(step.saving for step in call.trail if step.verdict is Verdict.ACCEPTED)
    return Step("recall", Verdict.ACCEPTED, saving=-claimed - lost, why=why)


def _with_output(usage: Usage, earlier: list[Usage]) -> Usage:
    return msgspec.structs.replace(
        usage,
        output_tokens=usage.output_tokens + sum(before.output_tokens for before in earlier),
        reasoning_tokens=usage.reasoning_tokens + sum(before.reasoning_tokens for before in earlier),
    )


def _readable(request: Request) -> Request:
    """The request, asking for an answer that is not compressed: it has to be read."""
    return _without(request, frozenset({"accept-encoding"}))


def _new(request: Request) -> Request:
    """The same of another ask than the first, which must not pass for a repetition of it."""
    return _without(request, frozenset({"accept-encoding", "idempotency-key"}))


def _without(request: Request, names: frozenset[str]) -> Request:
    headers = tuple(header for header in request.headers if header[0] not in names)
    return request if len(headers) == len(request.headers) else msgspec.structs.replace(request, headers=headers)


def _encoded(reply: Reply) -> bool:
    return get_header(reply.headers, "content-encoding") not in (None, "", "identity")


async def _read(reply: Reply) -> dict[str, Any]:
    """The whole answer. Raises ValueError."""
    if reply.content is not None:
        return loads(reply.content)
    return loads(codec(reply.wire).fold(await reply.read()))


async def _chunks(reply: Reply) -> AsyncIterator[bytes]:
    if reply.content is not None:
        for chunk in codec(reply.wire).unfold(reply.content):
            yield chunk
    elif reply.chunks is not None:
        async for chunk in reply.chunks:
            yield chunk
