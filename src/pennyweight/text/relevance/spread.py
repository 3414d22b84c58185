"""Rows of figures over places in a text: made comparable, and spread to neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["best_of_both", "middles", "scaled", "smoothed", "standard"]


def standard(values: Sequence[float]) -> list[float]:
    """The values with mean 0 and deviation 1; all 0 where they are equal."""
    count = len(values)
    if not count:
        return []
    mean = sum(values) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / count)
    return [(value - mean) / deviation for value in values] if deviation > 1e-9 else [0.0] * count


def scaled(values: Sequence[float]) -> list[float]:
    """The values between 0 for the lowest and 1 for the highest; all 0 where they are equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) for value in values] if high > low else [0.0] * len(values)


def middles(tokens: Sequence[int]) -> list[float]:
    """Where the middle of each text lies, in tokens from the beginning."""
    out, at = [], 0.0
    for size in tokens:
        out.append(at + size / 2)
        at += size
    return out


def smoothed(
    values: Sequence[float], places: Sequence[float], reach_tokens: float, masses: Sequence[float] | None = None
) -> list[float]:
    """The mean around each place, in which a neighbour counts e times less for every `reach_tokens` between.

    Tails that long serve better than a window's sharp ends where an answer may be one turn or fifty, and cost two
    passes. masses: how much each value counts; None: all alike.
    """
    count = len(values)
    if masses is None:
        masses = [1.0] * count
    fades = [math.exp((places[at] - places[at + 1]) / reach_tokens) for at in range(count - 1)]
    sums, weights = [0.0] * count, [0.0] * count
    total = weight = 0.0
    for at in range(count):
        fade = fades[at - 1] if at else 0.0
        total, weight = total * fade + values[at] * masses[at], weight * fade + masses[at]
        sums[at], weights[at] = total, weight
    total = weight = 0.0
    for at in range(count - 2, -1, -1):
        total = (total + values[at + 1] * masses[at + 1]) * fades[at]
        weight = (weight + masses[at + 1]) * fades[at]
        sums[at] += total
        weights[at] += weight
    return [share / mass if mass > 0 else 0.0 for share, mass in zip(sums, weights, strict=True)]


def best_of_both(one: Sequence[float], other: Sequence[float]) -> list[int]:
    """All places, those first where the sum of both rows is highest, each in deviations."""
    sums = [a + b for a, b in zip(standard(one), standard(other), strict=True)]
    return sorted(range(len(sums)), key=lambda at: -sums[at])
