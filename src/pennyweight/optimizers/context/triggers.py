"""When a session is compacted, and to how many tokens. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from .settings import Settings

__all__ = ["Trigger", "near", "trigger"]

Reason = Literal["window", "tokens", "turns", "result"]

_NEAR = 0.7
"""Of what starts a compaction, from where on one is prepared."""


class Trigger(msgspec.Struct, frozen=True):
    """`reason`: what started it. `budget_tokens`: for the texts of the conversation. `forced`: soon the model will not
    take the request as it is."""

    reason: Reason
    budget_tokens: int
    forced: bool = False


def trigger(
    settings: Settings, *, tokens: int, beside_tokens: int, turns: int, old_results: Sequence[int], window: int | None
) -> Trigger | None:
    """tokens: of the conversation's texts; beside_tokens: of instructions and tools. old_results: tokens of each tool
    result before the turns that stay. window: of the model; None: not known."""
    target = int(tokens * settings.target)
    if window is not None and tokens + beside_tokens > settings.window_share * window:
        room = int(settings.target * window) - beside_tokens
        return Trigger("window", max(min(target, room), 0), forced=True)
    if tokens + beside_tokens > settings.session_tokens:
        return Trigger("tokens", target)
    if turns > settings.turns:
        return Trigger("turns", target)
    large = [size for size in old_results if size > settings.result_tokens]
    if large:
        return Trigger("result", tokens - int(sum(large) * (1.0 - settings.target)))
    return None


def near(settings: Settings, *, size_bytes: int, items: int, window: int | None) -> bool:
    """Whether a body of that size may be near a trigger: a look that costs nothing. Bytes of JSON are at least one for
    each token, four as a rule."""
    if items > _NEAR * settings.turns:
        return True
    least = min(settings.result_tokens, settings.session_tokens, settings.window_share * (window or math.inf))
    return size_bytes > _NEAR * least * _BYTES


_BYTES = 2.0  # for a token, at least, in what is read over and over: scripts without spaces have two to three
