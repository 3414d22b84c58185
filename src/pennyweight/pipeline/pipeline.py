"""The one way through: ask the optimizers, judge what they propose, open the backend, hand the outcome to the clerk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import takewhile
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ..call import (
    GOING,
    KEPT,
    REFUSED,
    SAID,
    Action,
    Answer,
    Call,
    Outcome,
    Proposal,
    Rewrite,
    Route,
    Step,
    Target,
    Verdict,
)
from ..economy import REFERENCE, Economy, Foreseen, Worth, apart
from ..economy import concerns as priced
from ..flow import Begun
from ..hits import AGAIN
from ..policy import Exposure, Flag, Level, Policy
from ..protocols import Backend, Clock, Observer, Optimizer
from ..references import UNCHANGED
from ..request import Charge, Operation, Reply, Request, Response, Usage
from ..sticky import Sticky
from ..warmth import Forecast
from .judging import judge, step_of
from .replaying import replayed
from .twins import Twins
from .watch import Home, Watch

log = logging.getLogger(__name__)

__all__ = ["Pipeline"]

T = TypeVar("T")


class _Asked(NamedTuple):
    """An optimizer as it is asked for the sessions of one arm; `nothing` is noted where it has nothing to offer.

    concerns: tells calls that it has nothing to do with, for less than asking it costs; None: it has no such word.
    """

    optimizer: Optimizer
    flag: Flag
    mode: str
    nothing: Step
    concerns: Callable[[Call], bool] | None


class _Ahead(NamedTuple):
    """What was foreseen of a call when it had just been sent, and of which form of it."""

    request: Request
    target: Target
    reference: Target | None
    seen: Foreseen
    would_be: Forecast

    def is_of(self, call: Call) -> bool:
        same = self.request is call.request and self.target is call.target
        return same and self.reference is call.facts.get(REFERENCE)


class _Plan(msgspec.Struct, frozen=True, eq=False):
    """Who is asked for the sessions of one arm, in which order. looks: the words `concerns` of the first of them, up to
    who has none. nothing: the steps of all, where nobody has anything to offer, and `places` where each one's stands;
    trails: the same with what some told of themselves, as most calls of an arm have it.
    """

    exposure: Exposure
    asked: Sequence[_Asked]
    looks: Sequence[Callable[[Call], bool]]
    nothing: tuple[Step, ...]
    places: Mapping[str, int]
    trails: dict[tuple[Step, ...], Sequence[Step]]


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
        self._abstained = {optimizer.name: Step(optimizer.name, Verdict.ABSTAINED) for optimizer, _ in optimizers}
        self._policy = policy or Policy({optimizer.name: flag for optimizer, flag in optimizers})
        self._backend = backend
        self._submit = submit
        self._clock = clock
        self._propose_s = propose_s
        self._observers = tuple(observers)
        self._learners = tuple((optimizer, getattr(optimizer, "learns_from", None)) for optimizer, _ in optimizers)
        # Those that may want an answer: whoever never does is not asked with every call.
        self._keepers = tuple(one for one, _ in optimizers if getattr(one, "wants_responses", True))
        self._lookers = tuple(one for one in observers if getattr(one, "wants_responses", True))
        self._economy = economy
        self._gate = gate
        self._home = Home(submit, clock, economy)
        self._sticky = Sticky()
        self._twins = Twins()
        self._opening = 0  # calls that wait for their upstream to begin its answer
        self._put_off: tuple[asyncio.TimerHandle, Call] | None = None
        self._plans: dict[str, _Plan] = {}  # of the last exposure of each arm

    async def consult(self, call: Call) -> tuple[Call, Response | None]:
        """What optimizers make of the call: the next call with its trail, and an answer if one was accepted.

        Writes nothing and asks no upstream: `explain` and `replay` are this function.
        """
        if call.optimize == "off" or not self._optimizers:
            return call, None
        begun = monotonic()  # the loop has a clock of its own, and looking for the loop costs a system call
        exposure = self._policy.exposure(call)
        facts = call.facts
        facts["arm"] = exposure.arm
        session = _session(call) if call.identity.session else ""
        alone = False
        if session and self._sticky.knows(session):
            alone = self._sticky.left(session)
            call = self._resume(call, exposure, session)
        plan = self._plans.get(exposure.arm)
        if plan is None or plan.exposure is not exposure:
            plan = self._planned(exposure)
        quiet = 0  # of how many of the first ones it is no business
        for look in plan.looks:
            if look(call):
                break
            quiet += 1
        if quiet == len(plan.asked):
            return call.note(*_unasked(plan, quiet, facts)), None
        said = [*_unasked(plan, quiet, facts)]  # noted in one go before the call is changed, and at the end
        for optimizer, flag, mode, nothing, concerns in plan.asked[quiet:]:
            if concerns is not None and not concerns(call):
                said.append(facts[SAID].get(nothing.optimizer, nothing) if SAID in facts else nothing)
                continue
            try:
                work = optimizer.propose(call)
                try:  # most need no waiting, and a timer costs more than they do
                    waiting = work.send(None)
                except StopIteration as done:
                    proposal = done.value
                else:
                    proposal = await _proposed(work, waiting, begun + self._propose_s - monotonic())
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and must never cost a request
                log.warning("optimizer failed", extra={"optimizer": optimizer.name, "error": type(error).__name__})
                said.append(Step(optimizer.name, Verdict.FAILED, error=type(error).__name__))
                continue
            if proposal is None:
                said.append(facts[SAID].get(nothing.optimizer, nothing) if SAID in facts else nothing)
                continue
            worth = _LEFT_ALONE if alone and isinstance(proposal.action, Rewrite) else self._weigh(call, proposal)
            verdict = judge(
                proposal, mode=mode, optimize=call.optimize, risk_left=call.risk_left, level=flag.level, worth=worth
            )
            step = step_of(optimizer.name, verdict, proposal, worth)
            if verdict is not Verdict.ACCEPTED:
                said.append(step)
                continue
            try:
                changed = self._changed(call, proposal.action)
            except Exception as error:  # noqa: BLE001 - an edit may name a place that is not there
                log.warning("a change failed", extra={"optimizer": optimizer.name, "error": type(error).__name__})
                said.append(Step(optimizer.name, Verdict.FAILED, error=type(error).__name__))
                continue
            if isinstance(proposal.action, Rewrite):
                _remember(call, optimizer.name, flag.level or proposal.level)
                if proposal.restores:  # then what followed it in another form stands behind the same prefix again
                    changed = self._resume(changed, exposure, session)
            call = _spend(changed.note(*said, step), proposal.risk)
            said = []
            if isinstance(proposal.action, Answer):
                return call, proposal.action.response
        return call.note(*said) if said else call, None

    def _planned(self, exposure: Exposure) -> _Plan:
        """The optimizers that are not off, with what is the same for each call."""
        modes = exposure.modes
        asked = [
            _Asked(
                optimizer,
                flag,
                modes[optimizer.name],
                self._abstained[optimizer.name],
                getattr(optimizer, "concerns", None),
            )
            for optimizer, flag in self._optimizers
            if modes.get(optimizer.name, "off") != "off"
        ]
        looks = [one.concerns for one in takewhile(lambda one: one.concerns is not None, asked)]
        nothing = tuple([one.nothing for one in asked])
        places = {step.optimizer: place for place, step in enumerate(nothing)}
        plan = _Plan(exposure, asked, cast("list[Callable[[Call], bool]]", looks), nothing, places, {})
        if len(self._plans) >= _ARMS:
            self._plans.clear()
        self._plans[exposure.arm] = plan
        return plan

    def _changed(self, call: Call, action: Action) -> Call:
        """The call after an accepted action. Raises whatever the action's edits do."""
        if isinstance(action, Route):
            reference = call.facts.setdefault(REFERENCE, call.target)
            call.facts[GOING] = action.target
            if action.target != reference:
                action = msgspec.structs.replace(action, params=(*apart(call.request), *action.params))
        if not isinstance(action, Rewrite):
            return call.apply(action)
        request = _edited(call, action)
        if self._economy is not None:
            self._economy.carry(call.request, request, action.edits, call.facts)
        return msgspec.structs.replace(call, request=request)

    async def open(self, call: Call) -> Reply:
        """Raises BackendError when nothing could be opened; the outcome is submitted then too."""
        started = call.arrived if call.arrived is not None else self._clock.monotonic()
        asked = call
        place = None  # among its equals, which nobody looks for where nothing is made of a call
        if self._optimizers and call.identity.session and priced(call):
            place = self._twins.enter(call)
        try:
            call, answer = await self.consult(call)
            if place is not None and answer is None:
                call = place.asked(call)
            added_s = self._clock.monotonic() - started
            if answer is not None:
                reply = replayed(call, answer)
                if reply is not None:
                    keep = self._observed(call)
                    watch = Watch(self._home, call, started, added_s, call.trail[-1].optimizer, keep=keep)
                    self._answered(call)
                    if place is not None:
                        place.ended()
                    call.facts[KEPT] = True
                    reply.trail = call.trail
                    reply.on_end.append(watch)
                    watch.follow(reply)
                    return reply
                failed = msgspec.structs.replace(call.trail[-1], verdict=Verdict.FAILED, saving=0, error="unreadable")
                call = msgspec.structs.replace(call, trail=(*call.trail[:-1], failed))
            keep = self.keeps(call)
            observed = self._observed(call)
            watch = Watch(
                self._home, call, started, added_s, call.target.provider, keep=keep or observed, observed=observed
            )
            try:
                work = self._backend.open(call)
                reply = await (self._opened(work, call) if self._economy is not None and priced(call) else work)
                if reply.status in _REFUSED and call.rewritten and self._economy is not None:
                    call, reply = await self._untouched(asked, call, reply, watch)
            except BaseException as error:
                watch.failed(error)
                raise
            if UNCHANGED in call.facts:
                call = msgspec.structs.replace(call, request=call.original)
                watch.again(call)
            if self._economy is not None and 200 <= reply.status < 300 and (priced(call) or "rewritten" in call.facts):
                elsewhere = _fell_back(reply)
                if reply.chunks is None:  # who waits for it gets it first
                    watch.sent_as(lambda: self._sent(call, elsewhere=elsewhere))
                else:
                    watch.sent(self._sent(call, elsewhere=elsewhere))
            reply.trail = (*call.trail, *reply.notes) if reply.notes else call.trail
            if place is not None:
                reply.on_end.append(place.ended)
            reply.on_end.append(watch)
            if reply.chunks is not None:
                watch.follow(reply)
            return reply
        except BaseException:
            if place is not None:
                place.ended()
            raise

    def again(self, call: Call) -> bool:
        """Whether a call may be given the answer that one like it was given from a store, byte for byte, without being
        consulted on: nobody wants to see it. If so, what such an answer means for caches is noted."""
        if self._observed(call):
            return False
        self._answered(call)
        return True

    def _observed(self, call: Call) -> bool:
        for observer in self._lookers:  # noqa: SIM110 - a generator costs as much as the asking, with every call
            if observer.wants(call):
                return True
        return False

    def keeps(self, call: Call) -> bool:
        """Whether an optimizer wants to see the answer to this call: a cache, to keep it."""
        if call.optimize == "off":
            return False
        for optimizer in self._keepers:  # noqa: SIM110 - see `_observed`
            if optimizer.wants_response(call):
                return True
        return False

    async def _untouched(self, asked: Call, call: Call, refused: Reply, watch: Watch) -> tuple[Call, Reply]:
        """An upstream refused what we made of a call: ask with the caller's own. If it takes that, it was our doing:
        the session is left alone from then on."""
        log.warning("upstream refused a rewritten call", extra={"status": refused.status})
        await refused.aclose()
        trail = tuple(
            msgspec.structs.replace(step, verdict=Verdict.FAILED, saving=0, error="refused_upstream")
            if step.verdict is Verdict.ACCEPTED
            else step
            for step in call.trail
        )
        call = msgspec.structs.replace(
            call, request=call.original, target=asked.target, credential=asked.credential, rungs=None, trail=trail
        )
        call.facts[REFUSED] = True
        watch.again(call)
        reply = await self._backend.open(call)
        if reply.ok and call.identity.session:
            self._sticky.leave(_session(call))
        return call, reply

    # --- the economy of a call: errors there must never cost a request ----------------------------------------

    async def _opened(self, work: Coroutine[Any, Any, Reply], call: Call) -> Reply:
        """What `work` opens. The call is looked at when it was sent, while its provider works: what is told then is
        what the provider's cache held when it was asked. Where it is the only one, that is put off for a moment, so
        that a provider on this machine need not wait for us, nor an answer that comes within it."""
        try:
            waiting = work.send(None)
        except StopIteration as done:
            return cast(Reply, done.value)
        self._opening += 1
        put_off = None
        try:
            if self._opening == 1:
                put_off = asyncio.get_running_loop().call_later(_MOMENT_S, self._look_late)
                self._put_off = put_off, call
            else:  # what it is about is still in the processor's caches
                self._look_late()
                self._look_ahead(call)
            return cast(Reply, await Begun(work, waiting))
        finally:
            self._opening -= 1
            if put_off is not None:
                put_off.cancel()
                if self._put_off is not None and self._put_off[0] is put_off:
                    self._put_off = None

    def _look_late(self) -> None:
        """Look at the call of which that was put off, if it still waits. In the order in which calls were sent."""
        if self._put_off is not None:
            put_off, call = self._put_off
            self._put_off = None
            put_off.cancel()
            self._look_ahead(call)

    def _look_ahead(self, call: Call) -> None:
        foreseen = self._foresee(call)
        if foreseen is not None:
            call.facts[_AHEAD] = _Ahead(call.request, call.target, call.facts.get(REFERENCE), *foreseen)

    def _foreseen(self, call: Call) -> tuple[Foreseen, Forecast] | None:
        """What was foreseen of the call when it was sent; if it was another then, of what it is now."""
        ahead: _Ahead | None = call.facts.get(_AHEAD)
        if ahead is not None and ahead.is_of(call):
            return ahead.seen, ahead.would_be
        return self._foresee(call) if priced(call) else None

    def _foresee(self, call: Call) -> tuple[Foreseen, Forecast] | None:
        return None if self._economy is None else self._told(self._economy.foresee, call)

    def _told(self, tell: Callable[..., T | None], call: Call) -> T | None:
        """What the economy tells of the call at this moment."""
        try:
            return tell(call, at=self._clock.monotonic())
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

    def _resume(self, call: Call, exposure: Exposure, session: str) -> Call:
        """The call with what its session was sent in another form before, in that form."""
        if not session or self._economy is None or call.request.operation is not Operation.GENERATE:
            return call
        known = self._sticky.of(session)
        if known is None:
            return call
        try:
            allowed = {name for name, mode in exposure.modes.items() if mode == "on"}
            level: Level = "safe" if call.optimize == "safe" else "max"
            request, used = self._sticky.resume(call.request, known, allowed, level=level)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("earlier forms could not be kept", extra={"error": type(error).__name__})
            return call
        told = {step.optimizer for step in call.trail if step.why == _AS_FIRST_SENT}
        for name in dict.fromkeys(pin.by for pin in used if pin.by not in told):
            call = call.note(Step(name, Verdict.ACCEPTED, why=_AS_FIRST_SENT))
        return msgspec.structs.replace(call, request=request) if used else call

    def _sent(self, call: Call, *, elsewhere: bool = False) -> tuple[Foreseen, Forecast] | None:
        """Note that a provider took the call. elsewhere: another than was asked, of whose cache nothing is known."""
        if self._economy is None:
            return None
        try:
            self._pin(call)
            foreseen = self._foreseen(call)
            if foreseen is None:
                return None
            seen, would_be = foreseen
            at = self._clock.monotonic()
            if elsewhere and not seen.chosen:
                self._economy.lost_sight(seen, at=at)
                return None
            self._economy.routes.went(call, seen, would_be, at=at)
            if elsewhere:
                self._economy.lost_sight(seen, at=at)
                return foreseen
            return self._economy.sent(seen, at=at), would_be
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("a call could not be followed", extra={"error": type(error).__name__})
            return None

    def follow(self, call: Call, usage: Usage) -> Foreseen | None:
        """A call that somebody else sent and that was billed so: learn from it as if it had been ours.

        Gives what was foreseen of it; None: there was nothing to foresee. For replays.
        """
        sent_as = self._sent(call)
        if sent_as is None or self._economy is None:
            return None
        told = msgspec.structs.replace(usage, counted=False)
        at = self._clock.monotonic()
        self._economy.billed(*sent_as, told, at=at)
        if sent_as[0].chosen:
            charge = Charge(call.target.provider, call.target.model, told, call.at)
            self._economy.routes.came_to(call, *sent_as, (charge,), at=at)
        return sent_as[0]

    def _pin(self, call: Call) -> None:
        rewritten = call.facts.get("rewritten")
        if rewritten is None or not call.identity.session or call.request is call.original:
            return
        session = _session(call)
        known = self._sticky.of(session)
        if known is None and self._economy is not None and self._economy.reads_alike(call):
            return
        if call.identity.housekeeping == "heartbeat":
            return  # it lives on its session's head and ends with the wake: nothing of its form comes again
        by, level = rewritten
        new = self._sticky.pins(call.original, call.request, by=by, level=level, known=known)
        if new:
            self._sticky.keep(session, new)

    def _answered(self, call: Call) -> None:
        """A stored answer: had nobody kept it, the provider would have seen the call."""
        if self._economy is None or not priced(call):
            return
        seen = self._told(self._economy.look, call)
        if seen is None:
            return
        try:
            self._economy.untouched.sent(*seen.home, seen.asked, self._clock.monotonic())
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("a call could not be followed", extra={"error": type(error).__name__})

    async def settle(self, outcome: Outcome) -> None:
        """Show a finished call to the observers and let the optimizers learn from it."""
        await self.settle_all((outcome,))

    async def settle_all(self, outcomes: Sequence[Outcome]) -> None:
        """The same for many at once, which costs far less for each. The clerk calls this."""
        if self._economy is not None:
            self._economy.settle(one.call for one in outcomes)
        for observer in self._observers:
            try:
                await observer.take(outcomes)
            except Exception as error:  # noqa: BLE001 - one that looks on must not keep others from learning
                log.warning("an observer failed", extra={"error": type(error).__name__})
        # Of a call that was answered again, all that there is to learn was learnt from the first.
        ours = [one for one in outcomes if one.call.optimize != "off" and AGAIN not in one.call.facts]
        for optimizer, learns_from in self._learners if ours else ():
            try:
                chosen = ours if learns_from is None else learns_from(ours)
            except Exception as error:  # noqa: BLE001 - see consult
                _log_failed(optimizer, error)
                continue
            for outcome in chosen:
                try:
                    await optimizer.settle(outcome)
                except Exception as error:  # noqa: BLE001 - see consult
                    _log_failed(optimizer, error)


