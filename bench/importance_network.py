"""The network of the word scorer in numpy: forward, backward, Adam, and the ONNX file with weights of eight bits.

Per word: three embeddings and the measures, a dense layer, two convolutions over five words (the second over every
other one) each added to what went in, and a logistic output. Many texts are one sequence with gaps between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pennyweight.text.compression.importance.features import MEASURES, SHAPES, SUFFIXES, VOCABULARY
from pennyweight.text.embedders.onnx_file import Graph

__all__ = ["GAP", "Batch", "Network", "Weights", "forward", "onnx_file", "start"]

Array = Any
Weights = dict[str, Array]

GAP = 8  # words of nothing between texts: as far as a word sees
_TABLES = (("word", VOCABULARY, 24), ("suffix", SUFFIXES, 8), ("shape", SHAPES, 6))
_HIDDEN, _REACH = 64, 5
_STEPS = (1, 2)  # dilation of each convolution


class Batch(NamedTuple):
    """Of n words and gaps. ids (n, 3) int64, measures (n, m) float32, real (n, 1) float32: 0 in a gap, needed and
    weight (n,) float32."""

    ids: Array
    measures: Array
    real: Array
    needed: Array
    weight: Array


def start(rng: np.random.Generator) -> Weights:
    wide = sum(width for _, _, width in _TABLES) + len(MEASURES)
    made = {name: rng.normal(0, 0.1, (count, width)) for name, count, width in _TABLES}
    made["in"] = rng.normal(0, (2 / wide) ** 0.5, (wide, _HIDDEN))
    made["in_bias"] = np.zeros(_HIDDEN)
    for at in range(len(_STEPS)):
        made[f"conv{at}"] = rng.normal(0, (1 / (_HIDDEN * _REACH)) ** 0.5, (_REACH, _HIDDEN, _HIDDEN))
        made[f"conv{at}_bias"] = np.zeros(_HIDDEN)
    made["out"] = rng.normal(0, 0.05, (_HIDDEN, 1))
    made["out_bias"] = np.zeros(1)
    return {name: value.astype(np.float32) for name, value in made.items()}


def forward(weights: Weights, batch: Batch) -> Array:
    """(n,) scores in [0, 1]."""
    return _run(weights, batch, None)[0]


def _run(weights: Weights, batch: Batch, drop: Array | None) -> tuple[Array, list[Any]]:
    parts = [weights[name][batch.ids[:, at]] for at, (name, _, _) in enumerate(_TABLES)]
    x = np.concatenate([*parts, batch.measures], axis=1)
    h = np.maximum(x @ weights["in"] + weights["in_bias"], 0) * batch.real
    kept: list[Any] = [x, h]
    for at, step in enumerate(_STEPS):
        around = _around(h, step)
        made = around @ weights[f"conv{at}"].reshape(-1, _HIDDEN) + weights[f"conv{at}_bias"]
        active = np.maximum(made, 0) * batch.real
        if drop is not None:
            active = active * drop[at]
        h = h + active
        kept += [active, around, h]
    logits = (h @ weights["out"])[:, 0] + weights["out_bias"]
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30))), kept


def _around(rows: Array, step: int) -> Array:
    """Row i is the rows around i, `step` apart, side by side."""
    return np.concatenate([_shifted(rows, (tap - _REACH // 2) * step) for tap in range(_REACH)], axis=1)


def _shifted(rows: Array, by: int) -> Array:
    """Row i is row i + by, zeros beyond the ends."""
    if by == 0:
        return rows
    made = np.zeros_like(rows)
    if by > 0:
        made[:-by] = rows[by:]
    else:
        made[-by:] = rows[:by]
    return made


class Network:
    """Weights as they are trained."""

    def __init__(self, rng: np.random.Generator, *, decay: float = 1e-4, dropped: float = 0.15) -> None:
        self.weights = start(rng)
        self._rng = rng
        self._decay, self._dropped = decay, dropped
        self._first = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self._second = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self._step = 0

    def learn(self, batch: Batch, rate: float) -> float:
        """One step of Adam with weight decay; the loss before it."""
        rng = self._rng
        ids = batch.ids.copy()
        ids[rng.random(len(ids)) < self._dropped, 0] = 0  # so that it also learns to do without knowing the word
        batch = batch._replace(ids=ids)
        drop = [
            ((rng.random((len(ids), _HIDDEN)) >= self._dropped) / (1 - self._dropped)).astype(np.float32)
            for _ in _STEPS
        ]
        scores, kept = _run(self.weights, batch, drop)
        total = max(float(batch.weight.sum()), 1e-9)
        safe = np.clip(scores, 1e-6, 1 - 1e-6)
        loss = -float(
            (batch.weight * (batch.needed * np.log(safe) + (1 - batch.needed) * np.log(1 - safe))).sum() / total
        )
        self._adam(self._slopes(batch, kept, drop, batch.weight * (scores - batch.needed) / total), rate)
        return loss

    def _slopes(self, batch: Batch, kept: list[Any], drop: Sequence[Array], out: Array) -> Weights:
        weights, made = self.weights, Weights()
        h = kept[-1]
        made["out"], made["out_bias"] = h.T @ out[:, None], np.array([out.sum()])
        back = out[:, None] @ weights["out"].T
        for at in reversed(range(len(_STEPS))):
            active, around = kept[2 + 3 * at], kept[3 + 3 * at]
            inner = back * (active > 0) * drop[at] * batch.real
            made[f"conv{at}_bias"] = inner.sum(axis=0)
            made[f"conv{at}"] = (around.T @ inner).reshape(_REACH, _HIDDEN, _HIDDEN)
            into = inner @ weights[f"conv{at}"].reshape(-1, _HIDDEN).T
            for tap in range(_REACH):
                part = into[:, tap * _HIDDEN : (tap + 1) * _HIDDEN]
                back = back + _shifted(part, (_REACH // 2 - tap) * _STEPS[at])
        inner = back * (kept[1] > 0)
        made["in"], made["in_bias"] = kept[0].T @ inner, inner.sum(axis=0)
        into = inner @ weights["in"].T
        begin = 0
        for at, (name, _, width) in enumerate(_TABLES):
            made[name] = _summed(batch.ids[:, at], into[:, begin : begin + width], len(weights[name]))
            begin += width
        return made

    def _adam(self, slopes: Weights, rate: float) -> None:
        self._step += 1
        for name, slope in slopes.items():
            first, second = self._first[name], self._second[name]
            first += 0.1 * (slope - first)
            second += 0.001 * (slope * slope - second)
            by = first / (1 - 0.9**self._step) / (np.sqrt(second / (1 - 0.999**self._step)) + 1e-8)
            self.weights[name] -= (rate * (by + self._decay * self.weights[name])).astype(np.float32)


def _summed(ids: Array, rows: Array, count: int) -> Array:
    """(count, width): for each id the sum of its rows."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    made = np.zeros((count, rows.shape[1]), rows.dtype)
    made[found] = np.add.reduceat(rows[order], starts, axis=0)
    return made


