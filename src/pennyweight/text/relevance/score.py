"""How probably each of many texts holds what is asked: words, vectors where there are any, and neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .bm25 import Index
from .words import common, words

__all__ = ["EMBED_TOKENS", "Embed", "score"]

Embed = Callable[[Sequence[str]], Any]
"""Texts to (n, d) vectors of unit length: an array, or rows of floats."""

EMBED_TOKENS = 3_000
"""MiniLM takes 75 to 100 ms of one core for 1,000 tokens."""


def score(
    texts: Sequence[str],
    query: str,
    *,
    tokens: Sequence[int] | None = None,
    embed: Embed | None = None,
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    shape: Literal["passages", "talk"] = "passages",
) -> list[float]:
    """One figure a text in [0, 1]; only their order means anything, and only among these texts."""
    asked = Counter(word for word in words(query) if not common(word))
    own = scaled(Index([words(text) for text in texts]).scores(asked))
    around = smoothed(own, 9 if shape == "talk" else 3)
    return scaled([0.5 * here + 0.5 * near for here, near in zip(own, around, strict=True)])


def scaled(values: Sequence[float]) -> list[float]:
    """The values between 0 for the lowest and 1 for the highest; all 0 where they are equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) for value in values] if high > low else [0.0] * len(values)


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Each value as the mean of those within `width` around it."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    half = width // 2
    out = []
    for at in range(len(values)):
        first, last = max(at - half, 0), min(at + half + 1, len(values))
        out.append((sums[last] - sums[first]) / (last - first))
    return out
