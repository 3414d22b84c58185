"""A knob for how long a stored answer may be replayed, learned by asking the model again and comparing.

Comparisons come for nothing from calls that ask again after their answer expired, or that insist on a fresh one. Ages
beyond what the operator set are trusted only as long as one hit in `SAMPLED` is asked again and found equal.
"""

from __future__ import annotations

import zlib
from collections import deque

import msgspec

from .knobs import Harm, Wish
from .shares import at_least, at_most

__all__ = ["TtlKnob"]

SAMPLED = 10
ENOUGH = 20  # comparisons
EQUAL = 0.9  # share of equal answers, surely reached, from which on a longer time is wished for
UNEQUAL = 0.5  # and surely not passed, a shorter one
SLACK = 0.05  # a share of unequal answers that may be so much above the one before the change


class _Compared(msgspec.Struct, frozen=True):
    age_s: float
    equal: bool


class TtlKnob:
    """Protocol: `Knob`. Times in seconds. `low` and `high` are widened to hold `start`, the operator's own word."""

    def __init__(self, name: str, *, start: float, low: float, high: float) -> None:
        self.name = name
        self.start = start
        self.low = min(low, start)
        self.high = max(high, start)
        self.value = start
        self._seen: deque[_Compared] = deque(maxlen=400)
        self._since: deque[_Compared] = deque(maxlen=400)  # of those, what came after the last turn
        self._changed = (start, start)  # the ages that the last turn opened or closed
        self._allowed = 0.0

    def compared(self, age_s: float, *, equal: bool) -> None:
        """An answer of that age was held against a fresh one."""
        found = _Compared(age_s, equal)
        self._seen.append(found)
        if self._changed[0] < age_s <= self._changed[1]:
            self._since.append(found)

    def asks_again(self, call_id: str, age_s: float) -> bool:
        """Whether this hit is one of the sample by which ages beyond `start` are watched. Same call, same answer."""
        return age_s > self.start and zlib.crc32(call_id.encode()) % SAMPLED == 0

    @property
    def kept_s(self) -> float:
        """How long to keep an answer, so that one that expired can still be compared."""
        return 2 * self.value

    def wish(self) -> Wish | None:
        value = self.value
        beyond = [c for c in self._seen if value < c.age_s <= 2 * value]
        equal = sum(c.equal for c in beyond)
        if len(beyond) >= ENOUGH and at_least(equal, len(beyond)) >= EQUAL:
            oldest = max(c.age_s for c in beyond if c.equal)  # never past an age at which answers were seen equal
            return Wish(oldest, f"asked again {value:.0f} to {oldest:.0f} s later, {equal} of {len(beyond)} were equal")
        near = [c for c in self._seen if value / 2 < c.age_s <= 2 * value]
        equal = sum(c.equal for c in near)
        if len(near) >= ENOUGH and at_most(equal, len(near)) <= UNEQUAL:
            why = f"asked again {value / 2:.0f} to {2 * value:.0f} s later, {equal} of {len(near)} were equal"
            return Wish(value / 2, why)
        return None

    def harm(self) -> Harm:
        """After a longer time: unequal answers of the ages that were opened. After a shorter one: equal answers of the
        ages that were closed, each of which was paid for again."""
        opened = self.value == self._changed[1]
        bad = sum(c.equal != opened for c in self._since)
        return Harm(len(self._since), bad, self._allowed)

    def turn(self, value: float) -> None:
        old, self.value = self.value, value
        self._changed = (min(old, value), max(old, value))
        before = [c for c in self._seen if self._changed[0] < c.age_s <= self._changed[1]]
        unequal = sum(not c.equal for c in before) / len(before) if before else 0.0
        self._allowed = min(unequal + SLACK, 1 - EQUAL) if value > old else UNEQUAL
        self._since.clear()
