"""Streams cut into events or lines that keep their bytes, however the network cut them."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...errors import BadRequest
from .. import sse

__all__ = ["Pieces", "by_event", "by_line", "event_of"]

_GAP = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")

Cut = Callable[[bytes], tuple[list[bytes], bytes]]
"""Whole pieces of what is at hand, and the rest that has not ended."""


def by_event(data: bytes) -> tuple[list[bytes], bytes]:
    """Events of a stream, each with its blank line."""
    if b"\r" not in data:  # as nearly all providers write it
        *whole, rest = data.split(b"\n\n")
        return [piece + b"\n\n" for piece in whole], rest
    return _by_gap(data)


def _by_gap(data: bytes) -> tuple[list[bytes], bytes]:
    held = b"\r" if data.endswith(b"\r") else b""  # half of a CRLF, perhaps
    found, at = [], 0
    for gap in _GAP.finditer(data, 0, len(data) - len(held)):
        found.append(data[at : gap.end()])
        at = gap.end()
    return found, data[at:]


def by_line(data: bytes) -> tuple[list[bytes], bytes]:
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole], rest


def event_of(piece: bytes) -> sse.Event | None:
    """The event in a piece; None for a comment or a blank one."""
    if piece.endswith(b"\n\n"):  # the two shapes that nearly all events have, without a search for others
        if piece.startswith(b"data: ") and piece.find(b"\n") == len(piece) - 2:
            return sse.Event(piece[6:-2])
        at = piece.find(b"\ndata: ")
        if piece.startswith(b"event: ") and at == piece.find(b"\n") and piece.find(b"\n", at + 1) == len(piece) - 2:
            return sse.Event(piece[at + 7 : -2], piece[7:at].decode("utf-8", "replace"))
    found = sse.events(piece)
    return found[0] if found else None


class Pieces:
    """Feeds pieces to `see`, which gives what is to be passed on. One that it cannot read passes."""

    __slots__ = ("_cut", "_look", "_rest")

    def __init__(self, cut: Cut, see: Callable[[bytes], bytes]) -> None:
        self._cut = cut
        self._look = see
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        if self._rest and b"\n" not in chunk and b"\r" not in chunk:
            self._rest.append(chunk)
            return b""
        whole, rest = self._cut(b"".join((*self._rest, chunk)))
        self._rest = [rest] if rest else []
        return b"".join(map(self._see, whole))

    def close(self) -> bytes:
        """What the end of a leg leaves: a last piece that nothing ended."""
        rest, self._rest = b"".join(self._rest), []
        return self._see(rest) if rest else b""

    def _see(self, piece: bytes) -> bytes:
        try:
            return self._look(piece)
        except (ValueError, AttributeError, KeyError, IndexError, TypeError, BadRequest):
            return piece  # of another shape than its protocol's: it goes on as it came
