"""The one way through: ask the optimizers, judge what they propose, open the backend, hand the outcome to the clerk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from .call import Answer, Call, Optimize, Outcome, Proposal, Rewrite, Step, Verdict
from .economy import Economy, Foreseen, Worth, baseline
from .errors import PennyweightError
from .flow import Flow, Ready
from .policy import Flag, Level, Policy
from .protocols import Backend, Clock, Observer, Optimizer
from .request import Done, Headers, Reply, Request, Response, Usage, get_header
from .sticky import Sticky
from .warmth import Forecast
from .wire import codec

log = logging.getLogger(__name__)

__all__ = ["Pipeline", "judge", "replay"]

T = TypeVar("T")


def judge(
    proposal: Proposal,
    *,
    mode: str,
    optimize: Optimize,
    risk_left: float,
    level: Level | None = None,
    worth: Worth | None = None,
) -> Verdict:
    """The whole acceptance rule: may this proposal change the call?

    mode: "shadow" or "on" (an optimizer that is off is not asked). Level, worth and risk are checked in that order, so
    a shadowed verdict means that it would have been accepted. level: the operator's word over the proposal's own.
    worth: what the change comes to at the provider's prices and with what is in its cache, where that is known; it
    counts in place of what the proposal says of itself.
    """
    if optimize == "off" or (optimize == "safe" and (level or proposal.level) != "safe"):
        return Verdict.NOT_ALLOWED
    if worth is not None:
        if worth.refused:
            return Verdict.QUEUED if worth.waits else Verdict.NOT_WORTH_IT
        if worth.total <= proposal.spent:
            return Verdict.NOT_WORTH_IT
    elif proposal.saving <= proposal.spent and proposal.tokens <= 0:
        return Verdict.NOT_WORTH_IT
    if proposal.risk > risk_left:
        return Verdict.TOO_RISKY
    return Verdict.SHADOWED if mode == "shadow" else Verdict.ACCEPTED


class Pipeline:
    """A Backend made of optimizers over a backend.

    `submit` gets every finished call's Outcome; it must not block (the clerk's queue). One deadline of `propose_s`
    bounds what all optimizers may spend on a call; one that raises or is late is skipped and the call goes on.
    policy: which of them each session gets; None: as the flags say, without a holdout.
    """

    def __init__(
        self,
        optimizers: Sequence[tuple[Optimizer, Flag]],
        backend: Backend,
        *,
        submit: Callable[[Outcome], None],
        clock: Clock,
        propose_s: float = 0.05,
        observers: Sequence[Observer] = (),
        policy: Policy | None = None,
        economy: Economy | None = None,
        gate: bool = True,
    ) -> None:
        """economy: prices changes before they are made; without one, proposals are taken at their word.

        gate: False lets every change through, whatever it costs: for benches that show what the gate is worth.
        """
        self._optimizers = tuple(optimizers)
        self._policy = policy or Policy({optimizer.name: flag for optimizer, flag in optimizers})
        self._backend = backend
        self._submit = submit
        self._clock = clock
        self._propose_s = propose_s
        self._observers = tuple(observers)
        self._economy = economy
        self._gate = gate
        self._sticky = Sticky()

    async def consult(self, call: Call) -> tuple[Call, Response | None]:
        """What optimizers make of the call: the next call with its trail, and an answer if one was accepted.

        Writes nothing and asks no upstream: `explain` and `replay` are this function.
        """
        if call.optimize == "off" or not self._optimizers:
            return call, None
        deadline = asyncio.get_running_loop().time() + self._propose_s
        exposure = self._policy.exposure(call)
        call.facts["arm"] = exposure.arm
        call = self._resume(call)
        for optimizer, flag in self._optimizers:
            mode = exposure.modes.get(optimizer.name, "off")
            if mode == "off":
                continue
            try:
                proposal = await _proposed(optimizer.propose(call), deadline)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and must never cost a request
                log.warning("optimizer failed", extra={"optimizer": optimizer.name, "error": type(error).__name__})
                call = call.note(Step(optimizer.name, Verdict.FAILED, error=type(error).__name__))
                continue
            if proposal is None:
                call = call.note(Step(optimizer.name, Verdict.ABSTAINED))
                continue
            worth = self._weigh(call, proposal)
            verdict = judge(
                proposal, mode=mode, optimize=call.optimize, risk_left=call.risk_left, level=flag.level, worth=worth
            )
            call = call.note(_step(optimizer.name, verdict, proposal, worth))
            if verdict is not Verdict.ACCEPTED:
                continue
            if isinstance(proposal.action, Rewrite):
                by_max = (
                    call.facts.get("rewritten", ("", "safe"))[1] == "max" or (flag.level or proposal.level) == "max"
                )
                call.facts["rewritten"] = (optimizer.name, "max" if by_max else "safe")
                request = _edited(call, proposal.action)
                if self._economy is not None:
                    self._economy.carry(call.request, request, proposal.action.edits, call.facts)
                call = msgspec.structs.replace(call, request=request)
            else:
                call = call.apply(proposal.action)
            call = _spend(call, proposal.risk)
            if isinstance(proposal.action, Answer):
                return call, proposal.action.response
        return call, None

    async def open(self, call: Call) -> Reply:
        """Raises BackendError when nothing could be opened; the outcome is submitted then too."""
        started = call.arrived if call.arrived is not None else self._clock.monotonic()
        call, answer = await self.consult(call)
        added_s = self._clock.monotonic() - started
        reply = _replayed(call, answer) if answer is not None else None
        if reply is not None:
            keep = any(observer.wants(call) for observer in self._observers)
            watch = _Watch(self, call, started, added_s, call.trail[-1].optimizer, keep=keep)
            self._answered(call)
            reply.trail = call.trail
            reply.on_end.append(watch)
            watch.follow(reply)
            return reply
        if answer is not None:
            failed = msgspec.structs.replace(call.trail[-1], verdict=Verdict.FAILED, saving=0, error="unreadable")
            call = msgspec.structs.replace(call, trail=(*call.trail[:-1], failed))
        keep = call.optimize != "off" and any(o.wants_response(call) for o, _ in self._optimizers)
        keep = keep or any(observer.wants(call) for observer in self._observers)
        watch = _Watch(self, call, started, added_s, call.target.provider, keep=keep)
        try:
            reply = await self._backend.open(call)
            if call.rewritten and reply.status in _REFUSED and self._economy is not None:
                call, reply = await self._untouched(call, reply)
                watch.again(call)
        except BaseException as error:
            watch.failed(error)
            raise
        if reply.ok and self._economy is not None:  # now, and not before: the caller waits for the upstream meanwhile
            watch.sent(self._sent(call, self._look(call)))
        reply.trail = (*call.trail, *reply.notes)
        reply.on_end.append(watch)
        watch.follow(reply)
        return reply

    async def _untouched(self, call: Call, refused: Reply) -> tuple[Call, Reply]:
        """An upstream refused what we made of a call: ask with the caller's own, and leave its session alone."""
        call.facts["refused"] = True
        self._sticky.drop(_session(call))
        log.warning("upstream refused a rewritten call", extra={"status": refused.status})
        await refused.aclose()
        trail = tuple(
            msgspec.structs.replace(step, verdict=Verdict.FAILED, saving=0, error="refused_upstream")
            if step.verdict is Verdict.ACCEPTED
            else step
            for step in call.trail
        )
        call = msgspec.structs.replace(call, request=call.original, trail=trail)
        return call, await self._backend.open(call)

    # --- the economy of a call: errors there must never cost a request ----------------------------------------

    def _look(self, call: Call) -> Foreseen | None:
        if self._economy is None:
            return None
        try:
            return self._economy.look(call, at=self._clock.monotonic())
        except Exception as error:  # noqa: BLE001 - see above; a body that cannot be read is the backend's to refuse
            log.warning("a call could not be priced", extra={"error": type(error).__name__})
            return None

    def _weigh(self, call: Call, proposal: Proposal) -> Worth | None:
        if self._economy is None or not self._gate or isinstance(proposal.action, Answer):
            return None
        try:
            return self._economy.weigh(call, proposal, at=self._clock.monotonic())
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("a proposal could not be priced", extra={"error": type(error).__name__})
            return Worth(refused="it could not be priced")

    def _resume(self, call: Call) -> Call:
        """The call with what its session was sent in another form before, in that form."""
        if self._economy is None or not call.identity.session:
            return call
        known = self._sticky.of(_session(call))
        if known is None:
            return call
        try:
            allowed = {name for name, mode in self._policy.exposure(call).modes.items() if mode == "on"}
            if call.optimize == "safe":
                allowed -= {pin.by for pin in known.values() if pin.level == "max"}
            request, used = self._sticky.resume(call.request, known, allowed)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("earlier forms could not be kept", extra={"error": type(error).__name__})
            return call
        for name in dict.fromkeys(pin.by for pin in used):
            call = call.note(Step(name, Verdict.ACCEPTED, why="in the form in which it was first sent"))
        return msgspec.structs.replace(call, request=request) if used else call

    def _sent(self, call: Call, seen: Foreseen | None) -> tuple[Foreseen, Forecast] | None:
        if seen is None or self._economy is None:
            return None
        try:
            at = self._clock.monotonic()
            would_be = self._economy.would_be(seen, at=at)
            self._pin(call)
            return self._economy.sent(call, seen, at=at), would_be
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("a call could not be followed", extra={"error": type(error).__name__})
            return None

    def follow(self, call: Call, usage: Usage) -> Foreseen | None:
        """A call that somebody else sent and that was billed so: learn from it as if it had been ours.

        Gives what was foreseen of it; None: there was nothing to foresee. For replays.
        """
        sent_as = self._sent(call, self._look(call))
        if sent_as is None or self._economy is None:
            return None
        told = msgspec.structs.replace(usage, counted=False)
        self._economy.billed(*sent_as, told, at=self._clock.monotonic())
        return sent_as[0]

    def _pin(self, call: Call) -> None:
        rewritten = call.facts.get("rewritten")
        if rewritten is None or not call.identity.session or call.request is call.original:
            return
        if self._economy is not None and self._economy.reads_alike(call):
            return
        if call.identity.housekeeping == "heartbeat":
            return  # it lives on its session's head and ends with the wake: nothing of its form comes again
        session = _session(call)
        by, level = rewritten
        new = self._sticky.pins(call.original, call.request, by=by, level=level, known=self._sticky.of(session))
        if new:
            self._sticky.keep(session, new)

    def _answered(self, call: Call) -> None:
        """A stored answer: had nobody kept it, the provider would have seen the call."""
        seen = self._look(call)
        if seen is not None and self._economy is not None:
            self._economy.untouched.sent(seen.scope, seen.rules, seen.asked, self._clock.monotonic())

    async def settle(self, outcome: Outcome) -> None:
        """Show a finished call to the observers and let the optimizers learn from it. The clerk calls this."""
        for observer in self._observers:
            await observer.take(outcome)
        if outcome.call.optimize == "off":
            return
        for optimizer, _flag in self._optimizers:
            try:
                await optimizer.settle(outcome)
            except Exception as error:  # noqa: BLE001 - see consult
                log.warning("optimizer failed", extra={"optimizer": optimizer.name, "error": type(error).__name__})


