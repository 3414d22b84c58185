"""Keeps what a request leaves out before it is sent, and answers the model when it asks for that.

A model that calls our tool gets the text from us and is asked again; its caller sees one answer, whole or streamed, in
which nothing of that shows. Where something is in the way (a store that is down or slow, an upstream that does not take
the second ask, a model that does not stop asking), the call is asked as its caller wrote it, with every text in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from ..call import Call, Step, Verdict
from ..errors import BackendError, BadRequest, PennyweightError, StoreError, StreamCut
from ..money import PicoUSD
from ..protocols import Backend, Tokenizer
from ..references import FACT, References, ReferenceSettings
from ..request import Charge, Done, Operation, Reply, Request, Usage, get_header
from ..text.excerpts import excerpt
from ..wire import codec
from ..wire.legs import Called, Said, Weaver, legs
from ..wire.recall_tool import has_tool, wanted
from ..wire.taps import loads

__all__ = ["Recall"]

log = logging.getLogger(__name__)

_IN_A_THREAD = 64_000  # characters; looking for lines in more would hold others up
_MOST_REMEMBERED = 100_000  # names of stored texts

GONE = "Nothing is kept under that name here (any more). If you need it, run the tool again that gave it."
UNNAMED = 'Say which text: ref is a name as it stands where text was left out, such as "rabcdefghij".'
UNREAD = "The text cannot be read just now. If you need it, run the tool again that gave it."


class Recall:
    """A Backend over `inner`. Calls from which nothing was left out it hands on at the cost of a comparison.

    cost: what a charge comes to, so that the receipt counts what asking again costs against the saving.
    """

    def __init__(
        self,
        inner: Backend,
        references: References,
        tokenizer: Tokenizer,
        *,
        settings: ReferenceSettings,
        cost: Callable[[Charge], PicoUSD | None],
    ) -> None:
        self._inner = inner
        self._references = references
        self._tokenizer = tokenizer
        self._settings = settings
        self._cost = cost
        self._stored: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        if not call.rewritten or call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        texts = _mentioned(call)
        ours = _ours(call)
        return self._opened(call, texts, ours=ours) if texts or ours else self._inner.open(call)

    async def _opened(self, call: Call, texts: dict[str, str], *, ours: bool) -> Reply:
        why = "" if ours else "its client has no use for the tool that gives texts back"
        if texts and not why:
            why = await self._put(call, texts)
        if why:
            call.facts.pop("rewritten", None)  # what is not sent is no form to be kept
            reply = await self._inner.open(call.sending(call.original))
            reply.notes.insert(0, _unsaved(call, f"asked unchanged: {why}"))
            return reply
        return await _Answer(self, call).open()

    async def _put(self, call: Call, texts: dict[str, str]) -> str:
        """Keep these texts. Why that cannot be done in time; "" where it is done."""
        tenant, session = call.identity.tenant, call.identity.session
        new = {id: text for id, text in texts.items() if (tenant, session, id) not in self._stored}
        if not session:
            return "it belongs to no session"
        if not new:
            return ""
        try:
            async with asyncio.timeout(self._settings.store_s):
                for id, text in new.items():
                    await self._references.put(tenant, session, id, text)
                await self._references.flush()
        except (StoreError, TimeoutError) as error:
            log.warning("left-out texts cannot be kept", extra={"error": type(error).__name__})
            return "what it leaves out could not be kept"
        for id in new:
            self._stored[tenant, session, id] = None
        while len(self._stored) > _MOST_REMEMBERED:
            self._stored.popitem(last=False)
        return ""

    async def _result(self, call: Call, called: Called) -> str:
        """What the model is shown."""
        asked = wanted(called.arguments)
        if not asked.ref:
            return UNNAMED
        try:
            async with asyncio.timeout(self._settings.store_s):
                text = await self._references.get(call.identity.tenant, call.identity.session, asked.ref)
        except (StoreError, TimeoutError) as error:
            log.warning("a left-out text cannot be read", extra={"error": type(error).__name__})
            return UNREAD
        if text is None:
            return GONE

        def show() -> str:
            return excerpt(
                text,
                count=self._tokenizer.count,
                most_tokens=self._settings.result_tokens,
                first=asked.first,
                last=asked.last,
                query=asked.query,
            )

        return await asyncio.to_thread(show) if len(text) > _IN_A_THREAD else show()


class _Answer:
    """One call whose model may ask us. The caller gets one reply; `_current` is the upstream's that is open."""

    def __init__(self, outer: Recall, call: Call) -> None:
        self._outer = outer
        self._call = call
        self._legs = legs(call.request.wire)
        self._request = call.request  # with what was asked and given so far
        self._reply: Reply | None = None
        self._current: Reply | None = None
        self._dones: list[Done] = []  # of the legs before
        self._given = 0
        self._alone = False  # nothing of an earlier leg is in the answer
        self._why = ""  # why it was asked as its caller wrote it, at last
        self._told = False

    async def open(self) -> Reply:
        inner = await self._outer._inner.open(self._call.sending(_readable(self._call.request)))
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
        try:
            inner = self._current = await self._outer._inner.open(self._call.sending(_new(self._call.original)))
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
            async for chunk in _chunks(inner):
                kept.append(chunk)
                if shown := weaver.feed(chunk):
                    yield shown
            if shown := weaver.close():
                yield shown
            if not weaver.asks:
                return
            ended, inner = inner, await self._next_leg(inner, b"".join(kept))
            weaver.next(ended.done.usage if ended.done is not None else None)

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
        try:
            second = await self._outer._inner.open(self._call.sending(_new(self._call.original)))
        except PennyweightError as error:
            raise StreamCut(f"The upstream failed when it was asked on: {error}") from None
        self._current = second
        if not second.ok:
            raise StreamCut(f"The upstream answered {second.status} when it was asked on; ask again.")
        return second

    # --- asking again ---------------------------------------------------------------------------------------

    async def _again(self, said: Said, answer: dict[str, Any]) -> Reply | None:
        """The next leg; None where there is none to be had, with `_why`."""
        if len(self._dones) >= self._outer._settings.loops:
            self._why = f"the model asked for left-out texts more than {self._outer._settings.loops} times"
            return None
        await self._leave()
        results = [await self._outer._result(self._call, called) for called in said.ours]
        self._given += len(results)
        try:
            self._request = self._request.edit(self._legs.turn(self._request, answer, results))
            inner = await self._outer._inner.open(self._call.sending(_new(self._request)))
        except (BackendError, BadRequest) as error:
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
            reply.notes.append(_unsaved(self._call, f"asked unchanged: {self._why}", self._extra(done)))
            return
        gave, asked = _times(self._given, "left-out text"), _times(len(self._dones), "time")
        why = f"gave {gave} back, asked {asked} more"
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
        return sum(self._outer._cost(charge) or 0 for charge in done.charges) - (self._outer._cost(once) or 0)


def _times(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


_JSON = (("content-type", "application/json"),)
_UNREADABLE = "the answer cannot be read"


def _mentioned(call: Call) -> dict[str, str]:
    """The left-out texts for which the request really stands."""
    texts = call.facts.get(FACT)
    if not isinstance(texts, dict):
        return {}
    raw = call.request.raw
    return {id: text for id, text in texts.items() if id.encode() in raw}


def _ours(call: Call) -> bool:
    """Whether the tool was put there by us: a caller that is such a gateway answers for itself."""
    try:
        if not call.identity.session or call.request.envelope.tools is call.original.envelope.tools:
            return False
        return has_tool(call.request) and not has_tool(call.original)
    except BadRequest:
        return False


def _unsaved(call: Call, why: str, lost: PicoUSD = 0) -> Step:
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
