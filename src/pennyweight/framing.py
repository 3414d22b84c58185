"""Heads of HTTP messages that came before on their connection.

Whoever sends many messages over one connection mostly sends the same head with each, but for the length of the body.
Bytes that are the same mean the same: such a head is recognised by one comparison, and not read again.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

__all__ = ["Frame", "frame_of"]


class Frame(msgspec.Struct, frozen=True, eq=False):
    """`before` ends where the digits of the body's length begin, `after` begins where they end."""

    before: bytes
    after: bytes
    start: int  # how long `before` is
    rest: int  # and `after`

    def length(self, data: bytes) -> tuple[int, int] | None:
        """How long the body is, and where it begins in `data`; None where `data` begins with another head."""
        if not data.startswith(self.before):
            return None
        start = self.start
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        digits = data[start:end]
        if end > start and digits.isdigit() and data.startswith(self.after, end):
            return int(digits), end + self.rest
        return None


_MOST_DIGITS = 18
_MOST_BYTES = 16_384
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_NOT_PLAIN = frozenset({"transfer-encoding", "expect", "upgrade", "trailer", "te"})


def frame_of(data: bytes, names: Collection[str]) -> Frame | None:
    """The head at the beginning of `data`, in which a parser found headers of these names (lower case); None for one
    that says more of its body than the length, or not even that."""
    end = data.find(b"\r\n\r\n", 0, _MOST_BYTES)
    if end < 0 or not _NOT_PLAIN.isdisjoint(names):
        return None
    raw = data[: end + 4]
    found = _LENGTH.search(raw)
    if found is None or [*names].count("content-length") != 1:
        return None
    before, after = raw[: found.start(1)], raw[found.end(1) :]
    return Frame(before, after, len(before), len(after))
