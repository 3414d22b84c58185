"""The loop itself: asks the knobs, follows the rule, writes down what was done, and takes it up after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from ..errors import StoreError
from ..protocols import Clock
from .knobs import Knob, Tunable
from .rule import Facts, Keep, Settings, State, Trial, Turn, Undo, begun, decide

__all__ = ["Adaptive", "Change", "Changes", "Outcome"]

log = logging.getLogger(__name__)

Outcome = Literal["trial", "kept", "undone"]


class Change(msgspec.Struct, frozen=True):
    """One turn of a knob, as it is written down. `at` is unix seconds; values of `math.inf` mean no limit."""

    at: float
    knob: str
    old: float
    new: float
    start: float  # what the operator had set
    reason: str
    outcome: Outcome = "trial"
    figures: str = ""  # what the outcome was judged by
    settled_at: float | None = None
    number: int = 0


class Changes(Protocol):
    """Where changes are written down. Raises StoreError."""

    async def add(self, change: Change) -> int:
        """Its number."""
        ...

    async def settle(self, number: int, outcome: Outcome, figures: str, at: float) -> None: ...

    async def last(self) -> Sequence[Change]:
        """The newest change of every knob."""
        ...


class Adaptive:
    """Runs `decide` over the knobs. Owns what it remembers of them; `run` it in a task, or `step` it by hand."""

    def __init__(
        self,
        tunables: Sequence[Tunable],
        changes: Changes,
        *,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._tunables = tuple(tunables)
        self._changes = changes
        self._clock = clock
        self._settings = settings
        self._states: dict[str, State] = {}
        self._remembered: dict[str, Change] | None = None  # None: not read yet
        self._unwritten: list[tuple[int, Outcome, str, float]] = []

    async def run(self) -> None:
        while True:
            try:
                await self.step()
            except Exception as error:  # noqa: BLE001 - a row that cannot be read must not end the watching of harm
                log.warning("a round of the adaptive loop failed", extra={"error": type(error).__name__})
            await asyncio.sleep(self._settings.every_s)

    async def step(self) -> None:
        """One round. Never raises for a knob or a store that fails: that knob stays as it is."""
        if self._remembered is None and not await self._remember():
            return
        with contextlib.suppress(StoreError):
            await self._write()
        met = set()
        for tunable in self._tunables:
            try:
                knobs = tunable.knobs()
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                log.warning("knobs failed", extra={"error": type(error).__name__})
                continue
            for knob in knobs:
                met.add(knob.name)
                try:
                    await self._tend(knob)
                except StoreError as error:
                    log.warning("knob left as it is", extra={"detail": str(error)})
                except Exception as error:  # noqa: BLE001 - see above
                    log.warning("knob failed", extra={"error": type(error).__name__})
        self._states = {name: state for name, state in self._states.items() if name in met}

    async def _remember(self) -> bool:
        """Read what was learnt before. Without it nothing is turned: it could be what was undone yesterday."""
        try:
            self._remembered = {change.knob: change for change in await self._changes.last()}
        except StoreError as error:
            log.warning("the adaptive loop waits for its memory", extra={"detail": str(error)})
            return False
        return True

    def _state(self, knob: Knob) -> State:
        """The knob's state; when it is met first, it takes up what was learnt under the same setting."""
        state = self._states.get(knob.name)
        if state is None:
            state = State()
            before = (self._remembered or {}).get(knob.name)
            # A setting that the operator changed since is the operator's word: what was learnt before it is void.
            if before is not None and before.start == knob.start:
                state = self._taken_up(knob, before)
            self._states[knob.name] = state
        return state

    def _taken_up(self, knob: Knob, before: Change) -> State:
        if before.outcome == "undone":
            if before.old != knob.value:
                knob.turn(before.old)
            return State(rest_until=self._clock.monotonic() + self._settings.back_off_s, undone=1)
        knob.turn(min(max(before.new, knob.low), knob.high))
        return State(trial=Trial(before.number, before.old, before.new, stood=before.outcome == "kept"))

    async def _tend(self, knob: Knob) -> None:
        state = self._state(knob)
        facts = Facts(knob.value, knob.low, knob.high, knob.wish(), knob.harm())
        state, decision = decide(state, facts, self._settings, now=self._clock.monotonic())
        now = self._clock.now()
        match decision:
            case Turn(new, reason):
                change = Change(now, knob.name, facts.value, new, knob.start, reason)
                number = await self._changes.add(change)
                knob.turn(new)
                state = begun(state, Trial(number, facts.value, new))
                self._tell("knob turned", knob, facts.value, new, reason)
            case Undo(trial, reason):
                knob.turn(trial.old)  # first: what hurts must end, whether or not it can be written down
                self._tell("knob turned back", knob, facts.value, trial.old, reason)
                self._unwritten.append((trial.number, "undone", reason, now))
            case Keep(trial, reason):
                self._unwritten.append((trial.number, "kept", reason, now))
                self._tell("turned knob kept", knob, trial.old, trial.new, reason)
        self._states[knob.name] = state
        await self._write()

    async def _write(self) -> None:
        """How changes came out; what cannot be written now is tried again with the next round."""
        while self._unwritten:
            await self._changes.settle(*self._unwritten[0])
            self._unwritten.pop(0)

    def _tell(self, phrase: str, knob: Knob, old: float, new: float, reason: str) -> None:
        # A warning, because what a gateway does by itself should be seen without being asked for; it is rare.
        facts = {"knob": knob.name, "old": old, "new": new, "reason": reason}
        log.warning("%s: %s from %g to %g: %s", phrase, knob.name, old, new, reason, extra=facts)
