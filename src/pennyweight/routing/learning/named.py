"""What texts have in common whose callers named the same task, beyond what similar texts tell.

Most tasks are like others, a few are altogether different: one on which a model's answers cannot be read, one that only
the strong model can do. So how far a task may lie from the rest is one of three sizes, and its own texts tell which
(a scale mixture of normals: Andrews and Mallows 1974; the spike and slab of Mitchell and Beauchamp 1988). With one
size for all, the odd ones are not believed and the others too much.

An effect of each task is a low-rank change of the process that does not know tasks (Rasmussen and Williams 2006,
section 2.7 and A.3), so it costs no further inverse: with as many tasks as `MOST_TASKS`, some milliseconds.
Loads numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["MOST_TASKS", "TYPICAL", "Tasks"]

MOST_TASKS = 300  # those of the most texts; others stand for themselves
TYPICAL = 0.3  # what texts of a task have in common, in units of what equal texts have, where one size is to do

_SIZES = np.array((0.05, 0.3, 2.0))
_SHARES = np.array((0.7, 0.2, 0.1))  # of tasks that have that size
_ROUNDS = 3


class Tasks:
    """The effects of tasks beside one fitted process. codes: of each of its texts the place of its task, -1 for none.
    inverse: of the covariance of the texts' values without tasks, in units of the noise."""

    def __init__(self, inverse: Any, codes: Any, count: int) -> None:
        self._belongs = np.zeros((len(codes), count), inverse.dtype)
        self._belongs[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1.0
        self._inverse = inverse
        self._told = inverse @ self._belongs
        self._between = self._belongs.T @ self._told

    def fitted(self, values: Any, noise: float) -> tuple[Any, Any, Any]:
        """(dual, diagonal, effects): the dual coefficients of the texts, the diagonal of the inverse with the tasks'
        effects in it, and the effect of each task."""
        dual = self._inverse @ values
        diagonal = np.diag(self._inverse)
        size = np.full(self._between.shape[0], float(_SIZES @ _SHARES), dual.dtype)
        told = self._belongs.T @ dual
        unit = noise / max(float(np.mean(np.square(values))), 1e-9)
        for _ in range(_ROUNDS):
            size = self._sizes(size, told, unit)
        alone = self._solved(size, np.eye(len(size), dtype=dual.dtype))
        sums = alone @ told
        taken = self._told * size
        return dual - taken @ sums, diagonal - np.einsum("ij,ij->i", taken @ alone, self._told), size * sums

    def _solved(self, size: Any, values: Any) -> Any:
        return np.linalg.solve(np.eye(len(size), dtype=values.dtype) + self._between * size, values)

    def _sizes(self, size: Any, told: Any, unit: float) -> Any:
        """Of each task the size that shrinks its effect as the mixture does, by what its texts tell of it when all
        other effects are taken for known: `evidence` of precision `known`."""
        sums, spread = self._solved(size, told), np.diag(self._solved(size, self._between))
        rest = np.maximum(1.0 - size * spread, 1e-3)
        evidence, known = (sums / rest)[:, None], (spread / rest)[:, None]
        likely = -0.5 * np.log1p(_SIZES * known) + 0.5 * unit * evidence**2 * _SIZES / (1.0 + _SIZES * known)
        weight = _SHARES * np.exp(likely - likely.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        shrunk = (weight * _SIZES / (1.0 + _SIZES * known)).sum(axis=1)
        return (shrunk / np.maximum(1.0 - shrunk * known[:, 0], 1e-3)).astype(size.dtype)
