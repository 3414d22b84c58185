"""Server-sent events: bytes cut anywhere into events, events into bytes, and one event out of a long stream.

Follows the HTML Standard, section 9.2.6, with two liberties that real providers need: a last event without its blank
line counts, and `data` stays bytes, so that a character cut by the network is nobody's problem. Knows no JSON.
"""

from __future__ import annotations

import msgspec

__all__ = ["Event", "Splitter", "around", "encode", "events", "normal"]


class Event(msgspec.Struct, frozen=True):
    """`data`: the data lines joined by line feeds; `name`: the `event:` field, "" when there is none."""

    data: bytes
    name: str = ""


class Splitter:
    """Events out of chunks as they come. Line ends may be CR, LF or CRLF, and a chunk may end between CR and LF."""

    __slots__ = ("_after_cr", "_data", "_name", "_partial", "_started")

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # pieces of the line that has not ended yet
        self._data: list[bytes] = []
        self._name = ""
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completed."""
        if not chunk:
            return []
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._after_cr = chunk[-1:] == b"\r" if chunk else False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._partial.append(chunk)
            return []
        lines = b"".join((*self._partial, chunk)).splitlines(keepends=True)
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        self._partial = [lines.pop()] if lines[-1][-1:] not in b"\r\n" else []
        return [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]

    def close(self) -> list[Event]:
        """The event that the end of the stream completes: one whose blank line is missing."""
        rest = b"".join(self._partial)
        self._partial = []
        last = self._line(rest) if rest else None
        end = self._line(b"")
        return [event for event in (last, end) if event is not None]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            data, name = self._data, self._name
            self._data, self._name = [], ""
            return Event(b"\n".join(data), name) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


def events(stream: bytes) -> list[Event]:
    """All events of a stream that is at hand, but for those that say nothing (some servers keep a line open so)."""
    blocks = normal(stream.removeprefix(b"\xef\xbb\xbf")).split(b"\n\n")
    return [event for block in blocks if (event := _event(block)).data.strip()]


def encode(data: bytes, name: str = "") -> bytes:
    """One event, its blank line included. Without a name there is no `event:` line."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    body = data if b"\n" not in data else data.replace(b"\n", b"\ndata: ")
    return b"%bdata: %b\n\n" % (head, body)


def normal(stream: bytes) -> bytes:
    """The stream with line feeds as its only line ends, as `around` needs it."""
    if b"\r" not in stream:
        return stream
    return stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def around(stream: bytes, at: int) -> tuple[int, bytes]:
    """Where the event at byte `at` of a normal stream begins, and its data."""
    start = stream.rfind(b"\n\n", 0, at) + 2
    if start == 1:
        start = 0
    end = stream.find(b"\n\n", at)
    block = stream[start:] if end < 0 else stream[start:end]
    if block.startswith(b"data:") and b"\n" not in block:
        return start, block[5:]
    return start, _event(block).data


def _event(block: bytes) -> Event:
    """The event of the lines between two blank ones."""
    data, name = [], ""
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ").decode("utf-8", "replace")
        elif line == b"data":
            data.append(b"")
    return Event(b"\n".join(data), name)
