"""The events of an answer as it arrives, whatever the protocol: what stream readers give and stream writers take."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ...request import Usage
from .failures import Failure
from .neutral import Finish

__all__ = [
    "BlockEnd",
    "CallBegin",
    "CallPiece",
    "Counted",
    "Ended",
    "Failed",
    "Opened",
    "Piece",
    "Reader",
    "RefusalPiece",
    "Stopped",
    "TextPiece",
    "ThinkPiece",
    "ThinkSealed",
    "Writer",
]


class Opened(msgspec.Struct, frozen=True):
    id: str
    model: str
    created: int = 0
    usage: Usage | None = None


class TextPiece(msgspec.Struct, frozen=True):
    text: str
    logprobs: Any = None


class RefusalPiece(msgspec.Struct, frozen=True):
    text: str


class ThinkPiece(msgspec.Struct, frozen=True):
    text: str


class ThinkSealed(msgspec.Struct, frozen=True):
    """The end of a piece of reasoning with what proves it; see neutral.Thinking."""

    signature: str = ""
    redacted: str = ""
    encrypted: str = ""
    id: str = ""


class CallBegin(msgspec.Struct, frozen=True):
    index: int  # counts the answer's calls from 0
    id: str
    name: str
    custom: bool = False
    namespace: str = ""


class CallPiece(msgspec.Struct, frozen=True):
    index: int
    arguments: str


class BlockEnd(msgspec.Struct, frozen=True):
    """What was being written is complete. Protocols that do not say so leave it out."""


class Stopped(msgspec.Struct, frozen=True):
    finish: Finish
    sequence: str | None = None


class Counted(msgspec.Struct, frozen=True):
    usage: Usage


class Ended(msgspec.Struct, frozen=True):
    """The upstream's end marker was seen."""


class Failed(msgspec.Struct, frozen=True):
    failure: Failure


Piece = (
    Opened
    | TextPiece
    | RefusalPiece
    | ThinkPiece
    | ThinkSealed
    | CallBegin
    | CallPiece
    | BlockEnd
    | Stopped
    | Counted
    | Ended
    | Failed
)


class Reader(Protocol):
    def read(self, name: str, data: bytes) -> list[Piece]:
        """The pieces of one event. Raises ValueError for one that is no JSON."""
        ...


class Writer(Protocol):
    def write(self, piece: Piece) -> bytes:
        """The caller's events for a piece; often none or several."""
        ...
