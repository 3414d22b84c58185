"""Turns a stream of one protocol into a stream of another while it arrives."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...errors import StreamCut, Unreachable
from ...request import Wire
from ...surrogates import sound
from ..sse import Event, Splitter
from .anthropic_messages_stream import MessagesReader, MessagesWriter
from .fit import as_custom, json_object
from .lines import Lines
from .neutral import Memo, ToolCall
from .ollama_stream import OllamaReader, OllamaWriter
from .openai_chat_stream import ChatReader, ChatWriter
from .openai_responses_stream import ResponsesReader, ResponsesWriter
from .pieces import (
    BlockEnd,
    CallBegin,
    CallPiece,
    Counted,
    Ended,
    Failed,
    Opened,
    Piece,
    Reader,
    Stopped,
    Writer,
)

__all__ = ["StreamTranslator", "named", "reader", "writer"]


class StreamTranslator:
    """`feed` takes the upstream's bytes, cut anywhere, and gives the caller's; `end` is called when they are over.

    include_usage: whether a Chat Completions caller asked for the usage chunk. at: unix seconds, for answers whose
    upstream tells no time. memo: Translated.memo of the request.
    """

    def __init__(
        self,
        source: Wire,
        target: Wire,
        *,
        model: str,
        include_usage: bool = False,
        memo: Memo | None = None,
        at: float = 0.0,
    ) -> None:
        memo = memo or Memo()
        self._cut: Splitter | Lines = Lines() if source is Wire.OLLAMA else Splitter()
        self._reader = reader(source)
        self._writer = writer(target, model, include_usage=include_usage, created=int(at), memo=memo)
        self._restore = _Restore(memo)
        self._opened = False
        self._over = False  # the end marker or an error was seen: what follows is not read

    @property
    def ended(self) -> bool:
        """Whether the caller has its end or an error event."""
        return self._over

    def feed(self, chunk: bytes) -> bytes:
        """Raises Unreachable when the upstream's stream is no such stream."""
        if self._over:
            return b""
        found = self._cut.feed(chunk)
        return self._translate(named(found))

    def end(self) -> bytes:
        """What is still owed to the caller. Raises StreamCut if the upstream never said that it was done."""
        if self._over:
            return b""
        found = self._cut.feed(b"\n") if isinstance(self._cut, Lines) else self._cut.close()
        out = self._translate(named(found))
        if not self._over:
            raise StreamCut("The upstream ended its stream before it was complete; ask again.")
        return out

    def _translate(self, events: Iterable[tuple[str, bytes]]) -> bytes:
        out: list[bytes] = []
        for name, data in events:
            if self._over or not data.strip():
                continue
            try:
                pieces = self._reader.read(name, sound(data))
            except (msgspec.DecodeError, ValueError, TypeError, AttributeError, KeyError):
                raise Unreachable("The upstream sent an event in its stream that is not of its protocol.") from None
            for piece in pieces:
                out += [self._write(restored) for restored in self._restore.each(piece)]
        return b"".join(out)

    def _write(self, piece: Piece) -> bytes:
        if self._over:
            return b""
        head = b""
        if isinstance(piece, Opened):
            if self._opened:
                return b""
            self._opened = True
        elif not self._opened and not isinstance(piece, Failed):
            self._opened = True
            head = self._writer.write(Opened("", ""))
        self._over = isinstance(piece, Ended | Failed)
        return head + self._writer.write(piece)


class _Restore:
    """Gives calls the caller's own names, and custom tools the text that stood inside their function arguments."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._held: dict[int, tuple[CallBegin, list[str]]] = {}

    def each(self, piece: Piece) -> list[Piece]:
        match piece:
            case CallBegin():
                flushed = self._flush(force=False)
                name = self._memo.renamed.get(piece.name, piece.name)
                space = self._memo.namespaces.get(name, piece.namespace)
                begun = msgspec.structs.replace(piece, name=name, namespace=space)
                if name not in self._memo.custom or piece.custom:
                    return [*flushed, begun]
                self._held[piece.index] = (begun, [])
                return [*flushed, msgspec.structs.replace(begun, custom=True)]
            case CallPiece(index=index, arguments=text) if index in self._held:
                self._held[index][1].append(text)
                return []
            case Counted():
                return [piece]
            case BlockEnd() | Stopped() | Ended():
                return [*self._flush(force=True), piece]
            case _:
                return [*self._flush(force=False), piece]

    def _flush(self, *, force: bool) -> list[Piece]:
        out: list[Piece] = []
        for index, (begun, pieces) in list(self._held.items()):
            text = "".join(pieces)
            if not force and not (text.strip() and json_object(text) is not None):
                continue
            del self._held[index]
            call = as_custom(ToolCall(begun.id, begun.name, text), self._memo)
            out.append(CallPiece(index, call.arguments))
        return out


def named(found: list[bytes] | list[Event]) -> list[tuple[str, bytes]]:
    """(event name, data) of what `Splitter` and `Lines` give."""
    return [(item.name, item.data) if isinstance(item, Event) else ("", item) for item in found]


def reader(wire: Wire) -> Reader:
    """What reads the events of a stream in that protocol."""
    match wire:
        case Wire.OPENAI_CHAT:
            return ChatReader()
        case Wire.OPENAI_RESPONSES:
            return ResponsesReader()
        case Wire.ANTHROPIC_MESSAGES:
            return MessagesReader()
        case Wire.OLLAMA:
            return OllamaReader()


def writer(
    wire: Wire, model: str, *, include_usage: bool = False, created: int = 0, memo: Memo | None = None
) -> Writer:
    """What writes the events of a stream in that protocol."""
    memo = memo or Memo()
    match wire:
        case Wire.OPENAI_CHAT:
            return ChatWriter(model, include_usage=include_usage, created=created, memo=memo)
        case Wire.OPENAI_RESPONSES:
            return ResponsesWriter(model, include_usage=include_usage, created=created, memo=memo)
        case Wire.ANTHROPIC_MESSAGES:
            return MessagesWriter(model, include_usage=include_usage, created=created, memo=memo)
        case Wire.OLLAMA:
            return OllamaWriter(model, include_usage=include_usage, created=created, memo=memo)
