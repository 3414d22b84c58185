"""An answer limited to what is left of a budget: which tokens there is room for, and how a request says so. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...call import Call
from ...request import Edit, Operation, Wire

__all__ = ["OUTPUT_LIMITS", "above_0", "limited", "room"]

_LEAST_TOKENS = 1_024
"""Of an answer: one that would be cut before that is of no use to an agent, and is not asked for."""


def room(whole: int, bare: int, left: int, output_tokens: int) -> int:
    """The tokens of an answer that what is left has room for. whole: what the call takes with all its `output_tokens`;
    bare: without any. In the unit of the budget, as `left` is."""
    if whole <= bare or left <= bare:
        return 0
    return max(min((left - bare) * output_tokens // (whole - bare) - 1, output_tokens), 0)  # 1: for what is rounded up


def limited(call: Call, output_tokens: int) -> tuple[Edit, ...] | None:
    """What has the provider answer with so many tokens at most, over all answers of the call; None: that cannot be
    had, or such an answer would be of no use."""
    request = call.request
    if request.operation is not Operation.GENERATE:
        return None
    body = request.body
    most = output_tokens // (above_0(body.get("n")) or 1)
    thinking = body.get("thinking")
    thought = above_0(thinking.get("budget_tokens")) if isinstance(thinking, Mapping) else 0
    if most < _LEAST_TOKENS + thought:  # Messages: what is thought counts, and its budget must be below the limit
        return None
    options = body.get("options")
    named: dict[tuple[str, ...], Any] = {(name,): body[name] for name in OUTPUT_LIMITS if body.get(name) is not None}
    if isinstance(options, Mapping) and options.get("num_predict") is not None:
        named["options", "num_predict"] = options["num_predict"]
    if not named:
        return (Edit(_place(call), most),)
    if not all(map(above_0, named.values())):
        return None  # the upstream shall say what is wrong with it
    return tuple(Edit(place, min(above_0(value), most)) for place, value in named.items())


OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _place(call: Call) -> tuple[str, ...]:
    match call.request.wire:
        case Wire.OPENAI_RESPONSES:
            return ("max_output_tokens",)
        case Wire.OLLAMA:
            return ("options", "num_predict")
        case Wire.OPENAI_CHAT if call.target.provider == "openai":
            return ("max_completion_tokens",)  # its reasoning models refuse the old name
        case _:
            return ("max_tokens",)


def above_0(value: Any) -> int:
    """0 for what is no number above 0. Many servers take 64000.0 for 64000, so it counts as that."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return max(int(value), 0)
