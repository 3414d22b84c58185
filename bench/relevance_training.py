"""Learns what the features of talk count, and writes `weights.json`; prints figures on conversations not learnt from.

Takes files as `bench.evidence` does, of a licence that allows it. A logistic regression says of each turn whether it
is evidence; turns count by their tokens, questions all alike, evidence as much as the rest. Figures are of a
cross-validation by conversation: no question is judged by weights that saw its conversation.

  python -m bench.relevance_training --data qmsum.jsonl.gz --said "QMSum validation part, MIT" [--out weights.json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pennyweight.text.relevance import fill
from pennyweight.text.relevance import weights as stored
from pennyweight.text.relevance.talk import FEATURES, FEATURES_WITH_VECTORS, Talk
from pennyweight.text.tokenizers import BpeTokenizer

from .result import progress, report
from .selecting import Model, name, read

FOLDS, SEEDS, SHRINK, ROUNDS = 5, 3, 1.0, 8
SHARES = (0.5, 0.25, 0.1)


class Example(NamedTuple):
    """A question. words, near: (turns, features); gold, tokens: (turns,)."""

    conversation: str
    words: Any
    near: Any
    gold: Any
    tokens: Any
    talk: Talk
    found: list[Any]


def examples(paths: Sequence[Path], model: Model) -> list[Example]:
    count, out = BpeTokenizer().count, []
    for row in read(paths):
        said = [turn["text"] for turn in row["turns"]]
        speakers = [turn["speaker"] for turn in row["turns"]]
        tokens = [count(f"{speaker}: {text}") for speaker, text in zip(speakers, said, strict=True)]
        for question in row["questions"]:
            evidence = {*question["evidence"]}
            talk = Talk(said, question["query"], tokens, speakers=speakers)
            found = model.remembered(talk.asks(()))
            plain, near = talk.features(), talk.features(found)
            out.append(
                Example(
                    row["id"],
                    np.array([plain[feature] for feature in FEATURES]).T,
                    np.array([near[feature] for feature in FEATURES_WITH_VECTORS]).T,
                    np.array([float(turn["id"] in evidence) for turn in row["turns"]]),
                    np.array(tokens, float),
                    talk,
                    found,
                )
            )
        progress(f"read {row['id']}")
    return [example for example in out if example.gold @ example.tokens > 0]


def fit(examples: Sequence[Example], field: str) -> Any:
    """(features,) what each counts; the constant is left out, for only the order of turns matters."""
    rows = np.concatenate([getattr(example, field) for example in examples])
    rows = np.c_[rows, np.ones(len(rows))]
    gold = np.concatenate([example.gold for example in examples])
    mass = np.concatenate([_mass(example) for example in examples])
    shrink = np.diag([SHRINK] * (rows.shape[1] - 1) + [1e-6])
    learnt = np.zeros(rows.shape[1])
    for _ in range(ROUNDS):
        said = 1 / (1 + np.exp(-rows @ learnt))
        slope = rows.T @ (mass * (said - gold)) + shrink @ learnt
        bend = (rows * (mass * said * (1 - said))[:, None]).T @ rows + shrink
        learnt -= np.linalg.solve(bend, slope)
    return learnt[:-1]


def _mass(example: Example) -> Any:
    inside, outside = example.tokens @ example.gold, max(example.tokens @ (1 - example.gold), 1.0)
    return example.tokens * np.where(example.gold > 0, 0.5 / inside, 0.5 / outside)


def kept(example: Example, learnt: stored.Weights, near: bool) -> list[float]:
    scores = example.talk.scores(example.found if near else (), learnt)
    tokens = example.tokens.astype(int).tolist()
    out = []
    for share in SHARES:
        chosen = list(fill(scores, tokens, int(share * sum(tokens))))
        out.append(float(example.tokens[chosen] @ example.gold[chosen] / (example.tokens @ example.gold)))
    return out


def learn(examples: Sequence[Example], said: str) -> stored.Weights:
    plain, near = fit(examples, "words"), fit(examples, "near")
    return stored.Weights(
        said,
        {feature: round(float(value), 3) for feature, value in zip(FEATURES, plain, strict=True)},
        {feature: round(float(value), 3) for feature, value in zip(FEATURES_WITH_VECTORS, near, strict=True)},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.relevance_training", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--said", required=True, help="what the data are and their licence, kept with the weights")
    parser.add_argument("--out", type=Path, default=Path(stored.__file__).with_name("weights.json"))
    parser.add_argument("--model", type=Path, help="folder made by `pennyweight models pull`")
    options = parser.parse_args()
    found = examples(options.data, Model(options.model))
    ids = sorted({example.conversation for example in found})
    held_out: dict[bool, list[list[float]]] = {False: [], True: []}
    for seed in range(SEEDS):
        random.Random(seed).shuffle(ids)
        for fold in range(FOLDS):
            test = {*ids[fold::FOLDS]}
            learnt = learn([example for example in found if example.conversation not in test], "")
            for example in found:
                if example.conversation in test:
                    for near in (False, True):
                        held_out[near].append(kept(example, learnt, near))
        progress(f"seed {seed + 1} of {SEEDS}")
    whole = learn(found, options.said)
    shown = {"trained_on": whole.trained_on, "words": whole.words, "vectors": whole.vectors}
    options.out.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    means = {near: np.mean(values, axis=0) for near, values in held_out.items()}
    return report(
        "relevance_training",
        figures={name("kept", share): round(float(value), 4) for share, value in zip(SHARES, means[True], strict=True)}
        | {name("words", share): round(float(value), 4) for share, value in zip(SHARES, means[False], strict=True)},
        data=[str(path) for path in options.data],
        seed=SEEDS,
        counts={"conversations": len(ids), "questions": len(found)},
        weights=shown,
    )


if __name__ == "__main__":
    sys.exit(main())
