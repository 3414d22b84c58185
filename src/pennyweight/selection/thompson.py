"""Thompson sampling that notices change: a draw from each candidate's Beta posterior, begun anew where a CUSUM fires.

Thompson 1933; the change detection is Page's two-sided CUSUM (1954) on the outcomes against the mean so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .breaker import Breaker
from .choosing import Candidate, Choice, Standing, Utility
from .records import Record, pick, records, somebody, worth

__all__ = ["Thompson"]


class Thompson:
    """A Selector. `drift`: how far outcomes may be off their mean without counting; `alarm`: how much of the rest adds
    up to a change. With 0.15 and 6 a candidate that keeps its rate is begun anew about once in a thousand tasks."""

    def __init__(
        self,
        *,
        random: Random,
        utility: Utility | None = None,
        drift: float = 0.15,
        alarm: float = 6.0,
        breaker: Breaker | None = None,
    ) -> None:
        self._random = random
        self._utility = utility
        self._drift = drift
        self._alarm = alarm
        self._records = records("thompson", breaker)

    def select(self, task_type: str, candidates: Sequence[Candidate]) -> Choice:
        known = self._records.types.get(task_type, {})
        draw = self._random.betavariate
        admitted = self._records.breaker.admitted(somebody(candidates))
        best, score = admitted[0], -1.0
        for candidate in admitted:
            record = known.get(candidate.name)
            drawn = draw(1.0, 1.0) if record is None else draw(1.0 + record.value, 1.0 + record.weight - record.value)
            if drawn > score:
                best, score = candidate, drawn
        record = known.get(best.name)
        return pick(task_type, best, score, record, 0.5 if record is None else _mean(record))

    def feedback(self, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0) -> None:
        value = worth(self._utility, success, tokens, latency_s)
        record = self._records.told(choice, success, tokens, latency_s)
        off = value - _mean(record)
        record.down = max(0.0, record.down - off - self._drift)
        record.up = max(0.0, record.up + off - self._drift)
        if record.weight >= _SETTLED and max(record.down, record.up) > self._alarm:
            record.weight = record.value = record.down = record.up = 0.0
        record.weight += 1.0
        record.value += value

    def standings(self) -> Sequence[Standing]:
        return self._records.standings(_mean, lambda _type, record: _mean(record))

    def dumped(self) -> bytes:
        return self._records.dumped()

    def restore(self, state: bytes) -> None:
        self._records = self._records.taken_up(state)


_SETTLED = 10.0  # observations before a mean is one that can have changed


def _mean(record: Record) -> float:
    return (1.0 + record.value) / (2.0 + record.weight)
