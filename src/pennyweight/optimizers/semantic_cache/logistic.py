"""Logistic regression by Newton's method: small, exact to rounding, the same on every machine. Needs numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "fit"]

Floats = NDArray[np.float64]

_EDGE = 30.0  # of log-odds: exp stays finite
_ROUNDS = 25
_HALVINGS = 12
_CLOSE = 1e-6  # of the loss, relative


def fit(rows: Floats, right: Floats, *, shrink: float, towards: Floats) -> Floats:
    """The weights of P(right) = 1 / (1 + exp(-rows @ weights)), as near to `towards` as the rows allow.

    rows: (n, d) float64, a column of ones among them; right: (n,) of 0 and 1; towards: (d,), where the weights stay
    without evidence; shrink: how strongly, as a ridge penalty of shrink / 2 per squared difference.
    """

    def loss(weights: Floats) -> float:
        odds = rows @ weights
        away = weights - towards
        return float((np.logaddexp(0.0, odds) - right * odds).sum() + shrink / 2 * (away @ away))

    weights: Floats = np.zeros(rows.shape[1])  # where the curvature is greatest, so that no first step runs away
    now = loss(weights)
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -_EDGE, _EDGE)))
        slope = rows.T @ (chance - right) + shrink * (weights - towards)
        bend = (rows * (chance * (1.0 - chance))[:, None]).T @ rows + shrink * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        before = now
        for halved in range(_HALVINGS):  # Newton's step may be too long where chances are near 0 or 1
            tried = weights - step / 2**halved
            now = loss(tried)
            if now <= before:
                weights = tried
                break
        else:
            return weights
        if before - now <= _CLOSE * abs(before):
            break
    return weights
