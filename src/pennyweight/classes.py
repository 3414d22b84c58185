"""How strong a model probably is, by its name: a class where nothing else is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

__all__ = ["BELOW", "CLASSES", "Class", "class_of"]

Class = Literal["tiny", "small", "medium", "large", "frontier", "unknown"]
"""By parameters where the name tells them: below 4, 15 and 50 thousand million, and more. frontier: the best of their
makers; unknown: the name tells nothing."""

CLASSES: tuple[Class, ...] = get_args(Class)

BELOW: Mapping[Class, float] = {"frontier": 0.0, "large": 0.5, "medium": 0.85, "small": 1.3, "tiny": 2.1}
"""How far a class's rate of success lies below the frontier's, in log-odds: the mean over the types of tasks that were
measured (see `routing.learning.priors` for what was, and where it is from)."""

_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])")
_NAMES: tuple[tuple[Class, re.Pattern[str]], ...] = (
    ("tiny", re.compile(r"\bnano\b|tinyllama|smollm|phi-?[1-4](?:\.\d)?-mini")),
    (
        "medium",
        re.compile(
            r"(?<!ge)mini(?!max)|haiku|flash|gpt-3\.5|nemo\b|\bsmall\b|\blite\b|instant|\bfast\b|\bair\b|mixtral|command-r(?!-plus)"
        ),
    ),
    (
        "frontier",
        re.compile(
            r"opus|sonnet|gpt-[4-9]|(?:^|/)o[1-4]\b|gemini.*-pro\b|\bultra\b|\bmax\b|grok-[3-9]|405b|kimi-k[2-9]|"
            r"deepseek-(?:v[3-9]|r[1-9])"
        ),
    ),
    ("large", re.compile(r"large|minimax|deepseek|kimi|\bglm-[4-9]|qwen.*plus|gemini|grok|command-r-plus|medium")),
)


def class_of(model: str) -> Class:
    """model: as a provider calls it, with or without the provider's name before it."""
    name = model.lower()
    if "405b" not in name and (found := _SIZE.search(name)) is not None:
        size = float(found[2]) * (float(found[1]) * 0.6 if found[1] else 1.0)  # experts share layers
        return "tiny" if size < 4 else "small" if size < 15 else "medium" if size < 50 else "large"
    for kind, pattern in _NAMES:
        if pattern.search(name):
            return kind
    return "unknown"
