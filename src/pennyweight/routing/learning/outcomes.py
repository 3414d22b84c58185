"""Outcomes: that a model's answer to a task was good or was not, as they are learnt from and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from ..reading import TYPES, TaskType

__all__ = ["WEIGHTS", "Keeper", "NoOutcomes", "Source", "Told", "task_type"]

Source = Literal["feedback", "judge", "file", "validity", "error", "again"]
"""Who says so. validity: tool calls that do or do not hold, output that does not fit its schema. error: the provider
failed, or the answer was cut. again: the same was asked once more, or the answer was edited."""

WEIGHTS: dict[Source, float] = {
    "file": 1.0,
    "feedback": 1.0,
    "judge": 0.7,
    "validity": 0.5,
    "error": 0.5,
    "again": 0.3,
}
"""How much of an outcome each is worth: a judge errs, and who asks again may only be curious."""


class Told(msgspec.Struct, frozen=True):
    """One outcome. success: in [0, 1]. text: a digest of what was asked, "" when it is not known. vector: its embedding
    (float16, little-endian), b"" without one. features: what `features` tells of the text.

    call_id: "" for one from a file. A second outcome of a call from the same source replaces the first.
    """

    at: float
    tenant: str
    task: TaskType
    model: str  # "provider/model", or as the file calls it
    success: float
    source: Source = "file"
    weight: float = 1.0
    agent: str = ""
    call_id: str = ""
    text: str = ""
    hard: float = 0.0
    features: tuple[float, ...] = ()
    vector: bytes = b""


class Keeper(Protocol):
    """Where outcomes are kept. Raises StoreError."""

    async def add(self, told: Sequence[Told]) -> None: ...

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        """The newest, the oldest of them first."""
        ...

    async def of_call(self, call_id: str) -> Told | None:
        """Any one outcome or sign of that call: what it was, and which model acted."""
        ...


class NoOutcomes:
    """Protocol: Keeper. Keeps nothing."""

    async def add(self, told: Sequence[Told]) -> None:
        return None

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        return ()

    async def of_call(self, call_id: str) -> Told | None:
        return None


def task_type(name: str) -> TaskType:
    """The type of that name; "general" for one that is not known."""
    found: TaskType
    for found in TYPES:
        if found == name:
            return found
    return "general"
