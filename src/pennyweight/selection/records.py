"""What the plain rules keep of a candidate in a type of task, and how they show, save and take it up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..errors import BadRequest
from .breaker import Breaker
from .choosing import Candidate, Choice, Standing, Utility

__all__ = ["Record", "Records", "pick", "somebody"]


class Record(msgspec.Struct):
    """Sums over the tasks that were told of; `weight`, `value`, `down` and `up` are what its rule makes of them."""

    model: str = ""
    tried: int = 0
    success: float = 0.0
    tokens: float = 0.0
    latency_s: float = 0.0
    weight: float = 0.0
    value: float = 0.0
    down: float = 0.0
    up: float = 0.0


class Records(msgspec.Struct):
    """By type, then by candidate. `tasks`: how many were told of in each type."""

    version: int = 1
    rule: str = ""
    types: dict[str, dict[str, Record]] = {}
    tasks: dict[str, int] = {}
    breaker: Breaker = msgspec.field(default_factory=Breaker)

    def told(self, choice: Choice, success: float, tokens: float, latency_s: float) -> Record:
        record = self.types.setdefault(choice.task_type, {}).setdefault(choice.name, Record())
        record.model = choice.model
        record.tried += 1
        record.success += success
        record.tokens += tokens
        record.latency_s += latency_s
        self.tasks[choice.task_type] = self.tasks.get(choice.task_type, 0) + 1
        self.breaker.tell(choice.name, success)
        return record

    def standings(self, expected: Callable[[Record], float], score: Callable[[str, Record], float]) -> list[Standing]:
        return [
            Standing(
                task_type,
                name,
                record.model or name,
                record.tried,
                record.success / record.tried,
                record.tokens / record.tried,
                record.latency_s / record.tried,
                expected(record),
                score(task_type, record),
                self.breaker.resting(name),
            )
            for task_type, records in self.types.items()
            for name, record in records.items()
        ]

    def dumped(self) -> bytes:
        return msgspec.json.encode(self)

    def taken_up(self, state: bytes) -> Records:
        """The records in `state`, with this breaker's settings. Raises ValueError for those of another rule."""
        try:
            found = msgspec.json.decode(state, type=Records)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"these are no records: {error}") from None
        if (found.version, found.rule) != (self.version, self.rule):
            raise ValueError(f"these are records of {found.rule!r}, version {found.version}, not of {self.rule!r}")
        found.breaker.failures, found.breaker.rest = self.breaker.failures, self.breaker.rest
        return found


def records(rule: str, breaker: Breaker | None) -> Records:
    return Records(rule=rule, breaker=breaker or Breaker())


def somebody(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Raises BadRequest where there is nobody."""
    if not candidates:
        raise BadRequest("There is nobody to choose from: give at least one candidate.")
    return candidates


def worth(utility: Utility | None, success: float, tokens: float, latency_s: float) -> float:
    return (utility or Utility()).value(success, tokens, latency_s)


def pick(task_type: str, candidate: Candidate, score: float, record: Record | None, expected: float) -> Choice:
    why = f"tried {record.tried} times here" if record is not None and record.tried else "never tried here"
    return Choice(task_type, candidate.name, candidate.model, score, expected, why)
