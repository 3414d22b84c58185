"""What an upstream's refusal says: whether another try can help, when, and what it cost so far."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from ..request import Charge, Done, Headers, Reply, get_header

__all__ = ["BUSY", "KEY_REFUSED", "add_charges", "retry_after_s", "says_no_retry"]

BUSY = frozenset({429, 500, 502, 503, 529})
"""Refusals that say nothing about the request: another moment or another upstream may answer it."""

KEY_REFUSED = frozenset({401, 402, 403})
"""Refusals of the key or the account behind it: another key or another upstream may answer."""


def retry_after_s(headers: Headers, now: float) -> float | None:
    """Seconds until the upstream wants to be asked again, from `retry-after-ms` (OpenAI) or `Retry-After` (RFC 9110,
    section 10.2.3: seconds or a date). None when it says nothing readable. `now`: unix seconds."""
    exact_ms = _number(get_header(headers, "retry-after-ms"))
    if exact_ms is not None:
        return exact_ms / 1000
    value = get_header(headers, "retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max((at - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0)


def says_no_retry(headers: Headers) -> bool:
    """Whether the upstream forbids another try (`x-should-retry: false`, sent by OpenAI and Anthropic)."""
    return get_header(headers, "x-should-retry") == "false"


def add_charges(reply: Reply, earlier: Iterable[Charge]) -> None:
    """Let what earlier attempts were billed show in this reply's end."""
    charges = tuple(earlier)
    if not charges:
        return

    def join(ended: Reply) -> None:
        done = ended.done or Done(complete=False)
        ended.done = msgspec.structs.replace(done, charges=charges + done.charges)

    reply.on_end.insert(0, join)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
