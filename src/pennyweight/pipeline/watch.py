"""What becomes of a reply on its way to the caller, and the Outcome that it ends in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import msgspec

from ..call import CHARGED, Call, Outcome, Target, Verdict
from ..economy import REFERENCE, Economy, Foreseen, baseline, same_tokens
from ..errors import PennyweightError
from ..flow import Flow
from ..protocols import Clock
from ..references import BROUGHT, UNCHANGED
from ..request import Done, Headers, Reply, Response, Usage, get_header
from ..warmth import Forecast
from ..wire import codec

log = logging.getLogger(__name__)

__all__ = ["Home", "Watch"]


class Home(msgspec.Struct, frozen=True, eq=False):
    """Of a pipeline, what its watches need."""

    submit: Callable[[Outcome], None]
    clock: Clock
    economy: Economy | None


class Watch:
    """Follows one reply to its end and submits the Outcome, exactly once."""

    # What most watches end with: on the class, for there is one for each call.
    _ttft_s: float | None = None
    _error = ""
    _finished = False
    _flow: Flow | None = None
    _streamed = False
    _sent_as: tuple[Foreseen, Forecast] | None = None
    _sends: Callable[[], tuple[Foreseen, Forecast] | None] | None = None

    def __init__(
        self,
        home: Home,
        call: Call,
        started: float,
        added_s: float,
        answered_by: str,
        *,
        keep: bool,
        observed: bool = True,
    ) -> None:
        """keep: the answer, for observers or only for optimizers, to whom one that somebody else paid for, or that is
        very long, is not worth keeping."""
        self._home = home
        self._call = call
        self._started = started
        self._added_s = added_s
        self._answered_by = answered_by
        self._kept: list[bytes] | None = [] if keep else None
        self._observed = observed
        self._room_bytes = float("inf") if observed else _KEPT_BYTES

    def again(self, call: Call) -> None:
        """The call went out anew, in another form."""
        self._call = call

    def sent(self, sent_as: tuple[Foreseen, Forecast] | None) -> None:
        """The provider has taken it."""
        self._sent_as = sent_as

    def sent_as(self, sends: Callable[[], tuple[Foreseen, Forecast] | None]) -> None:
        """The provider has taken it, and its answer is whole: what follows of that is worked out at the end."""
        self._sends = sends

    def follow(self, reply: Reply) -> None:
        """See the chunks of the reply as they pass."""
        # Also when the caller then reads it whole, which leaves the stream's bytes in `content`.
        self._streamed = reply.chunks is not None
        if isinstance(reply.chunks, Flow):
            self._flow = reply.chunks
            if self._kept is None:
                reply.chunks.watch_first(self._see)
            else:
                reply.chunks.watch(self._see)
        elif reply.chunks is not None:
            reply.chunks = self._relay(reply.chunks)

    def _see(self, chunk: bytes) -> None:
        if self._ttft_s is None:
            self._ttft_s = self._home.clock.monotonic() - self._started
        if self._kept is not None:
            self._kept.append(chunk)
            self._room_bytes -= len(chunk)
            if self._room_bytes < 0:  # folding it would hold up the calls of others
                self._kept = None

    async def _relay(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                self._see(chunk)
                yield chunk
            self._finished = True
        except PennyweightError as error:
            self._error = type(error).__name__
            raise

    def failed(self, error: BaseException) -> None:
        """Nothing was opened."""
        status = error.status if isinstance(error, PennyweightError) else 500
        self._error = type(error).__name__
        done = Done(charges=self._call.facts.get(CHARGED, ()), complete=False)
        self._send(status, (), done, abandoned=isinstance(error, asyncio.CancelledError))

    def __call__(self, reply: Reply) -> None:
        done = reply.done or Done(complete=False)
        if self._sends is not None:
            self._sent_as = self._sends()
        if reply.asked_at is not None and not (reply.notes and _asked_again(reply)):  # else upstreams took the time
            self._added_s = reply.asked_at - self._started
        if self._flow is not None:
            self._finished, self._error = self._flow.ended, self._flow.error
        whole = reply.content is not None and not self._streamed
        response = None
        self._call = self._call.note(*reply.notes) if reply.notes else self._call
        worth_keeping = self._observed or done.charges or not _shares(reply)  # ten thousand may share what one folds
        if self._kept is not None and worth_keeping and reply.ok and done.complete and (whole or self._finished):
            response = self._response(reply, done)
        abandoned = not (whole or self._finished or self._error)
        self._send(
            reply.status, reply.headers, done, response=response, abandoned=abandoned, output_text=reply.output_text
        )

    def _response(self, reply: Reply, done: Done) -> Response | None:
        raw = reply.content
        if get_header(reply.headers, "content-encoding") is not None:
            return None
        if raw is None or self._streamed:
            try:
                raw = codec(reply.wire).fold(b"".join(self._kept or ()))
            except ValueError:
                return None
        return Response(reply.wire, raw, done, reply.status, reply.headers)

    def _send(
        self,
        status: int,
        headers: Headers,
        done: Done,
        *,
        response: Response | None = None,
        abandoned: bool = False,
        output_text: Callable[[], str] | None = None,
    ) -> None:
        now = self._home.clock.monotonic()
        # Nothing was foreseen of nearly all that is short, and it was billed.
        bill = () if self._sent_as is None and done.charges else self._billed(done, now)
        self._home.submit(
            Outcome(  # in the order of its fields: by name it takes twice as long, and every call comes here
                self._call,
                done,
                status,
                self._answered_by,
                headers,
                response,
                self._ttft_s,
                now - self._started,
                self._added_s,
                self._error,
                abandoned,
                output_text,
                *bill,
            )
        )

    def _billed(self, done: Done, now: float) -> _Bill:
        """What is said of the bill, beside what it says itself."""
        economy = self._home.economy
        if done.usage is not None and not done.charges and (home := self._call.facts.get(REFERENCE)) is not None:
            alike = same_tokens(
                self._call.target.model, home.model
            )  # a kept or shared answer: it would have come there
            return _Bill(done.usage, home, not alike)
        if self._sent_as is None or economy is None or done.usage is None or not done.charges:
            return _NO_BILL  # also what is too short for any cache
        seen, would_be = self._sent_as
        if UNCHANGED in self._call.facts and self._call.rewritten:
            return _NO_BILL  # that of a request of which nothing was foreseen says nothing
        ours = (done.charges[0].provider, done.charges[0].model) == seen.scope[:2]
        try:
            if seen.chosen:
                return self._routed(economy, done, now, ours=ours)
            if not ours or len(done.charges) != 1:
                return _NO_BILL  # nor does somebody else's, of this provider's cache
            economy.billed(seen, would_be, done.usage, at=now)
            told = not done.usage.counted and not done.usage.suspect
            untouched = baseline(done.usage, seen.forecast, would_be) if self._call.rewritten and told else None
            return self._bill(seen, untouched)
        except Exception as error:  # noqa: BLE001 - what we learn must never cost an answer
            log.warning("a bill could not be learned from", extra={"error": type(error).__name__})
            return _NO_BILL

    def _routed(self, economy: Economy, done: Done, now: float, *, ours: bool) -> _Bill:
        """The same for a session whose calls are routed: each is held against its reference, wherever it went."""
        assert self._sent_as is not None
        seen, would_be = self._sent_as
        if ours:
            economy.billed(seen, would_be, done.charges[0].usage, at=now)
        untouched, estimated = economy.routes.came_to(self._call, seen, would_be, done.charges, at=now)
        if len(done.charges) == 1 and ours and seen.reference is None and untouched == done.charges[0].usage:
            return self._bill(seen, None)  # it is what it would have been
        usage = done.charges[-1].usage
        bill = self._bill(seen if ours else None, untouched)
        home = self._call.target if seen.reference is None else seen.reference.target
        return bill._replace(reference=home, estimated=estimated or usage.counted or bool(usage.suspect))

    def _bill(self, seen: Foreseen | None, untouched: Usage | None) -> _Bill:
        brought = self._call.facts.get(BROUGHT, 0)
        if untouched is not None and brought:
            untouched = _less(untouched, brought)
        if seen is None:
            return _Bill(untouched)
        forecast = seen.forecast
        warm = forecast.warm if forecast.known_to else None
        return _Bill(untouched, read_tokens=forecast.likely_read_tokens, warm=warm)


class _Bill(NamedTuple):
    """Of one call, as the last fields of its Outcome: its usage had nobody changed it, and where that would have been;
    cached tokens foreseen, and how surely."""

    untouched: Usage | None = None
    reference: Target | None = None
    estimated: bool = False
    read_tokens: float | None = None
    warm: float | None = None


_NO_BILL = _Bill()


_KEPT_BYTES = 4 * 2**20
"""Of a stream, for optimizers that learn from answers: 15,000 tokens and more. Longer ones they do not get to see."""


def _asked_again(reply: Reply) -> bool:
    return any(step.optimizer in ("retry", "fallback") for step in reply.notes)


def _shares(reply: Reply) -> bool:
    """Whether it is the answer to another call that was under way."""
    return any(step.optimizer == "coalesce" and step.verdict is Verdict.ACCEPTED for step in reply.notes)


def _less(usage: Usage, tokens: int) -> Usage:
    """The usage of a prompt without so many tokens that came of an earlier turn: read from the cache, first of all."""
    read = min(usage.cache_read_tokens, tokens)
    return msgspec.structs.replace(
        usage, input_tokens=max(usage.input_tokens - tokens, 0), cache_read_tokens=usage.cache_read_tokens - read
    )
