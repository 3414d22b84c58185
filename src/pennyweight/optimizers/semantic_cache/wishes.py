"""What a caller's Cache-Control header asks of us (RFC 9111, section 5.2.1)."""

from __future__ import annotations

import msgspec

from ...request import Request

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
    asked = dict(part.strip().lower().partition("=")[::2] for part in header.split(","))
    told = asked.get("max-age", "").strip().strip('"')
    # A limit that we cannot read is taken as the strictest.
    max_age_s = float("inf") if "max-age" not in asked else float(told) if told.isdecimal() else 0.0
    return Wishes("no-cache" in asked, "no-store" in asked, max_age_s)
