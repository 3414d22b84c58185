"""The classic rule: weighted random by pheromone that evaporates (ant system: Dorigo, Maniezzo and Colorni 1996).

Good for many candidates and little data, bad where anything changes: what was laid down before holds on to the choice.
It stands here for comparison and for those who want the trails themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .breaker import Breaker
from .choosing import Candidate, Choice, Standing, Utility
from .records import pick, records, somebody, worth

__all__ = ["Pheromone"]

_LEAST = 0.01  # of a trail: nobody is lost for good


class Pheromone:
    """A Selector. With every outcome all trails of its type lose the share `evaporation`, and its own gains the value.
    A candidate that is new begins with the mean of the trails, so that it gets a fair try."""

    def __init__(
        self,
        *,
        random: Random,
        utility: Utility | None = None,
        evaporation: float = 0.05,
        breaker: Breaker | None = None,
    ) -> None:
        self._random = random
        self._utility = utility
        self._kept = 1.0 - evaporation
        self._records = records("pheromone", breaker)

    def select(self, task_type: str, candidates: Sequence[Candidate]) -> Choice:
        known = self._records.types.get(task_type, {})
        new = sum(record.weight for record in known.values()) / len(known) if known else 1.0
        admitted = self._records.breaker.admitted(somebody(candidates))
        trails = [record.weight if (record := known.get(one.name)) is not None else new for one in admitted]
        place = self._random.choices(range(len(trails)), trails)[0]
        chosen, record = admitted[place], known.get(admitted[place].name)
        expected = 0.5 if record is None else record.value / record.tried
        return pick(task_type, chosen, trails[place] / sum(trails), record, expected)

    def feedback(self, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0) -> None:
        value = worth(self._utility, success, tokens, latency_s)
        known = self._records.types.get(choice.task_type, {})
        new = sum(record.weight for record in known.values()) / len(known) if known else 1.0
        first = choice.name not in known
        told = self._records.told(choice, success, tokens, latency_s)
        if first:
            told.weight = new
        told.value += value
        for record in self._records.types[choice.task_type].values():
            record.weight = max(record.weight * self._kept, _LEAST)
        told.weight += value

    def standings(self) -> Sequence[Standing]:
        sums = {name: sum(record.weight for record in known.values()) for name, known in self._records.types.items()}
        return self._records.standings(
            lambda record: record.value / record.tried, lambda task_type, record: record.weight / sums[task_type]
        )

    def dumped(self) -> bytes:
        return self._records.dumped()

    def restore(self, state: bytes) -> None:
        self._records = self._records.taken_up(state)
