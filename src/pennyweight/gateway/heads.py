"""Heads of requests that came before on their connection.

An agent's client sends the same head with every call, but for the length of the body. Bytes that are the same mean the
same: such a head is recognised by one comparison, and neither read again nor made into anything again.
"""

from __future__ import annotations

import re

import msgspec

from ..front.http import HttpRequest

__all__ = ["Head", "head_of"]


class Head(msgspec.Struct, frozen=True, eq=False):
    """`before` ends where the digits of the body's length begin, `after` begins where they end. Lives no longer than
    its connection."""

    before: bytes
    after: bytes
    request: HttpRequest  # without a body

    def length(self, data: bytes) -> tuple[int, int] | None:
        """How long the body is, and where it begins in `data`; None where `data` begins with another head."""
        after = self.after
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return None
        return int(digits), end + len(after)


_MOST_DIGITS = 18
_MOST_BYTES = 16_384
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_NOT_PLAIN = frozenset({"transfer-encoding", "expect", "upgrade", "trailer", "te"})


def head_of(data: bytes, request: HttpRequest) -> Head | None:
    """The head at the beginning of `data`, which was read as `request`; None for one that says more of its body than
    the length, or not even that."""
    end = data.find(b"\r\n\r\n", 0, _MOST_BYTES)
    if end < 0 or not _NOT_PLAIN.isdisjoint(request.fields):
        return None
    raw = data[: end + 4]
    found = _LENGTH.search(raw)
    if found is None or [name for name, _ in request.headers].count("content-length") != 1:
        return None
    return Head(raw[: found.start(1)], raw[found.end(1) :], request.first())
