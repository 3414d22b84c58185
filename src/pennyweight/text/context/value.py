"""What a message is worth to whoever goes on with the work: its class, how near it is to the task, how new it is.

The figures are judgements, kept in one place. What they must do is put intents and decisions above results, and results
above small talk; where they stand between is not fine tuning, for most messages are never near the line.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..messages import Class
from .plan import Level

__all__ = ["RETAINED", "WEIGHTS", "value"]

WEIGHTS: Mapping[Class, float] = {
    "user_intent": 1.0,
    "decision": 0.9,
    "action_item": 0.8,
    "fact": 0.7,
    "tool_output": 0.5,
    "reasoning": 0.3,
    "confirmation": 0.0,  # nothing, so that a compaction drops them however small they are
    "obsolete": 0.0,
}

RETAINED: Mapping[Level, float] = {
    "verbatim": 1.0,
    "compressed": 0.9,
    "summarised": 0.6,
    "reference": 0.3,
    "dropped": 0.0,
}
"""The share of a message's value that a reader still has of it in that form."""

_HALF_LIFE = 12.0  # turns of the model
_OLDEST = 0.25  # of its value that a message keeps, however old
_OFF_TOPIC = 0.35


def value(kind: Class, *, relevance: float, age: int) -> float:
    """relevance: to the task at hand, in [0, 1]. age: turns of the model since."""
    recency: float = max(0.5 ** (age / _HALF_LIFE), _OLDEST)
    return WEIGHTS[kind] * (_OFF_TOPIC + (1.0 - _OFF_TOPIC) * relevance) * recency
