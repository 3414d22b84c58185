"""Recorded traffic through the pipeline without a network: what each call cost, and what it would have cost.

Before: what the provider reported, else what a model of its prompt cache and a count of the texts come to (`counted`).
After: the same for the request as the optimizers left it. Where a call was changed, the difference between the two
simulations is applied to the reported usage, so that only the difference rests on the model. An answer from a cache
costs what finding it cost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ..call import Call, Identity, Optimize, Outcome, Step, Target, Verdict
from ..capture.format import Recorded
from ..economy import Foreseen
from ..money import PicoUSD
from ..request import Charge, Done, Request, Response, Usage, Wire
from ..testing import shapes
from ..testing.prefix_cache import PrefixCache, TooManyBreakpoints
from ..warmth import Forecast

__all__ = ["Billing", "Engine", "Line", "Replay", "TapeClock", "Totals", "accepted", "run", "total"]


class TapeClock:
    """A clock that shows the time of the recording. `wind` moves it; it does not run by itself."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def wind(self, to: float) -> None:
        """Never back: recordings may hold calls that overlapped."""
        self._now = max(self._now, to)


class Billing(Protocol):
    """What a provider bills of a prompt, and remembers of it: a PrefixCache, or one that is out of luck."""

    def account(self, wire: Wire, body: Mapping[str, Any], *, at: float) -> Usage: ...


class Engine(msgspec.Struct, frozen=True):
    """What a replay needs of an App: how it asks its optimizers, where calls go, what they cost."""

    consult: Callable[[Call], Awaitable[tuple[Call, Response | None]]]
    follow: Callable[[Call, Usage], Foreseen | None]
    settle: Callable[[Outcome], Awaitable[None]]
    resolve: Callable[[str, Wire], Target]
    identify: Callable[[Request], Identity]
    cost: Callable[[Charge], PicoUSD | None]
    count: Callable[[str], int]
    advance: Callable[[float], None]  # moves the App's clock to these unix seconds


class Line(msgspec.Struct, frozen=True):
    """One replayed call. Money in PicoUSD, None without a price. `counted`: its usage is simulated, not reported."""

    session: str
    agent: str
    model: str
    usage: Usage  # as it would be after
    before: PicoUSD | None
    after: PicoUSD | None
    counted: bool
    answered_by: str = ""
    steps: tuple[Step, ...] = ()
    estimated_input_tokens: int = 0
    forecast: Forecast | None = None  # of the call as it went out


class Totals(msgspec.Struct, frozen=True):
    """Of many calls. `baseline` and `cost` cover the priced ones."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    baseline: PicoUSD = 0
    cost: PicoUSD = 0
    counted: int = 0
    unpriced: int = 0
    answered: int = 0

    @property
    def priced(self) -> int:
        return self.calls - self.unpriced

    @property
    def saved(self) -> PicoUSD:
        return self.baseline - self.cost


class Replay(msgspec.Struct, frozen=True):
    lines: tuple[Line, ...]
    skipped: int = 0  # calls that failed when they were recorded: nobody billed them


class _Sides:
    """The provider's prompt cache with and without us."""

    def __init__(self, count: Callable[[str], int], cache: Callable[[Callable[[str], int]], Billing]) -> None:
        self.count = count
        self._before = cache(count)
        self._after = cache(count)

    def before(self, call: Recorded, at: float) -> Usage:
        return _account(self._before, call.wire, call.body, at)

    def after(self, request: Request, at: float) -> Usage:
        return _account(self._after, request.wire, request.body, at)

    def output_tokens(self, call: Recorded) -> int:
        if call.answer is None:
            return 0
        return sum(map(self.count, shapes.output_texts(call.wire, call.answer)))


async def run(
    calls: Sequence[Recorded],
    engine: Engine,
    *,
    optimize: Optimize,
    progress: Callable[[int], None] = lambda _n: None,
    cache: Callable[[Callable[[str], int]], Billing] = PrefixCache,
) -> Replay:
    """Replays calls in the order of their times. `progress` is told after each how many are done.

    cache: makes a provider's prompt cache from a counter of tokens; asked twice, for before and after.
    """
    sides = _Sides(engine.count, cache)
    lines: list[Line] = []
    skipped = 0
    start = min((call.at for call in calls if call.at), default=1_800_000_000.0)
    for number, call in enumerate(calls, 1):
        if 200 <= call.status < 300:
            lines.append(await _one(call, call.at or start + call.t, engine, sides, optimize, number))
        else:
            skipped += 1
        progress(number)
    return Replay(tuple(lines), skipped)