def replay(call: Call, response: Response) -> Reply:
    """A stored answer as the caller asked for it: whole or as a stream, nothing charged."""
    wire = codec(response.wire)
    done = Done(response.done.usage, response.done.finish_reason, charges=())
    headers = tuple(h for h in response.headers if h[0] not in _BODY_HEADERS)
    if not call.request.stream:
        headers += (("content-type", "application/json"),)
        return Reply(response.status, headers, wire=response.wire, content=response.raw, done=done)
    asked = call.original.envelope.stream_options
    include_usage = asked is not None and b'"include_usage"' in bytes(asked) and b"true" in bytes(asked)
    chunks = wire.unfold(response.raw, include_usage=include_usage)
    headers += (("content-type", wire.stream_type()), ("cache-control", "no-cache"))
    return Reply(response.status, headers, wire=response.wire, chunks=Flow(Ready(chunks)), done=done)


def _replayed(call: Call, response: Response) -> Reply | None:
    """The same, or None for a stored answer that cannot be replayed: the upstream is asked then."""
    try:
        return replay(call, response)
    except Exception as error:  # noqa: BLE001 - a damaged store must never cost a request
        log.warning("stored answer is unreadable", extra={"wire": response.wire, "error": type(error).__name__})
        return None


def _step(name: str, verdict: Verdict, proposal: Proposal, worth: Worth | None) -> Step:
    if worth is None:
        return Step(name, verdict, proposal.saving, proposal.spent, proposal.risk, proposal.why)
    why = f"{proposal.why}: {worth.refused}" if worth.refused else proposal.why
    return Step(name, verdict, round(worth.now), proposal.spent, proposal.risk, why)


