"""What outcomes of similar texts say beyond the table: a Gaussian process over embeddings and counts of texts.

How hard texts are is one process, in log-odds: `exp(4 (cos - 1))` of centred embeddings plus a linear kernel of
standardised counts, and an effect of each task that callers have named (Rasmussen and Williams 2006, chapter 2). It is
how likely the model fails whose outcomes tell most; every other model has a process of how it differs from that one, as
a dear simulation from a cheap one (Kennedy and O'Hagan 2000). Outcomes are read through the logistic curve: where the
cheap model is nearly always right no other can be much better, and where texts are hard for it there is room.
So what is learnt fastest, how hard texts are, tells where models differ before their differences have been seen.

Loads numpy, which the extra `semantic` brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LEAST_TEXTS", "MOST_TEXTS", "Kernel", "Said", "fit"]

LEAST_TEXTS = 40  # fewer teach nothing that the table does not know
MOST_TEXTS = 4_000  # the newest; fitting takes 9 s of CPU and asking 0.5 ms with so many
MOST_TASKS = 300  # that callers named, those of the most texts; others stand for themselves
_SHARPNESS = 4.0
_NEAR = 8.0  # sharper: for saying how many similar texts there were
_BLOCK_VALUES = 400_000  # OpenBLAS multiplies so many in one thread
_BELIEF = 16.0  # in a slope of 1, against which leave-one-out must speak: with few texts it errs itself
_STEP = 4.0  # the noise of an outcome in log-odds where it tells most; a bound elsewhere (Böhning and Lindsay 1988)
_ROUNDS = 40
_STILL = 0.02  # log-odds: less in a round, and it stays as it is
_CELLS = 48_000_000  # of all inverses of how models differ, 200 MB


class _Sizes(NamedTuple):
    """Prior variances in log-odds, of equal texts and of one task: of how hard they are, and of how models differ.
    `counts`: the weight of the linear kernel beside that of the embeddings."""

    hard: float
    hard_task: float
    differs: float
    differs_task: float
    counts: float


def _sizes(named: float) -> _Sizes:
    """named: the share of texts whose task was. Where none is, what tasks would tell is to be told by the texts."""
    return _Sizes(1.6, 1.0, 2.0 - named, 0.4, 0.4 - 0.2 * named)


class Said:
    """What similar texts say. `shift`: by model, what is to be added to the table's log-odds. `near`: how many
    outcomes of similar texts that is worth."""

    __slots__ = ("near", "shift")

    def __init__(self, shift: dict[str, float], near: float) -> None:
        self.shift = shift
        self.near = near


class _Column:
    """One fitted process: dual coefficients over its texts, the effects of tasks, and how far leave-one-out believes
    both."""

    __slots__ = ("dual", "effects", "rows", "trust")

    def __init__(self, rows: Any, dual: Any, effects: Any, trust: float) -> None:
        self.rows = rows
        self.dual = dual
        self.effects = effects
        self.trust = trust


class Kernel:
    """Fitted processes. `trust`: by model (and "" for what all have in common), the share that is believed."""

    def __init__(
        self,
        embedded: Any,
        counted: Any,
        scale: tuple[Any, Any, Any],
        weight: float,
        columns: dict[str, _Column],
        codes: dict[str, int],
        models: Sequence[str],
    ) -> None:
        self._embedded = embedded  # (n, d) float32, centred, rows of unit length
        self._counted = counted  # (n, f) float32, standardised
        self._scale = scale
        self._weight = weight
        self._columns = columns
        self._codes = codes  # of tasks, by name
        self._models = models  # the one that the others differ from has no column of its own
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
        found = dict(zip(self._columns, shifts.tolist(), strict=True))
        shift = {name: found[""] + found.get(name, 0.0) for name in self._models}
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
    outcomes: Mapping[str, Any],
    chances: Mapping[str, Any],
    declared: Sequence[str] = (),
    *,
    progress: Callable[[float], None] = lambda _share: None,
) -> Kernel | None:
    """None: too few texts to learn from.

    vectors: (n, d) float32; features: (n, f). By model (n,): outcomes in [0, 1], NaN where the model did not answer
    that text, and the table's chances. declared: of each text the task that its caller named, "" for none.
    progress: told the share done, in [0, 1].
    """
    known = {name: np.flatnonzero(np.isfinite(values)) for name, values in outcomes.items()}
    known = {name: rows for name, rows in known.items() if len(rows) >= LEAST_TEXTS // 2}
    if len(vectors) < LEAST_TEXTS or not known:
        return None
    scale = _scale(vectors, features)
    embedded, counted = _scaled(vectors, features, scale)
    codes, groups = _coded(declared, len(vectors))
    sizes = _sizes(float((groups >= 0).mean()))
    alike = np.exp(_SHARPNESS * (embedded @ embedded.T - 1.0))
    alike += sizes.counts / counted.shape[1] * (counted @ counted.T)
    said = {name: (rows, outcomes[name][rows], _log_odds(chances[name][rows])) for name, rows in known.items()}
    hard, differs = _processes(alike, groups, known, _telling(said), sizes)
    progress(0.6)
    _settle(said, hard, differs)
    columns = {name: process.column(groups, len(codes)) for name, process in (("", hard), *differs.items())}
    progress(1.0)
    return Kernel(embedded, counted, scale, sizes.counts, columns, codes, list(known))


class _Process:
    """The likeliest values at its rows, for targets that are known with a noise."""

    __slots__ = ("dual", "inverse", "noise", "rows", "size", "targets", "task_size", "values")

    def __init__(self, alike: Any, groups: Any, rows: Any, noise: Any, size: float, task_size: float) -> None:
        self.rows, self.noise, self.size, self.task_size = rows, noise, size, task_size
        covariance = size * (alike if len(rows) == len(alike) else alike[np.ix_(rows, rows)])
        tasks = groups[rows]
        if (tasks >= 0).any():
            covariance[(tasks[:, None] == tasks[None]) & (tasks >= 0)] += task_size
        covariance.flat[:: len(rows) + 1] += noise
        self.inverse = np.linalg.inv(covariance)
        self.values = self.targets = self.dual = np.zeros(len(rows), np.float32)

    def follow(self, slopes: Any) -> float:
        """Go to what the targets say, which lie `slopes` from the values. How far the values moved at most."""
        before, self.targets = self.values, self.values + slopes
        self.dual = self.inverse @ self.targets
        self.values = self.targets - self.noise * self.dual
        return float(np.abs(self.values - before).max())

    def column(self, groups: Any, tasks: int) -> _Column:
        own = groups[self.rows]
        effects = np.bincount(own[own >= 0], self.dual[own >= 0], tasks).astype(np.float32) * self.task_size
        left_out = self.targets - self.dual / np.diag(self.inverse)
        return _Column(self.rows, self.size * self.dual, effects, _trust(self.targets, left_out))


_Answers = Mapping[str, tuple[Any, Any, Any]]  # by model: its texts, how it did, and the table's log-odds


def _telling(said: _Answers) -> str:
    """The model whose outcomes tell most of how hard texts are: many, and neither all good nor all bad."""
    return max(said, key=lambda name: len(said[name][1]) * float(np.var(said[name][1])))


def _processes(
    alike: Any, groups: Any, known: Mapping[str, Any], reference: str, sizes: _Sizes
) -> tuple[_Process, dict[str, _Process]]:
    answered = np.zeros(len(alike), np.float32)
    for rows in known.values():
        answered[rows] += 1.0
    some = np.flatnonzero(answered)
    hard = _Process(alike, groups, some, _STEP / answered[some], sizes.hard, sizes.hard_task)
    others = {name: rows for name, rows in known.items() if name != reference}
    most = int((_CELLS / max(len({rows.tobytes() for rows in others.values()}), 1)) ** 0.5)
    differs: dict[str, _Process] = {}
    made: dict[bytes, _Process] = {}
    for name, rows in others.items():
        key = rows.tobytes()
        if key in made:  # models that answered the same texts share one inverse
            differs[name] = copy(made[key])
            continue
        differs[name] = made[key] = _Process(alike, groups, rows[-most:], _STEP, sizes.differs, sizes.differs_task)
    return hard, differs


def _settle(said: _Answers, hard: _Process, differs: Mapping[str, _Process]) -> None:
    """Go round until all processes together are the likeliest: Newton's steps with a bound for the curvature, one
    process at a time, so that each needs one inverse."""
    places = {name: np.searchsorted(hard.rows, rows) for name, (rows, _, _) in said.items()}
    answered = np.bincount(np.concatenate(list(places.values())), minlength=len(hard.rows))

    def slopes(name: str) -> Any:
        rows, outcomes, usual = said[name]
        log_odds = usual + hard.values[places[name]]
        if name in differs:
            log_odds[len(rows) - len(differs[name].rows) :] += differs[name].values
        return (_STEP * (outcomes - 1.0 / (1.0 + np.exp(-log_odds)))).astype(np.float32)

    for _ in range(_ROUNDS):
        total = np.zeros(len(hard.rows), np.float32)
        for name, at in places.items():
            total[at] += slopes(name)
        moved = hard.follow(total / answered)
        for name, process in differs.items():
            moved = max(moved, process.follow(slopes(name)[-len(process.rows) :]))
        if moved < _STILL:
            return


def _log_odds(chances: Any) -> Any:
    bounded = np.clip(chances, 0.01, 0.99)
    return np.log(bounded / (1.0 - bounded)).astype(np.float32)


def _coded(declared: Sequence[str], texts: int) -> tuple[dict[str, int], Any]:
    """Of each task that was named a code, and of each text that of its task, -1 for none."""
    often = Counter(name for name in declared if name).most_common(MOST_TASKS)
    codes = {name: code for code, (name, _) in enumerate(often)}
    return codes, np.asarray([codes.get(name, -1) for name in declared or [""] * texts], np.int32)


def _scale(vectors: Any, features: Any) -> tuple[Any, Any, Any]:
    deviation = features.std(axis=0)
    return vectors.mean(axis=0), features.mean(axis=0), np.where(deviation > 1e-6, deviation, np.inf)


def _scaled(vectors: Any, features: Any, scale: tuple[Any, Any, Any]) -> tuple[Any, Any]:
    middle, mean, deviation = scale
    centred = vectors - middle
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    counted = np.clip((features - mean) / deviation, -3.0, 3.0)
    return centred.astype(np.float32), counted.astype(np.float32)


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
