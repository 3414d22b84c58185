"""Which of several places to ask first: one that keeps failing is asked last for a while.

It only reorders. It never refuses, because a provider that failed a minute ago may answer now.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import msgspec

from ..protocols import Clock

__all__ = ["STEPS_S", "Cooldown"]

STEPS_S = (60.0, 300.0, 1500.0, 3600.0)
"""How long a place rests after its first, second, third and any later failure in a row: 1, 5, 25, 60 minutes."""

K = TypeVar("K", bound=Hashable)


class _State(msgspec.Struct):
    failures: int  # in a row, each after the rest of the one before had ended
    until: float  # monotonic
    probing: bool = False


class Cooldown(Generic[K]):
    """Remembers failures of targets, keys or whatever else `K` names; a place unheard of is well."""

    def __init__(self, clock: Clock, *, steps_s: tuple[float, ...] = STEPS_S) -> None:
        self._clock = clock
        self._steps_s = steps_s
        self._states: dict[K, _State] = {}

    @property
    def quiet(self) -> bool:
        """Whether nothing has failed lately."""
        return not self._states

    def cooling(self, place: K) -> bool:
        """Whether it should rest. After the rest one caller may probe it (see `order`); the others still wait."""
        state = self._states.get(place)
        return state is not None and (state.probing or self._clock.monotonic() < state.until)

    def left_s(self, place: K) -> float:
        """Seconds until it may be probed; 0 when it is well."""
        state = self._states.get(place)
        return max(state.until - self._clock.monotonic(), 0.0) if state is not None else 0.0

    def order(self, places: Iterable[K]) -> list[K]:
        """All of them: those that are well and the first that is due for a probe as they stand, then the others that
        are due, so that one caller waits for one probe at most, then the resting, soonest ready first."""
        listed = list(places)
        if not self._states:
            return listed
        resting = [place for place in listed if self.cooling(place)]
        due = [place for place in listed if place in self._states and place not in resting][1:]
        ready = [place for place in listed if place not in resting and place not in due]
        return ready + due + sorted(resting, key=self.left_s)

    def trying(self, place: K) -> None:
        """Somebody asks it now: if it has rested, this is its probe, and others hold back until it is known."""
        state = self._states.get(place)
        if state is not None and self._clock.monotonic() >= state.until:
            state.probing = True

    def failed(self, place: K, *, retry_after_s: float | None = None) -> None:
        """It failed. Failures of calls that were under way together count once."""
        now = self._clock.monotonic()
        state = self._states.get(place)
        if state is not None and now < state.until:
            return
        failures = state.failures + 1 if state is not None else 1
        rest_s = max(self._steps_s[min(failures, len(self._steps_s)) - 1], min(retry_after_s or 0.0, self._steps_s[-1]))
        self._states[place] = _State(failures, now + rest_s)

    def left(self, place: K) -> None:
        """A try ended without telling anything (the caller left, or the caller's own mistake): no longer a probe."""
        state = self._states.get(place)
        if state is not None:
            state.probing = False

    def answered(self, place: K) -> None:
        """It answered: it is well."""
        self._states.pop(place, None)
