"""Logistic regression by Newton's method: small, exact to rounding, the same on every machine. Needs numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "fit"]

Floats = NDArray[np.float64]

_ROUNDS = 15
_FURTHEST = 3.0  # a weight moves at most so far in a round, or the first rounds overshoot
_CLOSE = 1e-4
_EDGE = 30.0  # of log-odds: exp stays finite


def fit(rows: Floats, right: Floats, *, shrink: float, towards: Floats, start: Floats | None = None) -> Floats:
    """The weights of P(right) = 1 / (1 + exp(-rows @ weights)), as near to `towards` as the rows allow.

    rows: (n, d) float64, a column of ones among them; right: (n,) of 0 and 1; towards: (d,), where the weights stay
    without evidence; shrink: how strongly, as a ridge penalty of shrink / 2 per squared difference. start: a guess, which
    saves rounds and changes nothing.
    """
    weights = (towards if start is None else start).copy()
    penalty = np.full(rows.shape[1], shrink)
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -_EDGE, _EDGE)))
        slope = rows.T @ (chance - right) + penalty * (weights - towards)
        bend = (rows * (chance * (1.0 - chance) + 1e-6)[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        most = float(np.abs(step).max())
        weights = weights - step * min(1.0, _FURTHEST / most if most > 0.0 else 1.0)
        if most < _CLOSE:
            break
    return weights