def _unasked(plan: _Plan, count: int, facts: Mapping[str, Any]) -> Sequence[Step]:
    """What the trail tells of the first ones that were not asked: nothing to offer, or why not."""
    told = facts.get(SAID)
    if told is None:
        return plan.nothing[:count]
    steps = tuple(told.values())
    said = plan.trails.get(steps)
    if said is None:
        said = [*plan.nothing]
        for name, step in told.items():
            if name in plan.places:
                said[plan.places[name]] = step
        if len(plan.trails) >= _TRAILS:
            plan.trails.clear()
        plan.trails[steps] = said
    return said if count == len(said) else said[:count]


_ARMS, _TRAILS = 64, 64


def _log_failed(optimizer: Optimizer, error: Exception) -> None:
    log.warning("optimizer failed", extra={"optimizer": optimizer.name, "error": type(error).__name__})


def _remember(call: Call, optimizer: str, level: Level) -> None:
    """Note who rewrote the call, and how far all who did went, for those who keep it in that form."""
    earlier = call.facts.get("rewritten", ("", "safe"))[1]
    call.facts["rewritten"] = (optimizer, "max" if "max" in (earlier, level) else "safe")


def _fell_back(reply: Reply) -> bool:
    """Whether another target than the call's own answered it, or its Batch API, whose cache is another matter."""
    return bool(reply.notes) and any(s.optimizer in _ELSEWHERE and s.verdict is Verdict.ACCEPTED for s in reply.notes)


