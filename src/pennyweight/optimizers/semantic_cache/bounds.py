"""An upper confidence bound on how often answers are wrong, for samples drawn unevenly. Plain Python, no I/O.

Each part stands for a known share of the traffic: the gamma interval of Fay and Feuer (Statistics in Medicine 16,
1997), which for equal weights is the exact Poisson bound, a little above Clopper and Pearson's (`binomial`), and in
their simulations never fell short of its level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

__all__ = ["weighted"]

_STEPS = 60  # halvings: far below any figure that we print
_TERMS = 400  # of a series or continued fraction, which end long before for the counts that occur


def weighted(parts: Sequence[tuple[float, int, int]], *, alpha: float = 0.05) -> float:
    """The rate in [0, 1] that the true one exceeds with probability `alpha` at most, by parts: (share of the traffic,
    wrong, labels) of each, shares adding up to 1.

    1.0 as soon as a part that has a share has no labels: nothing is known of it.
    """
    mean = variance = heaviest = 0.0
    for share, wrong, labels in parts:
        if share <= 0.0:
            continue
        if labels <= 0:
            return 1.0
        weight = share / labels
        mean += weight * wrong
        variance += weight * weight * wrong
        heaviest = max(heaviest, weight)
    if heaviest == 0.0:
        return 1.0
    mean += heaviest  # one wrong answer more, in the part where it weighs most: what makes the bound exact at none
    variance += heaviest * heaviest
    shape = mean * mean / variance
    scale = variance / mean
    most = shape + 20.0 * math.sqrt(shape) + 60.0
    return min(_solve(lambda x: _gamma(shape, x), 1.0 - alpha, most) * scale, 1.0)


def _solve(rises: Callable[[float], float], level: float, high: float) -> float:
    """Where a rising function on [0, high] reaches `level`, from above."""
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if rises(middle) < level:
            low = middle
        else:
            high = middle
    return high


def _gamma(shape: float, x: float) -> float:
    """The regularised lower incomplete gamma function P(shape, x) (DLMF 8.11.4 and 8.9.2)."""
    if x <= 0.0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        for n in range(1, _TERMS):
            term *= x / (shape + n)
            total += term
            if term < total * 1e-15:
                break
        return min(front * total, 1.0)

    def step(n: int) -> tuple[float, float]:
        return (1.0, x + 1.0 - shape) if n == 0 else (-n * (n - shape), x + 2.0 * n + 1.0 - shape)

    return max(1.0 - front * _fraction(step), 0.0)


def _fraction(step: Callable[[int], tuple[float, float]]) -> float:
    """The continued fraction p0/(q0 + p1/(q1 + …)) of the pairs that `step` gives (modified Lentz, DLMF 3.10)."""
    tiny = 1e-300
    value, c, d = tiny, tiny, 0.0
    for n in range(_TERMS):
        p, q = step(n)
        d = q + p * d or tiny
        c = q + p / c or tiny
        d = 1.0 / d
        change = c * d
        value *= change
        if abs(change - 1.0) < 1e-15:
            break
    return value
