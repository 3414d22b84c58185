"""One experiment: what sessions came to in either arm, the evidence of harm, and the effects with their intervals.

Sessions are the units, since sessions are what is drawn. Each is looked at twice: early, after its first calls, so
that harm is found soon, and as a whole, when it has been silent for a while or is very long. A look is one bet (see
`evidence`), so a session never counts twice for the same look. Pure: rows in, figures out; no clock, no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from ..policy import HOLDOUT, side_of
from .evidence import Bets, Effect, Interval, Scale, by_count, by_standing

__all__ = ["METRICS", "TOTAL", "Arm", "Finding", "Levels", "Margins", "Metric", "Row", "Signal", "Trial"]

TOTAL = ""
"""Name of the experiment that holds all that is on against the holdout."""

EARLY_CALLS = 3
WHOLE_CALLS = 64
IDLE_S = 900.0
OPEN_SESSIONS = 20_000  # followed at once; past it the longest silent is taken as whole

Look = Literal["early", "whole", "said"]


class Metric(msgspec.Struct, frozen=True):
    """An outcome that is tested. `stake`: its part of alpha; those of all metrics add up to 1."""

    name: str
    look: Look
    stake: float
    better: Literal["lower", "higher"] = "lower"
    shown: Literal["points", "ratio"] = "points"  # how an effect reads: a difference, or as a factor

    @property
    def key(self) -> str:
        return f"{self.name} {self.look}"


METRICS = (
    Metric("errors", "early", 0.15),
    Metric("latency", "early", 0.40, shown="ratio"),
    Metric("errors", "whole", 0.15),
    Metric("latency", "whole", 0.04, shown="ratio"),
    Metric("call_cost", "whole", 0.08, shown="ratio"),
    Metric("session_cost", "whole", 0.05, shown="ratio"),
    Metric("tools", "whole", 0.03),
    Metric("reasks", "whole", 0.03),
    Metric("retries", "whole", 0.02),
    Metric("cut", "whole", 0.02),
    Metric("feedback", "said", 0.02, better="higher"),
    Metric("judge", "said", 0.01, better="higher"),
)


class Row(msgspec.Struct, frozen=True):
    """Some calls of one session, as the ledger adds them up. `first` and `last`: rows of the table."""

    tenant: str
    unit: str  # the session, or the call where there is none
    alone: bool  # a call without a session
    arm: str
    model: str  # as asked: what an optimizer sends it to is an outcome
    finish_reason: str
    first: int
    last: int
    calls: int
    failed: int
    answered: int  # came to a proper end: these count for latency
    latency_s: float  # their sum
    cost: int  # PicoUSD, of the priced ones
    priced: int
    retried: int

    @property
    def key(self) -> str:
        return f"{self.tenant}\0{self.unit}"


class Signal(msgspec.Struct, frozen=True):
    """What was said of a call or a session, and in which arm that was. `known`: the unit's first of this kind."""

    key: str
    kind: str
    value: float
    arm: str
    first: int  # row of the session's first receipt
    known: bool = False


_CUT = frozenset({"length", "max_tokens", "content_filter", "refusal", "incomplete", "model_context_window_exceeded"})


class Told(msgspec.Struct, frozen=True):
    """How a Row differs from what is usual for its model, summed over its calls."""

    failed: float
    latency: float  # of the logarithm
    cost: float  # in units of the usual cost of a call


class Levels(msgspec.Struct):
    """What is usual for each model, over all arms: models differ more than any optimizer makes them."""

    failed: dict[str, Scale] = {}
    latency: dict[str, Scale] = {}
    cost: dict[str, Scale] = {}

    def tell(self, row: Row) -> Told:
        latency = math.log(max(row.latency_s / row.answered, 1e-4)) if row.answered else 0.0
        cost = row.cost / row.priced if row.priced else 0.0
        return Told(
            failed=self._against(self.failed, row.model, row.failed / row.calls, 1) * row.calls,
            latency=self._against(self.latency, row.model, latency, row.answered) * row.answered,
            cost=self._ratio(row.model, cost, row.priced) * row.priced,
        )

    def _against(self, scales: dict[str, Scale], model: str, value: float, weight: int) -> float:
        if not weight:
            return 0.0
        usual = _scale(scales, model)
        off = value - usual.mean if usual.count else 0.0
        usual.add(value)
        return off

    def _ratio(self, model: str, cost: float, weight: int) -> float:
        if not weight:
            return 0.0
        usual = _scale(self.cost, model)
        ratio = cost / usual.mean if usual.mean > 0 else 1.0
        usual.add(cost)
        return min(ratio, 100.0) - 1.0


