"""The loop that acts on experiments: takes harm back, lets roll-outs grow, and says what it did with the figures.

It looks every few seconds at what is new in the ledger, off the request path, on a connection of its own. What the
operator set by hand it leaves alone. `decide` is the whole rule, and pure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import StoreError
from ..policy import HOLDOUT, STEPS, Change, InForce, Policy
from ..protocols import Clock
from .experiment import TOTAL, Arm, Finding, Margins, Trial
from .reading import is_made, reading
from .signals import Rows, Said
from .trials import Trials, advance, kept, restored

log = logging.getLogger(__name__)

__all__ = ["Decision", "Loop", "LoopSettings", "decide", "report"]


class LoopSettings(msgspec.Struct, frozen=True):
    """alpha: probability that a stage of an experiment ever raises an alarm though nothing is wrong."""

    every_s: float = 2.0
    alpha: float = 0.05
    margins: Margins = Margins()
    save_s: float = 30.0
    act: bool = True  # False: only measure


class Decision(msgspec.Struct, frozen=True):
    """What the evidence says about one optimizer. "notice": the operator's hand is on it, so nothing is changed."""

    optimizer: str
    act: Literal["rollback", "grow", "notice"]
    share: float
    reason: str
    figures: dict[str, float]
    trial: str


def decide(trials: Trials, policy: Policy, settings: LoopSettings) -> Iterator[Decision]:
    """What should be done now. Harm found against the holdout is laid to all that are on for everybody."""
    for name, trial in trials.trials.items():
        found = trial.harm(alpha=settings.alpha)
        if found is not None:
            for optimizer in _blamed(name, policy):
                held = policy.held(optimizer)
                if held and trial.noticed:
                    continue
                share = policy.in_force(optimizer).share
                act: Literal["notice", "rollback"] = "notice" if held else "rollback"
                yield Decision(optimizer, act, share, _harm(found, trial), _figures(found, trial), name)
        elif name != TOTAL and not policy.held(name):
            grown = _grown(name, trial, policy, settings)
            if grown is not None:
                yield grown


def _blamed(trial: str, policy: Policy) -> list[str]:
    if trial != TOTAL:
        return [trial]
    return [name for name, now in _acting(policy) if now.share >= 1.0]


def _acting(policy: Policy) -> Iterator[tuple[str, InForce]]:
    for name in policy.flags:
        now = policy.in_force(name)
        if now.mode == "on":
            yield name, now


def _grown(name: str, trial: Trial, policy: Policy, settings: LoopSettings) -> Decision | None:
    flag = policy.flags[name]
    share = policy.in_force(name).share
    if not flag.rollout or share >= flag.share:
        return None
    within = trial.may_grow(settings.margins, alpha=settings.alpha)
    if within is None:
        return None
    following = min(next((step for step in STEPS if step > share + 1e-9), 1.0), flag.share)
    told = ", ".join(f"{metric.replace('_', ' ')} {value:.3g}" for metric, value in within.items())
    reason = f"rolled out from {share:.0%} to {following:.0%} of sessions: {told}, {_sizes(trial)}"
    return Decision(name, "grow", following, reason, dict(within), name)


def _harm(found: Finding, trial: Trial) -> str:
    against = "the holdout" if trial.name == TOTAL else "sessions without it"
    return (
        f"{found.metric.name.replace('_', ' ')} is worse than in {against}{_told(found)}: odds {found.odds:,.0f} to 1, "
        f"alarm at {found.limit:,.0f}, {_sizes(trial)}"
    )


def _told(found: Finding) -> str:
    effect = found.effect
    if effect is None:
        return ""
    if found.metric.shown == "ratio":
        return f" by {effect.estimate:.2f}x ({effect.low:.2f}x to {effect.high:.2f}x)"
    return f" by {effect.estimate:+.1%} of calls ({effect.low:+.1%} to {effect.high:+.1%})"


def _sizes(trial: Trial) -> str:
    return f"{trial.treated.sessions:,} sessions against {trial.control.sessions:,}"


