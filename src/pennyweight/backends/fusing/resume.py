"""Goes on with an answer whose source broke off, out of another answer to the same question from its start.

What the caller has is skipped in the new answer: by its bytes as long as they are the same, then by what it says. An
answer that says something else cannot be gone on with.
"""

from __future__ import annotations

from ...errors import StreamCut, Unreachable
from ...request import Wire
from ...wire.sse import Splitter
from ...wire.translate.lines import Lines
from ...wire.translate.pieces import (
    CallBegin,
    CallPiece,
    Failed,
    Opened,
    Piece,
    RefusalPiece,
    TextPiece,
    ThinkPiece,
    Writer,
)
from ...wire.translate.stream import named, reader, writer

__all__ = ["Resume", "whole_events"]


def whole_events(wire: Wire, pending: bytes) -> tuple[bytes, bytes]:
    """(what ends with an event, the rest). Only whole events can be gone on from."""
    if wire is Wire.OLLAMA:
        cut = pending.rfind(b"\n") + 1
    else:
        cut = max(pending.rfind(mark) + len(mark) if mark in pending else 0 for mark in (b"\n\n", b"\r\n\r\n"))
    return pending[:cut], pending[cut:]


class Resume:
    """`feed` the new answer's bytes; gives what comes after `sent`, which must be whole events. `end` when it is over.

    Raises StreamCut where the new answer says something else than what was sent.
    """

    def __init__(self, wire: Wire, sent: bytes, *, model: str, include_usage: bool = False) -> None:
        """include_usage: whether a Chat Completions caller asked for the usage chunk."""
        self._wire = wire
        self._include_usage = include_usage
        self._sent = sent
        self._model = model
        self._same = 0  # bytes of the new answer that are those that were sent
        self._other: _Said | None = None  # once they differ

    def feed(self, chunk: bytes) -> bytes:
        if self._other is not None:
            return self._other.feed(chunk)
        expected = self._sent[self._same : self._same + len(chunk)]
        if chunk.startswith(expected):
            self._same += len(expected)
            return chunk[len(expected) :]
        before = self._sent[: self._same]
        self._other = _Said(self._wire, self._sent, self._model, self._include_usage)
        return self._other.feed(before + chunk)

    def end(self) -> bytes:
        if self._other is not None:
            return self._other.end()
        if self._same < len(self._sent):
            raise StreamCut("The answer broke off, and a second one was shorter. Ask again.")
        return b""


class _Said:
    """The same by what is said. The writer is brought to where the caller is by writing what it has once more."""

    def __init__(self, wire: Wire, sent: bytes, model: str, include_usage: bool) -> None:
        self._cut = _splitter(wire)
        self._reader = reader(wire)
        self._writer: Writer = writer(wire, model, include_usage=include_usage)
        self._left: list[tuple[str, str]] = []  # (kind, text) that the caller has and the new answer still has to say
        old, splitter = reader(wire), _splitter(wire)
        for name, data in named(splitter.feed(sent)):
            if not data.strip():
                continue
            for piece in old.read(name, data):
                self._writer.write(piece)
                said = _said(piece)
                if said is None:
                    continue
                if self._left and self._left[-1][0] == said[0] and said[0] != "call":
                    self._left[-1] = (said[0], self._left[-1][1] + said[1])
                elif said[1]:
                    self._left.append(said)
        self._left.reverse()

    def feed(self, chunk: bytes) -> bytes:
        return self._go_on(named(self._cut.feed(chunk)))

    def end(self) -> bytes:
        rest = self._cut.feed(b"\n") if isinstance(self._cut, Lines) else self._cut.close()
        out = self._go_on(named(rest))
        if self._left:
            raise _differs()
        return out

    def _go_on(self, events: list[tuple[str, bytes]]) -> bytes:
        out: list[bytes] = []
        for name, data in events:
            if not data.strip():
                continue
            try:
                pieces = self._reader.read(name, data)
            except (ValueError, TypeError, AttributeError, KeyError):
                raise Unreachable("The upstream sent an event in its stream that is not of its protocol.") from None
            for piece in pieces:
                new = self._unsaid(piece)
                if new is not None:
                    out.append(self._writer.write(new))
        return b"".join(out)

    def _unsaid(self, piece: Piece) -> Piece | None:
        """What of the piece the caller does not have yet."""
        if isinstance(piece, Opened):
            return None
        if not self._left or isinstance(piece, Failed):
            return piece
        said = _said(piece)
        if said is None:
            return None  # the end of a block that the caller has, or the new answer's end, which is found out then
        kind, text = self._left[-1]
        if said[0] != kind:
            raise _differs()
        if text.startswith(said[1]) and (kind != "call" or text == said[1]):
            self._have(kind, text[len(said[1]) :])
            return None
        if kind == "call" or not said[1].startswith(text):
            raise _differs()
        self._left.pop()
        return _with_text(piece, said[1][len(text) :])

    def _have(self, kind: str, rest: str) -> None:
        if rest:
            self._left[-1] = (kind, rest)
        else:
            self._left.pop()


def _said(piece: Piece) -> tuple[str, str] | None:
    match piece:
        case TextPiece(text=text):
            return "text", text
        case RefusalPiece(text=text):
            return "refusal", text
        case ThinkPiece(text=text):
            return "thinking", text
        case CallBegin(name=name):
            return "call", name
        case CallPiece(arguments=text):
            return "arguments", text
        case _:
            return None


def _with_text(piece: Piece, text: str) -> Piece:
    match piece:
        case TextPiece():
            return TextPiece(text)
        case RefusalPiece():
            return RefusalPiece(text)
        case ThinkPiece():
            return ThinkPiece(text)
        case CallPiece(index=index):
            return CallPiece(index, text)
        case _:
            return piece


def _splitter(wire: Wire) -> Splitter | Lines:
    return Lines() if wire is Wire.OLLAMA else Splitter()


def _differs() -> StreamCut:
    return StreamCut("The answer broke off, and a second one says something else. Ask again.")
