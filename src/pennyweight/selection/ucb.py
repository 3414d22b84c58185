"""UCB1: the mean so far and a bonus for what was seldom tried (Auer, Cesa-Bianchi and Fischer 2002, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from .breaker import Breaker
from .choosing import Candidate, Choice, Standing, Utility
from .records import Record, pick, records, somebody, worth

__all__ = ["Ucb"]


class Ucb:
    """A Selector. `bonus` is the factor before sqrt(ln(tasks) / tries); who was never tried comes first."""

    def __init__(
        self, *, random: Random, utility: Utility | None = None, bonus: float = 0.25, breaker: Breaker | None = None
    ) -> None:
        self._random = random
        self._utility = utility
        self._bonus = bonus
        self._records = records("ucb", breaker)

    def select(self, task_type: str, candidates: Sequence[Candidate]) -> Choice:
        known = self._records.types.get(task_type, {})
        wide = self._bonus * math.sqrt(math.log(self._records.tasks.get(task_type, 0) + 1.0))
        admitted = self._records.breaker.admitted(somebody(candidates))
        best, score, equals = admitted[0], -1.0, 1
        for candidate in admitted:
            record = known.get(candidate.name)
            bound = math.inf if record is None else record.value / record.tried + wide / math.sqrt(record.tried)
            if bound > score:
                best, score, equals = candidate, bound, 1
            elif bound == score:
                equals += 1
                if self._random.random() * equals < 1.0:
                    best = candidate
        record = known.get(best.name)
        return pick(task_type, best, min(score, 2.0), record, 0.5 if record is None else record.value / record.tried)

    def feedback(self, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0) -> None:
        value = worth(self._utility, success, tokens, latency_s)
        self._records.told(choice, success, tokens, latency_s).value += value

    def standings(self) -> Sequence[Standing]:
        def score(task_type: str, record: Record) -> float:
            seen = math.log(self._records.tasks[task_type] + 1.0)
            return record.value / record.tried + self._bonus * math.sqrt(seen / record.tried)

        return self._records.standings(lambda record: record.value / record.tried, score)

    def dumped(self) -> bytes:
        return self._records.dumped()

    def restore(self, state: bytes) -> None:
        self._records = self._records.taken_up(state)