def batches(parts: Sequence[Batch], words: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Texts in a new order, about `words` of them together, with gaps between."""
    held: list[Batch] = []
    for at in rng.permutation(len(parts)):
        held.append(parts[int(at)])
        if sum(len(part.ids) for part in held) >= words:
            yield joined(held)
            held = []
    if held:
        yield joined(held)


def joined(parts: Sequence[Batch]) -> Batch:
    return Batch(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def onnx_file(weights: Weights) -> bytes:
    """Inputs `ids` (n, 3) int64 and `measures` (n, m) float32, output `scores` (n,) float32.

    Weights have 8 bits, symmetric, a scale for each row of a table and each output of a layer; biases and arithmetic
    have 32.
    """
    graph = Graph("word-scorer")
    node, constant = graph.node, graph.constant

    def number(value: int | Sequence[int]) -> str:
        return constant(np.array(value, np.int64))

    parts = []
    for at, (name, _, _) in enumerate(_TABLES):
        column = node("Gather", "ids", number(at), axis=1)
        whole, scale = _eight_bits(weights[name], 0)
        rows = node("Cast", node("Gather", constant(whole), column), to=1)
        scales = node("Unsqueeze", node("Gather", constant(scale), column), number([1]))
        parts.append(node("Mul", rows, scales))
    x = node("Concat", *parts, "measures", axis=1)
    x = node("Relu", node("Add", node("MatMul", x, _dense(graph, weights["in"])), constant(weights["in_bias"])))
    x = node("Unsqueeze", node("Transpose", x, perm=[1, 0]), number([0]))
    for at, step in enumerate(_STEPS):
        whole, scale = _eight_bits(weights[f"conv{at}"].transpose(2, 1, 0), 0)
        kernel = node("DequantizeLinear", constant(whole), constant(scale), axis=0)
        edge = _REACH // 2 * step
        made = node("Conv", x, kernel, constant(weights[f"conv{at}_bias"]), dilations=[step], pads=[edge, edge])
        x = node("Add", x, node("Relu", made))
    x = node("Transpose", node("Squeeze", x, number([0])), perm=[1, 0])
    logits = node("Add", node("MatMul", x, constant(weights["out"])), constant(weights["out_bias"]))
    graph.rename(node("Sigmoid", node("Squeeze", logits, number([1]))), "scores")
    inputs: dict[str, tuple[str, list[str | int]]] = {
        "ids": ("int64", ["words", 3]),
        "measures": ("float32", ["words", len(MEASURES)]),
    }
    return graph.model(inputs, {"scores": ("float32", ["words"])})


def _dense(graph: Graph, value: Array) -> str:
    whole, scale = _eight_bits(value, 1)
    return str(graph.node("DequantizeLinear", graph.constant(whole), graph.constant(scale), axis=1))


def _eight_bits(value: Array, axis: int) -> tuple[Array, Array]:
    others = tuple(at for at in range(value.ndim) if at != axis)
    scale = np.maximum(np.abs(value).max(axis=others), 1e-9) / 127
    shape = [-1 if at == axis else 1 for at in range(value.ndim)]
    whole = np.clip(np.round(value / scale.reshape(shape)), -127, 127).astype(np.int8)
    return np.ascontiguousarray(whole), scale.astype(np.float32)