async def _one(recorded: Recorded, at: float, engine: Engine, sides: _Sides, optimize: Optimize, number: int) -> Line:
    engine.advance(at)
    request = recorded.request
    target = engine.resolve(request.model, request.wire)
    identity = engine.identify(request)
    if not identity.session or identity.session_source == "derived":
        identity = msgspec.structs.replace(identity, session=recorded.session or identity.session)
    call = Call(f"replay_{number}", identity, request, request, target, at, optimize)
    simulated = sides.before(recorded, at)
    simulated = msgspec.structs.replace(simulated, output_tokens=sides.output_tokens(recorded), counted=True)
    usage = recorded.usage or simulated
    call, answer = await engine.consult(call)
    spent = sum(step.spent for step in call.trail)
    before = engine.cost(Charge(target.provider, target.model, usage, at))
    line = Line(
        session=identity.session,
        agent=identity.agent,
        model=request.model,
        usage=usage,
        before=before,
        after=before,
        counted=recorded.usage is None,
        steps=call.trail,
        estimated_input_tokens=simulated.input_tokens,
    )
    if answer is not None:
        await engine.settle(Outcome(call, answer.done, 200, answered_by=call.trail[-1].optimizer))
        return msgspec.structs.replace(
            line,
            usage=Usage(),
            after=None if before is None else spent,
            answered_by=call.trail[-1].optimizer,
        )
    changed = sides.after(call.request, at)
    after_usage = _shift(usage, simulated, changed)
    charge = Charge(call.target.provider, call.target.model, after_usage, at)
    cost = engine.cost(charge)
    seen = engine.follow(call, after_usage)
    done = Done(after_usage, _finish_reason(recorded), (charge,))
    response = recorded.response
    if response is not None:
        response = msgspec.structs.replace(response, done=done)
    await engine.settle(Outcome(call, done, 200, answered_by=target.provider, response=response))
    return msgspec.structs.replace(
        line,
        usage=after_usage,
        after=None if cost is None else cost + spent,
        forecast=None if seen is None else seen.forecast,
    )


def _shift(usage: Usage, before: Usage, after: Usage) -> Usage:
    """`usage` moved by what the simulation says the change does; no figure falls below 0."""

    return msgspec.structs.replace(
        usage,
        input_tokens=_moved(usage.input_tokens, before.input_tokens, after.input_tokens),
        cache_read_tokens=_moved(usage.cache_read_tokens, before.cache_read_tokens, after.cache_read_tokens),
        cache_write_5m_tokens=_moved(
            usage.cache_write_5m_tokens, before.cache_write_5m_tokens, after.cache_write_5m_tokens
        ),
        cache_write_1h_tokens=_moved(
            usage.cache_write_1h_tokens, before.cache_write_1h_tokens, after.cache_write_1h_tokens
        ),
    )


def _moved(reported: int, before: int, after: int) -> int:
    return max(reported + after - before, 0)


def _finish_reason(call: Recorded) -> str | None:
    if call.answer is None:
        return None
    match call.wire:
        case Wire.ANTHROPIC_MESSAGES:
            reason = call.answer.get("stop_reason")
        case Wire.OPENAI_RESPONSES:
            reason = call.answer.get("status")
        case Wire.OLLAMA:
            reason = call.answer.get("done_reason")
        case Wire.OPENAI_CHAT:
            choices = call.answer.get("choices") or [{}]
            reason = choices[0].get("finish_reason")
    return reason if isinstance(reason, str) else None


def _account(cache: Billing, wire: Wire, body: dict[str, Any], at: float) -> Usage:
    try:
        return cache.account(wire, body, at=at)
    except TooManyBreakpoints:
        return Usage()  # the provider would have refused it, and billed nothing


def total(lines: Sequence[Line]) -> Totals:
    priced = [line for line in lines if line.before is not None and line.after is not None]
    return Totals(
        calls=len(lines),
        input_tokens=sum(line.usage.input_tokens for line in lines),
        cached_tokens=sum(line.usage.cache_read_tokens for line in lines),
        output_tokens=sum(line.usage.output_tokens for line in lines),
        baseline=sum(line.before or 0 for line in priced),
        cost=sum(line.after or 0 for line in priced),
        counted=sum(line.counted for line in lines),
        unpriced=len(lines) - len(priced),
        answered=sum(bool(line.answered_by) for line in lines),
    )


def accepted(lines: Sequence[Line]) -> dict[str, int]:
    """How often each optimizer's proposal was accepted."""
    found: dict[str, int] = {}
    for line in lines:
        for step in line.steps:
            if step.verdict is Verdict.ACCEPTED:
                found[step.optimizer] = found.get(step.optimizer, 0) + 1
    return found