def _edited(call: Call, rewrite: Rewrite) -> Request:
    """The call's request after the edits; made once, by whoever needs it first."""
    made = call.facts.get("edited")
    if made is not None and made[0] is call.request and made[1] is rewrite.edits:
        return cast(Request, made[2])
    return call.request.edit(rewrite.edits)


def _session(call: Call) -> str:
    return f"{call.identity.tenant}\0{call.identity.session}"


_REFUSED = frozenset((400, 413, 422))
"""What an upstream says of a request that it does not take, whoever sends it again."""

_BODY_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "cache-control"})


async def _proposed(work: Coroutine[Any, Any, T], deadline: float) -> T:
    """The result of `work`, or TimeoutError at the loop time `deadline`.

    Most proposals need no waiting, and a timer costs more than they do: it is set only for one that has to wait.
    """
    try:
        waiting = work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    async with asyncio.timeout_at(deadline):
        return cast(T, await _Begun(work, waiting))


class _Begun:
    """A coroutine that already waits for `waiting`, to be awaited to its end."""

    def __init__(self, work: Coroutine[Any, Any, Any], waiting: Any) -> None:
        self._work = work
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting, work = self._waiting, self._work
        while True:
            try:
                value = yield waiting
            except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
                step = partial(work.throw, error)
            else:
                step = partial(work.send, value)
            try:
                waiting = step()
            except StopIteration as done:
                return done.value


