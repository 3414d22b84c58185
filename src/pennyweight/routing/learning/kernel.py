"""What outcomes of similar texts say beyond the table: a Gaussian process over embeddings and counts of texts.

Kernel ridge regression of what the table left over, which is a nearest-neighbour average whose weights are learnt:
`exp(4 (cos - 1))` of centred embeddings plus a linear kernel of standardised counts, and an effect of each task that
callers have named, see `named` (Rasmussen and Williams 2006, chapter 2; leave-one-out of section 5.4.2). Where several
models answered one text, what they have in common is fitted apart from how each differs: only the difference decides a
route, and it is far less noisy than its parts.

Loads numpy, which the extra `semantic` brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .named import MOST_TASKS, TYPICAL, Tasks

__all__ = ["LEAST_TEXTS", "MOST_TEXTS", "Kernel", "Said", "fit"]

LEAST_TEXTS = 40  # fewer teach nothing that the table does not know
MOST_TEXTS = 4_000  # the newest; fitting takes 3 s and asking 0.5 ms with so many
_SHARPNESS = 4.0
_NEAR = 8.0  # sharper: for saying how many similar texts there were
_BLOCK_VALUES = 400_000  # OpenBLAS multiplies so many in one thread
_GRID = ((0.05, 8.0), (0.2, 8.0), (0.05, 16.0), (0.2, 16.0))  # weight of counts, noise
_GRID_TEXTS = 800
_GRID_MODELS = 8
_CLEARLY = 1.5  # standard errors
_BELIEF = 16.0  # in a slope of 1, against which leave-one-out must speak: with few texts it errs itself


class Said:
    """What similar texts say. `shift`: by model, what is to be added to the table's chance. `near`: how many
    outcomes of similar texts that is worth."""

    __slots__ = ("near", "shift")

    def __init__(self, shift: dict[str, float], near: float) -> None:
        self.shift = shift
        self.near = near


class _Column:
    """One fitted target: dual coefficients over its texts, the effects of tasks, and how far leave-one-out believes
    both."""

    __slots__ = ("dual", "effects", "rows", "trust")

    def __init__(self, rows: Any, dual: Any, effects: Any, trust: float) -> None:
        self.rows = rows
        self.dual = dual
        self.effects = effects
        self.trust = trust


class Kernel:
    """A fitted process. `trust`: by model (and "" for what is common), the share of its shifts that is believed."""

    def __init__(
        self,
        embedded: Any,
        counted: Any,
        scale: tuple[Any, Any, Any],
        weight: float,
        columns: dict[str, _Column],
        codes: dict[str, int],
    ) -> None:
        self._embedded = embedded  # (n, d) float32, centred, rows of unit length
        self._counted = counted  # (n, f) float32, standardised
        self._scale = scale
        self._weight = weight
        self._columns = columns
        self._codes = codes  # of tasks, by name
        self._effects = np.stack([column.effects * column.trust for column in columns.values()], axis=1)
        self._duals = self._dense(columns, len(embedded))
        self.texts = len(embedded)
        self.dimensions = int(embedded.shape[1])

    @property
    def trust(self) -> dict[str, float]:
        return {name: column.trust for name, column in self._columns.items()}

    @staticmethod
    def _dense(columns: dict[str, _Column], count: int) -> Any:
        duals = np.zeros((count, len(columns)), np.float32)
        for place, column in enumerate(columns.values()):
            duals[column.rows, place] = column.dual * column.trust
        return duals

    def ask(self, vector: bytes, features: tuple[float, ...], declared: str = "") -> Said:
        """vector: float16, little-endian. declared: the task as the caller named it. Takes 0.1 to 0.6 ms."""
        embedded, counted = _scaled(
            np.frombuffer(vector, "<f2").astype(np.float32)[None], np.asarray([features], np.float32), self._scale
        )
        cosines = self._cosines(embedded[0])
        values = np.exp(_SHARPNESS * (cosines - 1.0))
        values += self._weight / counted.shape[1] * (self._counted @ counted[0])
        shifts = values @ self._duals
        if declared in self._codes:
            shifts = shifts + self._effects[self._codes[declared]]
        names = list(self._columns)
        common = float(shifts[names.index("")]) if "" in self._columns else 0.0
        shift = {name: common + float(value) for name, value in zip(names, shifts, strict=True) if name}
        return Said(shift, float(np.exp(_NEAR * (cosines - 1.0)).sum()))

    def _cosines(self, vector: Any) -> Any:
        """Of all texts. In blocks: for more values OpenBLAS takes all cores and spins, 7 ms of CPU in place of 0.6."""
        found = np.empty(len(self._embedded), np.float32)
        rows = max(_BLOCK_VALUES // self.dimensions, 1)
        for start in range(0, len(found), rows):
            np.dot(self._embedded[start : start + rows], vector, out=found[start : start + rows])
        return found


def fit(
    vectors: Any,
    features: Any,
    left: dict[str, Any],
    declared: Sequence[str] = (),
    *,
    progress: Callable[[float], None] = lambda _share: None,
    grid: tuple[tuple[float, float], ...] = _GRID,
) -> Kernel | None:
    """None: too few texts to learn from.

    vectors: (n, d) float32; features: (n, f); left: by model (n,) what outcomes were above the table's chance, NaN
    where the model did not answer that text. declared: of each text the task that its caller named, "" for none.
    progress: told the share done, in [0, 1].
    """
    if len(vectors) < LEAST_TEXTS:
        return None
    scale = _scale(vectors, features)
    embedded, counted = _scaled(vectors, features, scale)
    targets = _targets(left)
    similar = np.exp(_SHARPNESS * (embedded @ embedded.T - 1.0))
    codes, groups = _coded(declared, len(vectors))
    linear = (counted @ counted.T) / counted.shape[1]
    weight, noise = _chosen(similar, linear, groups, targets, grid)
    progress(0.3)
    columns: dict[str, _Column] = {}
    solved: dict[bytes, Tasks] = {}
    for place, (name, values) in enumerate(targets.items()):
        known = np.isfinite(values)
        rows = np.flatnonzero(known)
        if len(rows) < LEAST_TEXTS // 2:
            continue
        key = known.tobytes()
        if key not in solved:  # models that answered the same texts share one inverse
            block = similar[np.ix_(rows, rows)] + weight * linear[np.ix_(rows, rows)]
            inverse = np.linalg.inv(block + noise * np.eye(len(rows), dtype=np.float32))
            solved[key] = Tasks(inverse, groups[rows], len(codes))
        dual, diagonal, effects = solved[key].fitted(values[rows], noise)
        columns[name] = _Column(rows, dual, effects, _trust(values[rows], values[rows] - dual / diagonal))
        progress(0.3 + 0.7 * (place + 1) / len(targets))
    return Kernel(embedded, counted, scale, weight, columns, codes) if columns else None


def _coded(declared: Sequence[str], texts: int) -> tuple[dict[str, int], Any]:
    """Of each task that was named a code, and of each text that of its task, -1 for none."""
    often = Counter(name for name in declared if name).most_common(MOST_TASKS)
    codes = {name: code for code, (name, _) in enumerate(often)}
    return codes, np.asarray([codes.get(name, -1) for name in declared or [""] * texts], np.int32)


def _targets(left: dict[str, Any]) -> dict[str, Any]:
    """What is common to the models of a text under "", and what each is above it under its name."""
    stacked = np.stack(list(left.values()))
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    common = np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(count, 1)
    common = np.where(count > 0, common, np.nan)
    shared = count >= 2
    if not shared.any():  # each text was answered by one model: nothing can be told apart
        return {name: values.astype(np.float32) for name, values in left.items()}
    targets = {"": common.astype(np.float32)}
    for name, values in left.items():
        targets[name] = np.where(shared, values - common, np.nan).astype(np.float32)
    return targets


def _scale(vectors: Any, features: Any) -> tuple[Any, Any, Any]:
    deviation = features.std(axis=0)
    return vectors.mean(axis=0), features.mean(axis=0), np.where(deviation > 1e-6, deviation, np.inf)


def _scaled(vectors: Any, features: Any, scale: tuple[Any, Any, Any]) -> tuple[Any, Any]:
    middle, mean, deviation = scale
    centred = vectors - middle
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    counted = np.clip((features - mean) / deviation, -3.0, 3.0)
    return centred.astype(np.float32), counted.astype(np.float32)


def _chosen(
    similar: Any, linear: Any, groups: Any, targets: dict[str, Any], grid: tuple[tuple[float, float], ...]
) -> tuple[float, float]:
    """The weight of the counts and the noise that leave-one-out speaks for, on the newest texts: another than the first
    of the grid only where it is clearly better, as with a few hundred texts a choice errs."""
    if (groups >= 0).any():
        similar = similar + TYPICAL * ((groups[:, None] == groups[None]) & (groups >= 0))
    best, errors = grid[0], _left_out(similar, linear, targets, *grid[0])
    for weight, noise in grid[1:]:
        found = _left_out(similar, linear, targets, weight, noise)
        gained = errors - found
        if len(gained) > 1 and gained.sum() > _CLEARLY * gained.std() * len(gained) ** 0.5:
            best, errors = (weight, noise), found
    return best


def _left_out(similar: Any, linear: Any, targets: dict[str, Any], weight: float, noise: float) -> Any:
    """The squared leave-one-out errors of how models differ: what they have in common decides no route."""
    found = [np.zeros(0, np.float32)]
    names = [name for name in targets if name] or [""]
    for name in names[: 1 if len(names) == 2 and "" in targets else _GRID_MODELS]:  # of two, each mirrors the other
        values = targets[name]
        rows = np.flatnonzero(np.isfinite(values))[-_GRID_TEXTS:]
        if len(rows) < LEAST_TEXTS // 2:
            continue
        block = similar[np.ix_(rows, rows)] + weight * linear[np.ix_(rows, rows)]
        inverse = np.linalg.inv(block + noise * np.eye(len(rows), dtype=np.float32))
        found.append(np.square((inverse @ values[rows]) / np.diag(inverse)))
    return np.concatenate(found)


def _trust(values: Any, foretold: Any) -> float:
    """The slope of values on what leave-one-out foretold of them, in [0, 1]."""
    spread = float(foretold @ foretold)
    if spread <= 1e-9:
        return 0.0
    slope = float(foretold @ values) / spread
    rest = values - slope * foretold
    error = float(np.sqrt((rest @ rest) / max(len(values) - 1, 1) / spread))
    sure = 1.0 / max(error, 1e-3) ** 2
    return min(max((slope * sure + _BELIEF) / (sure + _BELIEF), 0.0), 1.0)
