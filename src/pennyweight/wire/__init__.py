"""Protocols: pure functions between native bytes and our types. No I/O here.

Every wire is one module with the same functions, the protocol `Codec` below; `codec(wire)` gives it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Protocol

import msgspec

from ..request import Done, Request, Wire

__all__ = ["Codec", "Tap", "View", "codec"]


class View(msgspec.Struct, frozen=True):
    """What a conversation says, whatever its protocol: a lens for identity, counting and optimizers."""

    system: str  # system and developer text, joined by blank lines
    first_user: str  # text of the first user message
    last_user: str  # text of the newest user message (tool results are none)
    tool_names: tuple[str, ...]
    texts: tuple[str, ...]  # every text of the prompt in order: system, tools as compact JSON, messages
    has_tool_calls: bool  # an assistant turn in the history called a tool


class Tap(Protocol):
    """Reads a stream from the side: is fed the chunks as they pass, cut anywhere, and changes nothing.

    Cheap: looks for the few events that carry usage, finish reason, an error or the end, and decodes only those.
    """

    def feed(self, chunk: bytes) -> None: ...

    def done(self) -> Done:
        """What the stream came to so far. `complete` is False when its end was not seen. No charges: that is the
        backend's to say. `usage` is None when the stream told none."""
        ...

    def output_text(self) -> str:
        """The text (answer, reasoning, tool arguments) streamed so far, decoded now from what was kept: for counting
        the usage of streams that were cut or told none."""
        ...


class Codec(Protocol):
    """The functions of a wire module."""

    def tap(self) -> Tap: ...

    def read(self, body: bytes) -> Done:
        """Usage and finish reason of a whole answer; an unreadable one gives a Done without usage, complete False."""
        ...

    def fold(self, stream: bytes) -> bytes:
        """The whole answer that a complete stream amounts to. Raises ValueError if it is not complete."""
        ...

    def unfold(self, body: bytes, *, include_usage: bool = True) -> list[bytes]:
        """A whole answer as the chunks of a stream, one event each, its end marker included.

        include_usage: for Chat Completions, whether the caller asked for the usage chunk.
        """
        ...

    def view(self, request: Request) -> View:
        """Raises BadRequest where the body's shape makes it unreadable."""
        ...

    def error(self, status: int, kind: str, message: str, *, code: str | None = None) -> bytes:
        """An error body in this protocol's shape."""
        ...

    def error_event(self, kind: str, message: str, *, code: str | None = None) -> bytes:
        """An error in the middle of a stream, as this protocol says it."""
        ...

    def stream_type(self) -> str:
        """The content type of a stream."""
        ...


_MODULES = {wire: f"{__name__}.{wire.value}" for wire in Wire}


def codec(wire: Wire) -> Codec:
    """The module of that wire, imported when first asked for."""
    name = _MODULES[wire]
    found: Any = sys.modules.get(name) or import_module(name)
    return found  # type: ignore[no-any-return]  # a cast is a call, and every call of a caller's comes here
