"""In which forms a session was sent, for a process that has not seen it: after a restart, or on another replica.

Kept are digests of forms, no text. Forms are made again from the request, which always gives the same; one whose digest
was kept is what the provider has in its cache.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from xxhash import xxh3_64_digest

from .results import Result

__all__ = ["SentBefore", "digest", "packed", "unpacked"]

NAME = "forms"
"""Under which it is kept beside a session's texts."""

_VERSION, _BYTES = b"\x01", 8


class SentBefore(msgspec.Struct, frozen=True):
    """`tool`: the tool that gives left-out texts back was in the list."""

    tool: bool
    forms: frozenset[bytes]


def digest(original: str, form: str) -> bytes:
    return xxh3_64_digest(f"{len(original)} {original}{form}".encode("utf-8", "surrogatepass"))


def packed(results: Iterable[Result], *, tool: bool) -> bytes:
    forms = {digest(result.original, result.sent) for result in results if not result.untouched}
    return b"".join((_VERSION, b"\x01" if tool else b"\x00", *sorted(forms)))


def unpacked(data: bytes) -> SentBefore | None:
    """None for what another release kept."""
    if data[:1] != _VERSION or len(data) < 2:
        return None
    digests = (data[at : at + _BYTES] for at in range(2, len(data), _BYTES))
    return SentBefore(data[1:2] == b"\x01", frozenset(digests))
