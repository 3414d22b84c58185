"""Trains the small scorer of the semantic cache and writes `weights.json` beside it.

Reads CheckList's pairs (MIT), Advising's pairs (CC BY 4.0), Banking77's questions with their intents (CC BY 4.0) and
the pairs written for this project; nothing else may be trained on. A logistic regression whose weights cannot be
positive: every feature is a difference, so more of it never makes a hit likelier. Rare kinds weigh more than their
number. The figures printed are of models that had not seen the kind they judge.

    python -m bench.semantic_training --checklist F --advising F --banking F --model FOLDER
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.optimizers.semantic_cache import scorer
from pennyweight.optimizers.semantic_cache.facets import facets
from pennyweight.optimizers.semantic_cache.features import FEATURES, features
from pennyweight.optimizers.semantic_cache.vetoes import compare

from .result import progress, report
from .semantic_pairs_data import Cosines, Pair, lines, macro, read_own, read_pairs

FALSE_HITS = 0.01  # macro share of different pairs that the threshold may let through, of unseen kinds
NEAR_FALSE_HITS = 0.03  # and of the hardest: each question's nearest of another intent
LEAST = 0.05  # threshold: below, a score says nothing
STRENGTH = 0.003  # of the pull towards zero


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checklist", type=Path, required=True)
    options.add_argument("--advising", type=Path, required=True)
    options.add_argument("--banking", type=Path, required=True, help="lines {text, answer}")
    options.add_argument("--model", type=Path, required=True, help="the folder that `pennyweight models pull` made")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path(scorer.__file__).with_name("weights.json"))
    given = options.parse_args()
    cosines = Cosines(given.model)
    pairs = [*read_pairs(given.checklist), *read_pairs(given.advising), *read_own()]
    pairs += banking_pairs(given.banking, cosines, given.seed)
    table = rows(pairs, cosines)
    scores = unseen_scores(table)
    threshold, false_hits, recall = choose(table, scores)
    values = fit(table, np.ones(len(table["kind"]), bool))
    given.out.write_text(json.dumps(document(values, threshold), indent=2) + "\n", encoding="utf-8")
    figures = {"false_hit_rate": false_hits, "recall": recall, "threshold": threshold}
    weights = {name: round(float(value), 3) for name, value in zip(FEATURES, values, strict=True)}
    data = [str(file) for file in (given.checklist, given.advising, given.banking)]
    return report("semantic_training", figures=figures, data=data, seed=given.seed, weights=weights)


def banking_pairs(file: Path, cosines: Cosines, seed: int) -> list[Pair]:
    """For 2,500 questions: the two nearest of their own intent, and the nearest of another."""
    questions = [json.loads(line) for line in lines(file)]
    found = [(row["text"], row["answer"], cosines.dense(row["text"])) for row in questions]
    known = [row for row in found if row[2] is not None]
    vectors = np.stack([row[2] for row in known])
    intents = np.array([row[1] for row in known])
    pairs = []
    for at in np.random.default_rng(seed).permutation(len(known))[:2500]:
        near = vectors @ vectors[at]
        near[at] = -1
        own = intents == intents[at]
        text = known[at][0]
        other = int(np.where(own, -1, near).argmax())
        pairs.append(Pair("banking near", known[other][0], text, False))
        pairs += [Pair("banking same", known[i][0], text, True) for i in np.where(own, near, -1).argsort()[::-1][:2]]
    return pairs


def rows(pairs: list[Pair], cosines: Cosines) -> dict[str, Any]:
    """Per pair: kind, label, features, and whether a veto or an equal text settles it."""
    read = {text: facets(text) for text in {text for pair in pairs for text in (pair.a, pair.b)}}
    kind, same, row, refused = [], [], [], []
    for pair in pairs:
        near = cosines.of(pair.a, pair.b)
        a, b = read[pair.a], read[pair.b]
        compared = compare(a, b)
        if near is None or compared.same:
            continue
        kind.append(pair.kind)
        same.append(pair.same)
        floor = scorer.weights().close_floor if compared.close else scorer.weights().floor
        refused.append(bool(compared.veto) or near[0] < floor)
        row.append(features(a, b, compared, cosine=near[0], static_cosine=near[1]))
    progress(f"{len(kind)} pairs, {sum(refused)} settled by vetoes or the floor")
    return {"kind": np.array(kind), "same": np.array(same), "row": np.array(row), "refused": np.array(refused)}


def fit(table: dict[str, Any], use: Any) -> Any:
    """Weights by projected gradient descent on what no veto settles."""
    use = use & ~table["refused"]
    row, same, kind = table["row"][use], table["same"][use].astype(float), table["kind"][use]
    label = np.array([f"{name} {int(y)}" for name, y in zip(kind, same, strict=True)])
    counts = collections.Counter(label)
    share = np.array([1 / counts[name] ** 0.5 for name in label])
    for y in (0.0, 1.0):
        share[same == y] /= share[same == y].sum()
    values = np.zeros(row.shape[1])
    scale = np.maximum(np.abs(row).max(axis=0), 1e-9)
    scaled = row / scale
    for _ in range(6000):
        chance = 1 / (1 + np.exp(-scaled @ values))
        slope = scaled.T @ ((chance - same) * share) + STRENGTH * np.r_[0, values[1:]]
        values -= 2.0 * slope
        values[1:] = np.minimum(values[1:], 0)
    return values / scale


def unseen_scores(table: dict[str, Any]) -> Any:
    """Each pair's score by a model that was not trained on its kind."""
    scores = np.zeros(len(table["kind"]))
    groups = np.array([_group(kind) for kind in table["kind"]])
    for group in sorted(set(groups)):
        here = groups == group
        values = fit(table, ~here)
        scores[here] = 1 / (1 + np.exp(-table["row"][here] @ values))
    scores[table["refused"]] = 0
    return scores


def choose(table: dict[str, Any], scores: Any) -> tuple[float, float, float]:
    """The lowest threshold whose macro false-hit rate over unseen kinds is small; with that rate and the recall."""
    for threshold in np.arange(LEAST, 0.96, 0.01):
        false_hits = _rate(table, scores >= threshold, same=False)
        near = table["kind"] == "banking near"
        if false_hits <= FALSE_HITS and float((scores >= threshold)[near].mean()) <= NEAR_FALSE_HITS:
            break
    return round(float(threshold), 2), false_hits, _rate(table, scores >= threshold, same=True)


def _rate(table: dict[str, Any], hit: Any, *, same: bool) -> float:
    of = table["same"] == same
    return macro(float(hit[of & (table["kind"] == kind)].mean()) for kind in sorted(set(table["kind"][of])))


def _group(kind: str) -> str:
    return kind.split()[0] if kind.startswith("banking") else kind


def document(values: Any, threshold: float) -> dict[str, Any]:
    return {
        "trained": "by bench.semantic_training on CheckList QQP (MIT), Advising, Banking77 (CC BY 4.0) and own pairs",
        "weights": {
            "names": list(FEATURES),
            "values": [round(float(value), 4) for value in values],
            "threshold": threshold,
            "floor": scorer.weights().floor,
            "close_floor": scorer.weights().close_floor,
            "strict_floor": scorer.weights().strict_floor,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
