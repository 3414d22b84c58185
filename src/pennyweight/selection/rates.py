"""What is known of a rate of success that may change at any time: a likelihood over a grid, and its forgetting. Pure.

The rate is one of 20 values. Between two tasks it may jump, with a small probability, to anything that the prior says;
so what was observed loses its weight with the tasks that went by since, and at once where an observation can hardly be
explained by it. This is the exact filter of that model (a hidden Markov chain; Rabiner 1989, section III.A; with jumps
to the prior it is Adams and MacKay's change-point model, 2007, summed over run lengths). A likelihood is kept apart
from the prior, which moves as more becomes known of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

__all__ = ["BINS", "FLAT", "GRID", "aged", "beta", "counts", "mean", "observed", "quantile"]

BINS = 20
GRID = [(i + 0.5) / BINS for i in range(BINS)]
FLAT = [1.0] * BINS
_REST = [1.0 - rate for rate in GRID]
_LOG = [math.log(rate) for rate in GRID]
_LOG_REST = [math.log(rest) for rest in _REST]


def beta(centre: float, weight: float) -> list[float]:
    """The prior of a rate: Beta of that mean and as many pseudo-observations, on the grid, adding up to 1."""
    centre = min(max(centre, 0.02), 0.98)
    a, b = centre * weight - 1.0, (1.0 - centre) * weight - 1.0
    found = [math.exp(a * log + b * log_rest) for log, log_rest in zip(_LOG, _LOG_REST, strict=True)]
    total = sum(found)
    return [value / total for value in found]


def aged(likelihood: Sequence[float], prior: Sequence[float], kept: float) -> list[float]:
    """The likelihood after a time: with probability `kept` nothing has changed, else it says nothing any more.

    Scaled so that the sum of prior times likelihood is 1.
    """
    scale = kept / sum(map(mul, prior, likelihood))
    gone = 1.0 - kept
    return [scale * value + gone for value in likelihood]


def observed(likelihood: Sequence[float], value: float) -> list[float]:
    """After one more outcome, in [0, 1]; one between 0 and 1 counts as so much of a success."""
    if value >= 1.0:
        return list(map(mul, likelihood, GRID))
    if value <= 0.0:
        return list(map(mul, likelihood, _REST))
    rest = 1.0 - value
    return [
        known * math.exp(value * log + rest * log_rest)
        for known, log, log_rest in zip(likelihood, _LOG, _LOG_REST, strict=True)
    ]


def quantile(posterior: Sequence[float], share: float) -> float:
    """The rate below which that share of the posterior lies, in [0, 1]. It need not add up to 1."""
    left = share * sum(posterior)
    for place, mass in enumerate(posterior):
        if mass >= left:
            return (place + (left / mass if mass > 0.0 else 0.0)) / BINS
        left -= mass
    return 1.0


def mean(posterior: Sequence[float]) -> float:
    return float(sum(map(mul, posterior, GRID)) / sum(posterior))


def counts(likelihood: Sequence[float]) -> tuple[float, float]:
    """(rate, n): the observations that a likelihood amounts to, were nothing else known and nothing forgotten."""
    total = sum(likelihood)
    weighted = list(map(mul, likelihood, GRID))
    centre = sum(weighted) / total
    spread = sum(map(mul, weighted, GRID)) / total - centre * centre
    n = max(centre * (1.0 - centre) / max(spread, 1e-6) - 3.0, 0.0)
    if n == 0.0:
        return centre, 0.0
    return min(max((centre * (n + 2.0) - 1.0) / n, 0.0), 1.0), n
