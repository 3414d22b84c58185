"""The whole rule of the adaptive loop, pure: hysteresis, bounds, trials, undoing, backing off."""

from __future__ import annotations

import math

import msgspec

from .knobs import Harm, Wish
from .shares import surely_above

__all__ = ["Facts", "Keep", "Settings", "State", "Trial", "Turn", "Undo", "begun", "decide"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[adaptive]`. Times in seconds; shares in [0, 1]."""

    enabled: bool = False
    every_s: float = 300.0
    rounds: int = 2  # in a row that must wish for the same direction before anything is turned
    least_step: float = 0.1  # a wish nearer to the value than this share of it is none
    most_step: float = 2.0  # a value is multiplied or divided by this at most, at a time
    trial_calls: int = 50  # comparisons that a change must stand before it is kept
    back_off_s: float = 3600.0  # rest after a change was undone, doubled each time; and before turning back
    most_back_off_s: float = 604_800.0


class Trial(msgspec.Struct, frozen=True):
    """The last change. `number` is where it is written down; `stood`: it passed its test, and is watched on."""

    number: int
    old: float
    new: float
    stood: bool = False


class State(msgspec.Struct, frozen=True):
    """What the loop remembers of a knob. Times are of the monotonic clock: setting the other one changes nothing."""

    rounds: int = 0  # in a row in which the wish pointed in `direction`
    direction: int = 0
    trial: Trial | None = None
    rest_until: float = -math.inf
    undone: int = 0  # since one change stood and another followed it
    turn_back_from: float = -math.inf  # a change in the other direction than the last has to wait until then


class Facts(msgspec.Struct, frozen=True):
    """A knob at this moment."""

    value: float
    low: float
    high: float
    wish: Wish | None
    harm: Harm


class Turn(msgspec.Struct, frozen=True):
    new: float
    reason: str


class Undo(msgspec.Struct, frozen=True):
    trial: Trial
    reason: str


class Keep(msgspec.Struct, frozen=True):
    trial: Trial
    reason: str


def decide(state: State, facts: Facts, settings: Settings, *, now: float) -> tuple[State, Turn | Undo | Keep | None]:
    """What to do with a knob now (monotonic seconds), and the state if that is done. Pure.

    A change is undone as soon as its harm is above what was allowed with 95% confidence, and kept after `trial_calls`
    without that; until then nothing else is changed, and after that its harm is still watched.
    """
    trial = state.trial
    if trial is not None:
        told = f"{facts.harm.bad} of {facts.harm.seen} comparisons bad, {facts.harm.allowed:.1%} allowed"
        if surely_above(facts.harm.bad, facts.harm.seen, facts.harm.allowed):
            rest_s = min(settings.back_off_s * 2**state.undone, settings.most_back_off_s)
            after = State(rest_until=now + rest_s, undone=state.undone + 1)
            return after, Undo(trial, f"{told}; next try in {rest_s / 3600:.3g} h at the earliest")
        if not trial.stood:
            if facts.harm.seen < settings.trial_calls:
                return state, None
            stood = msgspec.structs.replace(trial, stood=True)
            return State(trial=stood, undone=state.undone, turn_back_from=now + settings.back_off_s), Keep(trial, told)
    return _wished(state, facts, settings, now)


def _wished(state: State, facts: Facts, settings: Settings, now: float) -> tuple[State, Turn | None]:
    new = _bounded(facts, settings) if facts.wish is not None else facts.value
    direction = _direction(facts.value, new, settings.least_step)
    if direction == 0 or facts.wish is None:
        return msgspec.structs.replace(state, rounds=0, direction=0), None
    rounds = state.rounds + 1 if direction == state.direction else 1
    state = msgspec.structs.replace(state, rounds=rounds, direction=direction)
    last = state.trial
    turning_back = last is not None and direction == (-1 if last.new > last.old else 1)
    wait_until = max(state.rest_until, state.turn_back_from) if turning_back else state.rest_until
    if rounds < settings.rounds or now < wait_until:
        return state, None
    return state, Turn(new, facts.wish.reason)


def begun(state: State, trial: Trial) -> State:
    """After a change was made. One that follows one that stood forgets what was undone before that."""
    undone = 0 if state.trial is not None else state.undone
    return msgspec.structs.replace(state, rounds=0, direction=0, trial=trial, undone=undone)


def _bounded(facts: Facts, settings: Settings) -> float:
    """The wish, no further than one step and never out of bounds."""
    assert facts.wish is not None
    new = facts.wish.value
    if math.isnan(new):
        return facts.value
    new = min(max(new, facts.low), facts.high)
    if math.isfinite(facts.value) and math.isfinite(new):  # no limit at all is one step from any
        new = min(max(new, facts.value / settings.most_step), facts.value * settings.most_step)
    return min(max(new, facts.low), facts.high)


def _direction(value: float, new: float, least_step: float) -> int:
    if new == value:
        return 0
    if math.isfinite(value) and abs(new - value) < least_step * value:
        return 0
    return 1 if new > value else -1
