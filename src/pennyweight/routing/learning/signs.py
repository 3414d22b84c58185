"""What a finished call tells of whether its answer was good, without anybody saying so. Mostly: nothing.

An answer that nobody complained of is not a success. A provider that failed says nothing of its model either.
"""

from __future__ import annotations

import msgspec

from ...call import Outcome
from ...errors import BadRequest
from ...wire.offered import calls_in, offered
from .outcomes import Source

__all__ = ["sign"]

_REFUSED = frozenset({"content_filter", "refusal", "safety"})


def sign(outcome: Outcome, *, structured: bool) -> tuple[float, Source] | None:
    """Success (0 or 1) and what tells it; None: nothing does. structured: the caller asked for JSON."""
    if outcome.status != 200 or outcome.abandoned or outcome.error or not outcome.done.complete:
        return None
    if outcome.done.finish_reason in _REFUSED:
        return 0.0, "error"
    response = outcome.response
    if response is None:
        return None
    try:
        calls = list(calls_in(response.wire, response.raw))
        names = offered(outcome.call.original).names
    except (ValueError, BadRequest, AttributeError, TypeError):
        return None
    if calls:
        return float(all(isinstance(arguments, dict) and name in names for name, arguments in calls)), "validity"
    if not structured or outcome.output_text is None:
        return None
    try:
        msgspec.json.decode(outcome.output_text())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return 0.0, "validity"
    return 1.0, "validity"
