"""How many tokens of prompt the best-known models take. Prices name no windows, and providers raise them: these are
what their documentation said in 2026, on the low side where a family differs. What is not listed is not known."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

__all__ = ["WINDOWS", "window_of"]

WINDOWS: Mapping[str, int] = {
    "*claude*": 200_000,
    "*gpt-4o*": 128_000,
    "*gpt-4-turbo*": 128_000,
    "*gpt-4.1*": 1_000_000,
    "*gpt-5*": 272_000,
    "*codex*": 272_000,
    "o[134]*": 200_000,
    "*gemini*": 1_000_000,
    "*deepseek*": 128_000,
    "*mistral-large*": 128_000,
}


def window_of(model: str, windows: Mapping[str, int]) -> int | None:
    """By the first pattern that fits, the operator's own before those known here; None: not known."""
    name = model.lower()
    for pattern, tokens in (*windows.items(), *WINDOWS.items()):
        if fnmatchcase(name, pattern.lower()):
            return tokens
    return None
