"""Trains the word scorer and writes `model.onnx` and `model.json` beside its code.

Reads trajectories of tau-bench and SWE-agent (MIT), QMSum's meetings (MIT), API-Bank's dialogues (Apache-2.0) and
GSM8K's questions (MIT), as bench/importance_data.py says; nothing else may be trained on. numpy alone; a seed gives the
same weights on the same machine. Dialogues that are held out are not read. About two minutes on one core; with two
threads it takes longer where anything else runs.

    OPENBLAS_NUM_THREADS=1 python -m bench.importance_training --data FILE…
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np

from pennyweight.text.compression import importance
from pennyweight.text.compression.importance.features import MEASURES, features, keys_of

from .importance_data import Sample, digest, held_out, read, samples
from .importance_network import GAP, Batch, Network, Weights, batches, forward, joined, onnx_file
from .result import progress, report

EPOCHS, WORDS, RATE = 12, 4096, 4e-3


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--epochs", type=int, default=EPOCHS)
    options.add_argument("--out", type=Path, default=Path(importance.__file__).parent)
    given = options.parse_args()
    train: list[Batch] = []
    checked: list[list[Batch]] = []
    for path in given.data:
        known = [sample for sample in samples(read(path), given.seed) if not held_out(sample.group)]
        aside = [crc32(f"aside {sample.group}".encode()) % 10 == 0 for sample in known]
        share = (100_000 / max(sum(len(sample.words) for sample in known), 1)) ** 0.5
        made = [as_batch(sample, share) for sample in known]
        train += [part for part, out in zip(made, aside, strict=True) if not out]
        checked.append([part for part, out in zip(made, aside, strict=True) if out])
        progress(f"{path.name}: {len(made)} texts, {sum(aside)} of them to choose a threshold by")
    rng = np.random.default_rng(given.seed)
    network = Network(rng)
    best: tuple[float, float, Weights] | None = None
    for epoch in range(given.epochs):
        rate = RATE * (1 - epoch / given.epochs) ** 1.5 + 1e-5
        losses = [network.learn(batch, rate) for batch in batches(train, WORDS, rng)]
        mean, threshold = choose(network.weights, checked)
        progress(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, F1 {mean:.4f} at {threshold:.2f}")
        if best is None or mean > best[0]:
            best = mean, threshold, {name: value.copy() for name, value in network.weights.items()}
    if best is None:
        sys.exit("nothing to train on: every dialogue is held out")
    mean, threshold, weights = best
    (given.out / "model.onnx").write_bytes(onnx_file(weights))
    told = {
        "trained": "by bench.importance_training on tau-bench and SWE-agent trajectories (MIT), QMSum (MIT), "
        "API-Bank (Apache-2.0), GSM8K (MIT)",
        "data": {path.name: digest(path) for path in given.data},
        "seed": given.seed,
        "threshold": round(threshold, 2),
        "languages": ["en"],
    }
    (given.out / "model.json").write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    figures = {"f1_aside": round(mean, 4), "threshold": round(threshold, 2)}
    return report("importance_training", figures=figures, data=[str(path) for path in given.data], seed=given.seed)


def as_batch(sample: Sample, weight: float) -> Batch:
    """The words of a text, and a gap after them."""
    seen = features(sample.words, keys_of(sample.asked))
    count = len(sample.words)

    def padded(rows: object, width: int | None, kind: type) -> object:
        shape = (count + GAP,) if width is None else (count + GAP, width)
        made = np.zeros(shape, kind)
        made[:count] = rows
        return made

    return Batch(
        padded(seen.looked_up, 3, np.int64),
        padded(seen.measures, len(MEASURES), np.float32),
        padded(np.ones((count, 1)), 1, np.float32),
        padded(sample.needed, None, np.float32),
        padded(weight, None, np.float32),
    )


def choose(weights: Weights, checked: Sequence[Sequence[Batch]]) -> tuple[float, float]:
    """The highest mean F1 over the files that one threshold gives, and that threshold."""
    told = []
    for parts in checked:
        if parts:
            batch = joined(parts)
            real = batch.real[:, 0] > 0
            told.append((forward(weights, batch)[real], batch.needed[real] > 0))
    found = [(float(np.mean([f1(s >= t, y) for s, y in told])), float(t)) for t in np.arange(0.1, 0.8, 0.02)]
    return max(found) if told else (0.0, 0.5)


def f1(kept: np.ndarray, needed: np.ndarray) -> float:
    both = float((kept & needed).sum())
    return 2 * both / max(float(kept.sum() + needed.sum()), 1.0)


if __name__ == "__main__":
    sys.exit(main())