def _scale(scales: dict[str, Scale], name: str) -> Scale:
    """Of that model; past 200 models the others share one."""
    name = name if name in scales or len(scales) < 200 else "*"
    return scales.setdefault(name, Scale(memory=2000))


class Session(msgspec.Struct):
    """One session as far as it came, since the experiment began."""

    treated: bool
    seen: float  # logical seconds
    calls: int = 0
    failed: int = 0
    failed_off: float = 0.0
    answered: int = 0
    latency: float = 0.0
    cost_off: float = 0.0
    cost: int = 0
    priced: int = 0
    retried: int = 0
    cut: int = 0
    reasks: int = 0
    tools: int = 0
    tools_wrong: float = 0.0
    early: bool = False
    whole: bool = False

    def add(self, row: Row, told: Told) -> None:
        self.calls += row.calls
        self.failed += row.failed
        self.failed_off += told.failed
        self.answered += row.answered
        self.latency += told.latency
        self.cost_off += told.cost
        self.cost += row.cost
        self.priced += row.priced
        self.retried += row.retried
        self.cut += row.calls if row.finish_reason in _CUT else 0

    def events(self, metric: str) -> tuple[float, int] | None:
        """(how often it happened, of how many) for a metric that is rare; None for another one."""
        match metric:
            case "tools":
                return self.tools_wrong, self.tools
            case "reasks":
                return self.reasks, self.calls
            case "retries":
                return self.retried, self.calls
            case "cut":
                return self.cut, self.calls
        return None

    def outcome(self, metric: str) -> tuple[float, float] | None:
        """(what is bet on, the effect per call) for one of the others; None where the session has none.

        Errors are bet on as a sum, as in a Poisson likelihood, because a long session tells more of a rate.
        """
        match metric:
            case "errors":
                return self.failed_off, self.failed / self.calls
            case "latency":
                return _both(self.latency / self.answered) if self.answered else None
            case "call_cost":
                return _both(self.cost_off / self.priced) if self.priced else None
            case "session_cost":
                return _both(math.log(self.cost + 1e6)) if self.priced else None  # a millionth of a dollar
        return None


def _both(value: float) -> tuple[float, float]:
    return value, value


class Arm(msgspec.Struct):
    """Plain sums of one arm, to be shown. Money in PicoUSD."""

    sessions: int = 0
    calls: int = 0
    failed: int = 0
    answered: int = 0
    latency_s: float = 0.0
    cost: int = 0
    priced: int = 0
    retried: int = 0
    reasks: int = 0
    tools: int = 0
    tools_wrong: float = 0.0
    up: int = 0
    down: int = 0
    judged: int = 0
    judge: float = 0.0
    finish_reasons: dict[str, int] = {}

    def add(self, row: Row) -> None:
        self.calls += row.calls
        self.failed += row.failed
        self.answered += row.answered
        self.latency_s += row.latency_s
        self.cost += row.cost
        self.priced += row.priced
        self.retried += row.retried
        if row.finish_reason in self.finish_reasons or len(self.finish_reasons) < 30:
            self.finish_reasons[row.finish_reason] = self.finish_reasons.get(row.finish_reason, 0) + row.calls


class Finding(msgspec.Struct, frozen=True):
    """How one metric stands. `odds`: the bettor's highest wealth; `limit`: from which on it is an alarm."""

    metric: Metric
    odds: float
    limit: float
    sessions: int
    treated: int
    effect: Interval | None

    @property
    def alarm(self) -> bool:
        return self.odds >= self.limit


