"""What a caller's Cache-Control header asks of us (RFC 9111, section 5.2.1)."""

from __future__ import annotations

import msgspec

from ..request import Request

__all__ = ["Wishes", "wishes"]


class Wishes(msgspec.Struct, frozen=True):
    no_cache: bool = False  # ask anew, and keep what comes
    no_store: bool = False  # keep nothing
    max_age_s: float = float("inf")  # take no older answer


_NONE = Wishes()


def wishes(request: Request) -> Wishes:
    header = request.header("cache-control")
    if header is None:
        return _NONE
    names: set[str] = set()
    max_age_s = float("inf")
    for directive in header.lower().split(","):
        name, _, value = (piece.strip() for piece in directive.partition("="))
        names.add(name)
        if name == "max-age":
            told = value.strip('"')
            # A limit that we cannot read is taken as the strictest.
            max_age_s = min(max_age_s, float(told) if told.isdecimal() else 0.0)
    return Wishes("no-cache" in names, "no-store" in names, max_age_s)
