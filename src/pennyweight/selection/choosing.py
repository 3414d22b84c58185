"""The shape of a choice: candidates, what was chosen, what is told of it, and what an outcome is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..errors import BadRequest

__all__ = ["Candidate", "Choice", "Selector", "Standing", "Told", "Utility"]


class Candidate(msgspec.Struct, frozen=True):
    """One of those to choose from. `model`: what it runs on; candidates of one model start from what that one is known
    for. "": the candidate stands for itself."""

    name: str
    model: str = ""

    @property
    def kind(self) -> str:
        return self.model or self.name


class Choice(msgspec.Struct, frozen=True):
    """Who was chosen for which type of task. `score`: what the choice went by; `expected`: the value thought likeliest,
    in [0, 1]. `why` is a phrase for people."""

    task_type: str
    name: str
    model: str = ""
    score: float = 0.0
    expected: float = 0.5
    why: str = ""


class Utility(msgspec.Struct, frozen=True):
    """What an outcome is worth, in [0, 1]: its success, less a part for tokens and a part for the time.

    A success that took `half_tokens` loses half of `token_weight`, one that took four times as many four fifths of it;
    latency likewise. With weights of 0 only success counts. A failure is worth nothing, however cheap it was.
    """

    token_weight: float = 0.0
    half_tokens: float = 10_000.0
    latency_weight: float = 0.0
    half_latency_s: float = 30.0

    def __post_init__(self) -> None:
        if not (self.token_weight >= 0 and self.latency_weight >= 0 and self.token_weight + self.latency_weight <= 1):
            raise BadRequest(
                f"token_weight {self.token_weight!r} and latency_weight {self.latency_weight!r} must be 0 or more, and "
                "at most 1 together."
            )
        if not (0 < self.half_tokens < math.inf and 0 < self.half_latency_s < math.inf):
            raise BadRequest("half_tokens and half_latency_s must be above 0.")

    def value(self, success: float, tokens: float, latency_s: float) -> float:
        """Raises BadRequest for a success outside [0, 1], and for tokens or a latency below 0."""
        if not 0.0 <= success <= 1.0:
            raise BadRequest(f"success {success!r} is not within 0 and 1.")
        if not (0.0 <= tokens < math.inf and 0.0 <= latency_s < math.inf):
            raise BadRequest(f"tokens {tokens!r} and latency_s {latency_s!r} must be 0 or more.")
        if success == 0.0 or self.token_weight == self.latency_weight == 0.0:
            return success
        spent = self.token_weight * tokens / (tokens + self.half_tokens)
        return success * (1.0 - spent - self.latency_weight * latency_s / (latency_s + self.half_latency_s))


class Standing(msgspec.Struct, frozen=True):
    """How one candidate stands in one type of task. `expected`: its value now, in [0, 1]; `success`: of all that was
    told; `score`: what it would be chosen by; `resting`: it fails, and is left alone for a while."""

    task_type: str
    name: str
    model: str
    tried: int
    success: float
    tokens: float  # on average
    latency_s: float  # on average
    expected: float
    score: float
    resting: bool = False


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One outcome, as it is kept and passed on: a selector is what it was told, in that order."""

    task_type: str
    name: str
    model: str
    success: float
    tokens: float = 0.0
    latency_s: float = 0.0


class Selector(Protocol):
    """Chooses, and learns from what is told of its choices. `select` changes nothing but the state of its randomness.

    Raises BadRequest where there is nobody to choose from, or what is told makes no sense.
    """

    def select(self, task_type: str, candidates: Sequence[Candidate]) -> Choice: ...

    def feedback(self, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0) -> None: ...

    def standings(self) -> Sequence[Standing]:
        """How all stand that were ever told of."""
        ...

    def dumped(self) -> bytes:
        """What it has learnt, as JSON; `restore` of the same kind of selector takes it up again."""
        ...

    def restore(self, state: bytes) -> None:
        """Raises ValueError for what no such selector has dumped; then nothing has changed."""
        ...
