"""The signs of an answer as one score: the chance that a stronger model would not have said better.

A logistic function of the features, so that every weight can be read. Trained from compared answers by iterated
least squares, without any library; before there are such answers, weights set by hand by what each sign means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from .features import FEATURES

__all__ = ["Acceptor", "by_hand", "train"]

_MOST_ROWS = 5_000


class Acceptor(msgspec.Struct, frozen=True):
    """`weights`: of FEATURES in their order, the constant first. `rows`: that it was trained on, 0: by hand."""

    weights: tuple[float, ...]
    rows: int = 0
    names: tuple[str, ...] = FEATURES

    def score(self, features: Sequence[float]) -> float:
        """In (0, 1). Orders answers; how often one is wrong is for `bounds` to say."""
        return _sigmoid(self.weights[0] + sum(w * x for w, x in zip(self.weights[1:], features, strict=True)))

    @property
    def fits(self) -> bool:
        """Whether it was trained on the features of this version."""
        return self.names == FEATURES and len(self.weights) == len(FEATURES) + 1


_HAND = {
    "agrees": 2.5,
    "disagrees": -1.5,
    "alike": 1.0,
    "no_call": -0.5,
    "complaints": -4.0,
    "peer_complaints": -0.5,
    "made_up": -0.5,
    "peer_made_up": 1.0,
    "names_fit": 0.5,
    "calls": -0.5,
    "gives_up": -1.0,
    "length": -0.5,
    "sure": 1.5,
    "margin": 1.0,
}
"""No weight here was trained: signs and rough sizes by what docs/cascade.md says of each."""


def by_hand() -> Acceptor:
    return Acceptor((0.0, *(_HAND.get(name, 0.0) for name in FEATURES)))


def train(rows: Sequence[Sequence[float]], right: Sequence[bool], *, ridge: float = 1.0, steps: int = 12) -> Acceptor:
    """Logistic regression with a ridge, by Newton's method; of more rows than 5,000 the last ones count.

    rows: features; right: whether the answer was as good as the stronger model's. Raises ValueError where the lengths
    differ, or all outcomes are the same: there is nothing to be learnt from one class.
    """
    if len(rows) != len(right):
        raise ValueError(f"{len(rows)} rows and {len(right)} outcomes")
    rows, right = rows[-_MOST_ROWS:], right[-_MOST_ROWS:]
    if len(set(map(bool, right))) < 2:
        raise ValueError(f"all of the {len(right)} outcomes are the same; two kinds are needed to learn from")
    design = [(1.0, *row) for row in rows]
    size = len(FEATURES) + 1
    weights = [0.0] * size
    for _ in range(steps):
        step = _newton(design, right, weights, ridge)
        weights = [weight - change for weight, change in zip(weights, step, strict=True)]
        if max(map(abs, step)) < 1e-6:
            break
    return Acceptor(tuple(weights), len(rows))


def _newton(
    design: Sequence[tuple[float, ...]], right: Sequence[bool], weights: Sequence[float], ridge: float
) -> list[float]:
    size = len(weights)
    gradient = [ridge * weight if index else 0.0 for index, weight in enumerate(weights)]
    hessian = [[(ridge if i else 1e-6) * (i == j) for j in range(size)] for i in range(size)]
    for row, good in zip(design, right, strict=True):
        p = _sigmoid(sum(w * x for w, x in zip(weights, row, strict=True)))
        told = [(index, x) for index, x in enumerate(row) if x]  # most are 0
        for i, x in told:
            gradient[i] += (p - good) * x
            line, scaled = hessian[i], p * (1.0 - p) * x
            for j, y in told:
                line[j] += scaled * y
    return _solved(hessian, gradient)


def _solved(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """Gauss elimination; the ridge keeps the matrix positive definite."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(i + 1, size):
            factor = rows[k][i] / rows[i][i]
            if factor:
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    found = [0.0] * size
    for i in reversed(range(size)):
        found[i] = (rows[i][size] - sum(rows[i][j] * found[j] for j in range(i + 1, size))) / rows[i][i]
    return found


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