class Margins(msgspec.Struct, frozen=True):
    """How much worse a roll-out may be, at most, before it goes on: upper ends of intervals."""

    errors: float = 0.03  # of all calls
    latency: float = 1.25  # times
    cost: float = 1.05  # times


class Trial(msgspec.Struct):
    """An experiment between two arms. Made anew when the flags that it is about change.

    before: share of the treated in the history that `scales` come from. admits_old: sessions that were there before
    may take part, from `start` on; not where an earlier stage has already shown in which arm they are.
    """

    name: str
    stage: str
    start: int
    q: float  # P(treated)
    before: float = 0.0
    admits_old: bool = True
    noticed: bool = False
    treated: Arm = msgspec.field(default_factory=Arm)
    control: Arm = msgspec.field(default_factory=Arm)
    scales: dict[str, Scale] = {}
    bets: dict[str, Bets] = {}
    effects: dict[str, Effect] = {}
    open: dict[str, Session] = {}

    # --- taking in ------------------------------------------------------------------------------------------

    def side(self, arm: str) -> bool | None:
        """Whether that arm is the treated one here; None: no part of this."""
        if not arm:
            return None
        if self.name == TOTAL:
            return arm != HOLDOUT
        return {"+": True, "-": False}.get(side_of(arm, self.name))

    def take(self, row: Row, told: Told, now: float, earlier: Callable[[Row, int], bool]) -> None:
        """`now`: logical seconds. earlier: whether the row's session has receipts before it, after that row."""
        treated = self.side(row.arm)
        if treated is None or row.first <= self.start:
            return
        session = self.open.pop(row.key, None)
        if session is None:
            if not row.alone and earlier(row, self.start if self.admits_old else 0):
                return
            session = Session(treated, now)
            self._arm(treated).sessions += 1
        if session.treated is treated:
            session.seen = now
            self._arm(treated).add(row)
            if not session.whole:
                session.add(row, told)
            self._look(session, done=row.alone)
        if not row.alone:
            self.open[row.key] = session  # at the end: the first are the longest silent

    def hear(self, signal: Signal) -> None:
        treated = self.side(signal.arm)
        if treated is None or (signal.first <= self.start and not self.admits_old):
            return
        arm, session = self._arm(treated), self.open.get(signal.key)
        open_session = session if session is not None and not session.whole else None
        match signal.kind:
            case "tools":
                arm.tools += 1
                arm.tools_wrong += 1 - signal.value
                if open_session is not None:
                    open_session.tools += 1
                    open_session.tools_wrong += 1 - signal.value
            case "reask":
                arm.reasks += round(signal.value)
                if open_session is not None:
                    open_session.reasks += round(signal.value)
            case "feedback" | "judge":
                if signal.kind == "judge":
                    arm.judged += 1
                    arm.judge += signal.value
                else:
                    arm.up += signal.value > 0
                    arm.down += signal.value < 0
                if not signal.known:  # one word per session
                    self._bet_on_level(_SAID[signal.kind], treated, -signal.value)
                    self._note(_SAID[signal.kind], treated, -signal.value)

    def pass_time(self, now: float) -> None:
        """Sessions that were silent long enough are looked at as wholes and forgotten."""
        while self.open:
            key, session = next(iter(self.open.items()))
            if now - session.seen <= IDLE_S and len(self.open) <= OPEN_SESSIONS:
                return
            self._look(session, done=True)
            del self.open[key]

    def _arm(self, treated: bool) -> Arm:
        return self.treated if treated else self.control

    def _look(self, session: Session, *, done: bool) -> None:
        if not session.early and (done or session.calls >= EARLY_CALLS):
            session.early = True
            self._bet_all("early", session)
        if not session.whole and (done or session.calls >= WHOLE_CALLS):
            session.whole = True
            self._bet_all("whole", session)

    def _bet_all(self, look: Look, session: Session) -> None:
        for metric in _AT[look]:
            rare = session.events(metric.name)
            if rare is not None and rare[1]:
                self._bet_on_count(metric, session.treated, rare[0])
                self._note(metric, session.treated, rare[0] / rare[1])
            elif rare is None and (outcome := session.outcome(metric.name)) is not None:
                self._bet_on_level(metric, session.treated, outcome[0])
                self._note(metric, session.treated, outcome[1])

    def _bet_on_count(self, metric: Metric, treated: bool, count: float) -> None:
        if count and 0.0 < self.q < 1.0:
            self._bettor(metric).place(by_count(count), treated, q=self.q)

    def _bet_on_level(self, metric: Metric, treated: bool, level: float) -> None:
        scale = self.scales.get(metric.key)
        if scale is None:
            scale = self.scales[metric.key] = Scale()
        standing = scale.standing(level)
        if standing is not None and 0.0 < self.q < 1.0:
            bets = self._bettor(metric)
            known = min(1.0, bets.count / min(scale.count, scale.memory))
            mixed = self.before + (self.q - self.before) * known
            bets.place(by_standing(standing, mixed=mixed), treated, q=self.q)
        scale.add(level)

    def _bettor(self, metric: Metric) -> Bets:
        bets = self.bets.get(metric.key)
        if bets is None:
            bets = self.bets[metric.key] = Bets.soon() if metric.look == "early" else Bets()
        return bets

    def _note(self, metric: Metric, treated: bool, outcome: float) -> None:
        effect = self.effects.get(metric.key)
        if effect is None:
            effect = self.effects[metric.key] = Effect()
        effect.add(outcome, treated)

    # --- what it comes to -----------------------------------------------------------------------------------

    def findings(self, *, alpha: float) -> Iterator[Finding]:
        """One per metric that has any sessions. alpha: probability that any of them is ever a false alarm."""
        if not 0.0 < self.q < 1.0:
            return
        for metric in METRICS:
            effect = self.effects.get(metric.key)
            if effect is None:
                continue
            bets = self.bets.get(metric.key)
            yield Finding(
                metric,
                odds=1.0 if bets is None else math.exp(min(bets.peak, 50.0)),
                limit=1 / (metric.stake * alpha),
                sessions=effect.count,
                treated=effect.treated.count,
                effect=_shown(metric, effect.interval(q=self.q, alpha=alpha)),
            )

    def harm(self, *, alpha: float) -> Finding | None:
        """The strongest alarm, if there is one."""
        alarms = [finding for finding in self.findings(alpha=alpha) if finding.alarm]
        return max(alarms, key=lambda finding: finding.odds / finding.limit, default=None)

    def may_grow(self, margins: Margins, *, alpha: float) -> Mapping[str, float] | None:
        """The upper ends of the effects if all of them are within the margins, else None.

        Errors and latency must be known; cost too, wherever calls have a price.
        """
        highest = {
            finding.metric.name: finding.effect.high
            for finding in self.findings(alpha=alpha)
            if finding.metric.look == "whole" and finding.effect is not None
        }
        limits = {"errors": margins.errors, "latency": margins.latency}
        if self.treated.priced or self.control.priced:
            limits["call_cost"] = margins.cost
        if any(highest.get(name, math.inf) > limit for name, limit in limits.items()):
            return None
        return {f"{name}_at_most": highest[name] for name in limits}


def _shown(metric: Metric, effect: Interval | None) -> Interval | None:
    """As people read it: factors for ratios, and better is up for what callers and judges say."""
    if effect is None:
        return None
    if metric.better == "higher":
        return Interval(-effect.estimate, -effect.high, -effect.low)
    if metric.shown == "points":
        return effect
    if metric.name == "call_cost":  # a multiple of the usual cost; the others are logarithms
        return Interval(1 + effect.estimate, 1 + effect.low, 1 + effect.high)
    limit = 20.0
    return Interval(*(math.exp(max(-limit, min(limit, value))) for value in msgspec.structs.astuple(effect)))


_AT: Mapping[Look, tuple[Metric, ...]] = {
    look: tuple(metric for metric in METRICS if metric.look == look) for look in ("early", "whole", "said")
}
_SAID: Mapping[str, Metric] = {metric.name: metric for metric in _AT["said"]}
