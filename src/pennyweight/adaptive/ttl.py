"""A knob for how long a stored answer may be replayed, learned by asking the model again and comparing.

Comparisons come for nothing from calls that ask again after their answer expired, or that insist on a fresh one. Ages
beyond what the operator set are trusted only as long as one hit in `SAMPLED` is asked again and found equal.
"""

from __future__ import annotations

import zlib
from collections import deque

import msgspec

from .knobs import Harm, Wish
from .shares import surely_above, surely_below

__all__ = ["TtlKnob"]

SAMPLED = 10
ENOUGH = 20  # comparisons
# Between a wish and the harm that undoes it there is room, or noise would turn the knob to and fro.
EQUAL = 0.95  # share of equal answers, surely reached, from which on a longer time is wished for
WRONG = 0.05  # share of unequal answers among the ages that were opened that undoes it, once surely passed
SLACK = 0.03  # or so much more than before the change, whichever is less
UNEQUAL = 0.3  # share of equal answers, surely not passed, below which a shorter time is wished for
WASTED = 0.7  # share of equal answers among the ages that were closed that undoes it: they were paid for again


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
        if len(beyond) >= ENOUGH and surely_above(equal, len(beyond), EQUAL):
            oldest = max(c.age_s for c in beyond if c.equal)  # never past an age at which answers were seen equal
            return Wish(oldest, f"asked again {value:.0f} to {oldest:.0f} s later, {equal} of {len(beyond)} were equal")
        near = [c for c in self._seen if value / 2 < c.age_s <= 2 * value]
        equal = sum(c.equal for c in near)
        if len(near) >= ENOUGH and surely_below(equal, len(near), UNEQUAL):
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
        self._allowed = min(unequal + SLACK, WRONG) if value > old else WASTED
        self._since.clear()