def _figures(found: Finding, trial: Trial) -> dict[str, float]:
    told = {"odds": found.odds, "limit": found.limit}
    if found.effect is not None:
        told |= {"effect": found.effect.estimate, "low": found.effect.low, "high": found.effect.high}
    for name, arm in (("treated", trial.treated), ("control", trial.control)):
        told |= {f"{name}_sessions": arm.sessions, f"{name}_calls": arm.calls}
    return told


class Loop:
    """`start` it, `close` it. `report` may be asked whether it runs or not.

    path: of the ledger; drain: signals that wait to be written.
    """

    def __init__(
        self,
        path: Path,
        rows: Rows,
        policy: Policy,
        *,
        history: Callable[[], Awaitable[Sequence[Change]]],
        clock: Clock,
        settings: LoopSettings,
        drain: Callable[[], list[Said]] = list,
        keep: Callable[[list[Said]], Awaitable[None]] | None = None,
    ) -> None:
        self._path = path
        self._rows = rows
        self._policy = policy
        self._history = history
        self._clock = clock
        self._settings = settings
        self._drain = drain
        self._keep = keep
        self._trials: Trials | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._looked: float | None = None
        self._saved = clock.monotonic()
        self._unsaved = False
        self._trouble = ""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        with contextlib.suppress(StoreError):
            await self._write_signals()
            if self._unsaved:
                await self.save()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.every_s)
            try:
                more = True
                while more:
                    more = await self.step()
                    await asyncio.sleep(0.05)  # behind: catch up in small pieces, calls go first
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 - experiments may stand still, the gateway may not
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Once, until it works again or something else is wrong."""
        trouble = str(error) if isinstance(error, StoreError) else type(error).__name__
        if trouble != self._trouble:
            log.warning("experiments stand still", extra={"error": type(error).__name__, "detail": trouble})
        self._trouble = trouble

    async def step(self, *, act: bool = True) -> bool:
        """One look at what is new, and what follows from it; whether there is more to read. Raises StoreError."""
        async with self._turn:
            await self._write_signals()
            await self._policy.load()
            more = await asyncio.to_thread(self._advance)
            if self._trials is None:
                return False
            if act:
                decisions = list(decide(self._trials, self._policy, self._settings)) if self._settings.act else []
                for decision in decisions:
                    await self._do(decision, self._trials)
                if self._clock.monotonic() - self._saved >= self._settings.save_s and self._unsaved:
                    await self.save()
            return more

    async def report(self, *, act: bool = False) -> dict[str, Any]:
        """How everything stands, up to the newest receipt, as plain JSON values. Raises StoreError."""
        for _ in range(50):
            if not await self.step(act=act):
                break
        history = await self._history()
        async with self._turn:
            return report(self._trials or Trials(), self._policy, self._settings, history)

    async def save(self) -> None:
        """Raises StoreError."""
        assert self._trials is not None
        state = await asyncio.to_thread(kept, self._trials)
        sql = "INSERT INTO experiment_state (id, state) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET state = ?"
        await self._rows.write(lambda connection: connection.execute(sql, (state, state)) and None)
        self._saved, self._unsaved = self._clock.monotonic(), False

    def _advance(self) -> bool:
        """Runs in a thread: the event loop never waits for the ledger, and the cache's reads do not wait for us."""
        if not is_made(self._path):
            return False
        now = self._clock.monotonic()
        with reading(self._path) as connection:
            if self._trials is None:
                self._trials = restored(connection)
            state = self._trials
            before = (state.row, state.signal)
            state.align(self._policy)
            more = advance(state, connection, elapsed_s=0.0 if self._looked is None else now - self._looked)
        self._looked = None if more else now  # what comes while we are behind says nothing of how much comes
        self._unsaved = self._unsaved or (state.row, state.signal) != before
        return more

    async def _write_signals(self) -> None:
        said = self._drain()
        if said and self._keep is not None:
            await self._keep(said)

    async def _do(self, decision: Decision, trials: Trials) -> None:
        trial = trials.trials.get(decision.trial)
        if trial is None:
            return
        facts = {"optimizer": decision.optimizer, "reason": decision.reason, **decision.figures}
        match decision.act:
            case "notice":
                trial.noticed = True
                await self._policy.set(
                    decision.optimizer, by="loop", kind="notice", reason=decision.reason, figures=decision.figures
                )
                log.warning("an optimizer does harm and stays on: the operator set it by hand", extra=facts)
            case "rollback" | "grow":
                mode: Literal["shadow", "on"] = "shadow" if decision.act == "rollback" else "on"
                done = await self._policy.set(
                    decision.optimizer,
                    by="loop",
                    mode=mode,
                    share=decision.share,
                    reason=decision.reason,
                    figures=decision.figures,
                )
                if done is not None:
                    level = logging.WARNING if decision.act == "rollback" else logging.INFO
                    said = "optimizer switched to shadow" if decision.act == "rollback" else "optimizer rolled out"
                    log.log(level, said, extra=facts)