_ELSEWHERE = ("fallback", "escalated", "lanes")


def _edited(call: Call, rewrite: Rewrite) -> Request:
    """The call's request after the edits; made once, by whoever needs it first."""
    made = call.facts.get("edited")
    if made is not None and made[0] is call.request and made[1] is rewrite.edits:
        return cast(Request, made[2])
    return call.request.edit(rewrite.edits)


def _session(call: Call) -> str:
    return f"{call.identity.tenant}\0{call.identity.session}"


_MOMENT_S = 0.001
"""After which a call that was sent is looked at: by then it has been written, and no provider has answered yet."""

_AHEAD = "ahead"
"""The key of `Call.facts` under which stands what was foreseen of the call when it was sent."""

_AS_FIRST_SENT = "in the form in which it was first sent"
_LEFT_ALONE = Worth(refused="its upstream has refused a rewritten call of this session")


_REFUSED = frozenset((400, 413, 422))
"""What an upstream says of a request that it does not take, whoever sends it again."""


async def _proposed(work: Coroutine[Any, Any, T], waiting: Any, left_s: float) -> T:
    """The result of `work`, which waits for `waiting`; TimeoutError after `left_s`."""
    async with asyncio.timeout(left_s):
        return cast(T, await Begun(work, waiting))


def _spend(call: Call, risk: float) -> Call:
    return msgspec.structs.replace(call, risk_left=call.risk_left - risk) if risk else call