def _spend(call: Call, risk: float) -> Call:
    return msgspec.structs.replace(call, risk_left=call.risk_left - risk) if risk else call


class _Watch:
    """Follows one reply to its end and submits the Outcome, exactly once."""

    def __init__(
        self, pipeline: Pipeline, call: Call, started: float, added_s: float, answered_by: str, *, keep: bool
    ) -> None:
        self._pipeline = pipeline
        self._call = call
        self._started = started
        self._added_s = added_s
        self._answered_by = answered_by
        self._kept: list[bytes] | None = [] if keep else None
        self._ttft_s: float | None = None
        self._error = ""
        self._finished = False
        self._flow: Flow | None = None
        self._streamed = False
        self._sent_as: tuple[Foreseen, Forecast] | None = None

    def again(self, call: Call) -> None:
        """The call went out anew, in another form."""
        self._call = call

    def sent(self, sent_as: tuple[Foreseen, Forecast] | None) -> None:
        """The provider has taken it."""
        self._sent_as = sent_as

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
            self._ttft_s = self._pipeline._clock.monotonic() - self._started
        if self._kept is not None:
            self._kept.append(chunk)

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
        self._send(status, (), Done(complete=False), abandoned=isinstance(error, asyncio.CancelledError))

    def __call__(self, reply: Reply) -> None:
        done = reply.done or Done(complete=False)
        if reply.asked_at is not None:
            again = [step for step in reply.notes if step.optimizer in ("retry", "fallback")]
            if not again:  # else upstreams took the time
                self._added_s = reply.asked_at - self._started
        if self._flow is not None:
            self._finished, self._error = self._flow.ended, self._flow.error
        whole = reply.content is not None and not self._streamed
        response = None
        self._call = self._call.note(*reply.notes) if reply.notes else self._call
        if self._kept is not None and reply.ok and done.complete and (whole or self._finished):
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
        now = self._pipeline._clock.monotonic()
        untouched, read_tokens, warm = self._billed(done, now)
        self._pipeline._submit(
            Outcome(
                call=self._call,
                done=done,
                status=status,
                answered_by=self._answered_by,
                headers=headers,
                response=response,
                ttft_s=self._ttft_s,
                latency_s=now - self._started,
                added_s=self._added_s,
                error=self._error,
                abandoned=abandoned,
                output_text=output_text,
                untouched=untouched,
                foreseen_read_tokens=read_tokens,
                warm=warm,
            )
        )

    def _billed(self, done: Done, now: float) -> tuple[Usage | None, float | None, float | None]:
        """(usage of the call had nobody changed it, cached tokens foreseen, how surely)."""
        economy = self._pipeline._economy
        if self._sent_as is None or economy is None or done.usage is None or len(done.charges) != 1:
            return None, None, None
        seen, would_be = self._sent_as
        try:
            economy.billed(seen, would_be, done.usage, at=now)
            forecast = seen.forecast
            untouched = baseline(done.usage, forecast, would_be) if self._call.rewritten else None
            return untouched, forecast.likely_read_tokens, forecast.warm if forecast.known_to else None
        except Exception as error:  # noqa: BLE001 - what we learn must never cost an answer
            log.warning("a bill could not be learned from", extra={"error": type(error).__name__})
            return None, None, None