# --- for people and pages -----------------------------------------------------------------------------------


def report(trials: Trials, policy: Policy, settings: LoopSettings, history: Sequence[Change]) -> dict[str, Any]:
    return {
        "holdout": policy.holdout,
        "alpha": settings.alpha,
        "sessions_followed": 1 / trials.one_in,
        "optimizers": [_optimizer(name, trials, policy, settings) for name in policy.flags],
        "total": _trial(trials.trials.get(TOTAL), settings) if policy.holdout > 0 else None,
        "changes": [msgspec.to_builtins(change) for change in history],
    }


def _optimizer(name: str, trials: Trials, policy: Policy, settings: LoopSettings) -> dict[str, Any]:
    now, flag = policy.in_force(name), policy.flags[name]
    return {
        "name": name,
        "mode": now.mode,
        "share": now.share,
        "level": flag.level,
        "by": now.by,
        "reason": now.reason,
        "at": now.at or None,
        "rollout": flag.rollout,
        "configured": {"mode": flag.mode, "share": flag.share},
        "experiment": _trial(trials.trials.get(name), settings),
    }


def _trial(trial: Trial | None, settings: LoopSettings) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {
        "stage": trial.stage,
        "arms": {
            "on": _arm(trial.treated),
            HOLDOUT if trial.name == TOTAL else "off": _arm(trial.control),
        },
        "metrics": [_metric(finding) for finding in trial.findings(alpha=settings.alpha)],
    }


def _metric(found: Finding) -> dict[str, Any]:
    effect = found.effect
    return {
        "metric": found.metric.name,
        "look": found.metric.look,
        "better": found.metric.better,
        "shown": found.metric.shown,
        "effect": None if effect is None else effect.estimate,
        "low": None if effect is None else effect.low,
        "high": None if effect is None else effect.high,
        "sessions": found.sessions,
        "sessions_on": found.treated,
        "harm_odds": found.odds,
        "alarm_at": found.limit,
        "alarm": found.alarm,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    def per(amount: float, count: int) -> float | None:
        return amount / count if count else None

    return {
        "sessions": arm.sessions,
        "calls": arm.calls,
        "error_rate": per(arm.failed, arm.calls),
        "latency_s": per(arm.latency_s, arm.answered),
        "cost_pico": arm.cost if arm.priced else None,
        "cost_per_call_usd": per(arm.cost / 1e12, arm.priced),
        "cost_per_session_usd": per(arm.cost / 1e12, arm.sessions) if arm.priced else None,
        "retry_rate": per(arm.retried, arm.calls),
        "reasks": arm.reasks,
        "tool_answers_checked": arm.tools,
        "tool_answers_wrong": per(arm.tools_wrong, arm.tools),
        "feedback": {"up": arm.up, "down": arm.down},
        "judge": per(arm.judge, arm.judged),
        "finish_reasons": arm.finish_reasons,
    }
