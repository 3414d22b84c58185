"""Outcomes: that a model's answer to a task was good or was not, as they are learnt from and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from ..reading import TYPES, TaskType

__all__ = ["WEIGHTS", "Acted", "Keeper", "NoOutcomes", "Source", "Told", "source_of", "task_type"]

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
    declared: the task as the caller named it (`x-pennyweight-task`), any word; "" where it named none.

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
    declared: str = ""


class Acted(msgspec.Struct, frozen=True):
    """Which model answered which text, of which nobody has said yet whether the answer was good. Fields as in Told."""

    at: float
    tenant: str
    task: TaskType
    model: str
    agent: str = ""
    call_id: str = ""
    text: str = ""
    hard: float = 0.0
    features: tuple[float, ...] = ()
    vector: bytes = b""
    declared: str = ""

    def told(self, success: float, source: Source, *, at: float) -> Told:
        """What is said of it now."""
        return Told(
            at,
            self.tenant,
            self.task,
            self.model,
            success,
            source,
            WEIGHTS[source],
            self.agent,
            self.call_id,
            self.text,
            self.hard,
            self.features,
            self.vector,
            self.declared,
        )


class Keeper(Protocol):
    """Where outcomes are kept. Raises StoreError."""

    async def add(self, told: Sequence[Told], acted: Sequence[Acted] = ()) -> None: ...

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        """The newest, the oldest of them first."""
        ...

    async def acted(self, call_id: str) -> Acted | None:
        """Which model answered that call; None: it is not known."""
        ...


class NoOutcomes:
    """Protocol: Keeper. Keeps nothing."""

    async def add(self, told: Sequence[Told], acted: Sequence[Acted] = ()) -> None:
        return None

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        return ()

    async def acted(self, call_id: str) -> Acted | None:
        return None


def source_of(name: str) -> Source:
    """The source of that name; "file" for one that is not known."""
    for source in WEIGHTS:
        if source == name:
            return source
    return "file"


def task_type(name: str) -> TaskType:
    """The type of that name; "general" for one that is not known."""
    found: TaskType
    for found in TYPES:
        if found == name:
            return found
    return "general"
