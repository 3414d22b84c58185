"""The words in which messages are told apart, and what a message must offer to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

__all__ = ["CLASSES", "Class", "Piece", "Turn"]

Class = Literal[
    "user_intent", "decision", "action_item", "fact", "tool_output", "reasoning", "confirmation", "obsolete"
]
CLASSES: tuple[Class, ...] = (
    "user_intent",
    "decision",
    "action_item",
    "fact",
    "tool_output",
    "reasoning",
    "confirmation",
    "obsolete",
)


class Piece(Protocol):
    """One block of a message. kind: "text", "call", "result", "reasoning" or "other"."""

    @property
    def kind(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def call_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def failed(self) -> bool: ...


class Turn(Protocol):
    """One message. role: "system", "user", "assistant" or "tool"."""

    @property
    def role(self) -> str: ...

    @property
    def blocks(self) -> Sequence[Piece]: ...
