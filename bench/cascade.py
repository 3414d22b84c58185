"""What a cascade keeps of a cheap model's answers, and what that costs in accuracy.

The product's own decision, replayed over raw answers of real models of which it is known whether they were right.
accuracy_delta_pt, strong_share and cost_ratio are of the rule before anything was learnt (nothing is fitted): how many
points the cascade's accuracy lies above the strong model's alone, how often that was asked, and what all cost together
as a share of asking the strong model each time. bound_broken and kept_cheap are of the rule with a threshold: in each
of `--runs` runs, `--labels` calls are drawn from the file with replacement, the threshold is set by them, and the loss
(kept, wrong, and the strong model right) over the whole file, which is the distribution that they were drawn from, is
held against epsilon. The acceptor is the one set by hand; what one that was trained does is in `table`: trained on half
of the labels, its threshold set by the other half (there, what it learnt from is part of what it is judged on).

  python -m bench.cascade --data outcomes.jsonl.gz calls.jsonl.gz … [--cheap A --peer B --strong S]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pennyweight.money import cost
from pennyweight.prices import PriceBook, open_book
from pennyweight.request import Usage
from pennyweight.routing.confidence.acceptor import Acceptor, by_hand, train
from pennyweight.routing.confidence.bounds import threshold
from pennyweight.routing.confidence.decision import Decision, decide

from .cascade_data import Item, Set, read_sets
from .result import progress, report

TARGETS = {
    "accuracy_delta_pt": ">= 0",
    "strong_share": "<= 0.37",
    "bound_broken": "<= 0.1",
    "kept_cheap": ">= 0.45",
}
PAIRS = (
    ("gpt-4o-mini-2024-07-18-FC", "gpt-3.5-turbo-0125-FC"),
    ("gpt-4o-mini-2024-07-18", "Meta-Llama-3.1-70B-Instruct"),
)
"""Cheap model and peer, where none is named: the first of these that a file has."""


class Judged(NamedTuple):
    """One file's questions as one cascade decides them, a row each."""

    kept: np.ndarray  # (n,) bool: by the rule before anything was learnt
    features: list[tuple[float, ...]]
    keepable: np.ndarray  # (n,) bool: no verifier complains
    right: np.ndarray  # (n,) bool, of the cheap model
    strong: np.ndarray  # (n,) bool, of the strong one


def judged(found: Set, cheap: str, peer: str, strong: str) -> Judged:
    made = [_decided(item, cheap, peer) for item in found.items]
    return Judged(
        np.array([decision.keep for decision in made]),
        [decision.features for decision in made],
        np.array([decision.score > 0.0 for decision in made]),
        np.array([item.right[cheap] for item in found.items]),
        np.array([item.right[strong] for item in found.items]),
    )


def _decided(item: Item, cheap: str, peer: str) -> Decision:
    return decide(item.said[cheap], item.asked, peer=item.said[peer])


def untrained(rows: Judged) -> dict[str, float]:
    accuracy = np.where(rows.kept, rows.right, rows.strong).mean()
    return {
        "accuracy_delta_pt": 100 * float(accuracy - rows.strong.mean()),
        "strong_share": float(1 - rows.kept.mean()),
        "loss_pt": 100 * float((rows.kept & ~rows.right & rows.strong).mean()),
    }


def bounded(
    rows: Judged, *, labels: int, runs: int, epsilon: float, delta: float, seed: int, trained: bool = False
) -> dict[str, float]:
    """Share of runs with a loss above epsilon, and means over runs of what was kept, lost and gained."""
    draw = np.random.default_rng(seed)
    size = len(rows.kept)
    broken, kept, losses, deltas = 0, [], [], []
    for _ in range(runs):
        drawn = draw.integers(0, size, labels)
        acceptor, calibration = by_hand(), drawn
        if trained:
            fitted, calibration = drawn[: labels // 2], drawn[labels // 2 :]
            right = [bool(rows.right[i]) for i in fitted]
            if len(set(right)) == 2:
                acceptor = train([rows.features[i] for i in fitted], right)
        scores = _scores(rows, acceptor)
        lost = rows.keepable & ~rows.right & rows.strong
        bar = threshold(scores[calibration].tolist(), lost[calibration].tolist(), epsilon=epsilon, delta=delta)
        keep = rows.keepable & (scores > bar) if bar is not None else np.zeros(size, bool)
        loss = float((keep & lost).mean())
        broken += loss > epsilon
        kept.append(float(keep.mean()))
        losses.append(loss)
        deltas.append(float(np.where(keep, rows.right, rows.strong).mean() - rows.strong.mean()))
    return {
        "bound_broken": broken / runs,
        "kept_cheap": float(np.mean(kept)),
        "loss_pt": 100 * float(np.mean(losses)),
        "accuracy_delta_pt": 100 * float(np.mean(deltas)),
    }


def _scores(rows: Judged, acceptor: Acceptor) -> np.ndarray:
    design = np.hstack([np.ones((len(rows.features), 1)), np.array(rows.features)])
    return 1.0 / (1.0 + np.exp(-design @ np.array(acceptor.weights)))


# --- money ------------------------------------------------------------------------------------------------


def cost_ratio(
    found: Set, rows: Judged, models: Sequence[str], book: PriceBook, told: Mapping[str, tuple[float, float]]
) -> float:
    """Cheap and peer for every call, strong where it was asked, as a share of strong for every call; NaN without a
    price. Input is counted at four characters a token, output as the file tells it, else as the mean it tells."""
    sums = dict.fromkeys(models, 0.0)
    cheap, peer, strong = models
    all_strong = 0.0
    means = {
        m: float(np.mean([i.output_tokens[m] for i in found.items if m in i.output_tokens] or [50])) for m in models
    }
    for item, kept in zip(found.items, rows.kept, strict=True):
        size = (len(item.asked.prompt) + sum(len(str(schema)) for schema in item.asked.tools.values())) // 4
        each = {m: _money(m, size, item.output_tokens.get(m, means[m]), book, told) for m in models}
        all_strong += each[strong]
        sums[cheap] += each[cheap]
        sums[peer] += each[peer]
        sums[strong] += 0.0 if kept else each[strong]
    return sum(sums.values()) / all_strong if all_strong else float("nan")


def _money(
    model: str, input_tokens: int, output: float, book: PriceBook, told: Mapping[str, tuple[float, float]]
) -> float:
    if model in told:
        return told[model][0] * input_tokens + told[model][1] * output
    bare = model.removesuffix("-FC")
    provider = "anthropic" if bare.startswith("claude") else "openai"
    price = book.price(provider, bare, _AT)
    if price is None:
        return float("nan")
    return float(cost(Usage(input_tokens=input_tokens, output_tokens=round(output)), price, at=_AT))


_AT = 1_735_689_600.0  # 2025-01-01: prices of when these models were sold


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, type=Path)
    parser.add_argument("--cheap", help="the model whose answers may be kept")
    parser.add_argument("--peer", help="the model that has to agree")
    parser.add_argument("--strong", help="default: the most accurate of the others")
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--epsilon", type=float, default=0.02)
    parser.add_argument("--delta", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--price", action="append", default=[], metavar="MODEL=IN,OUT", help="USD per million tokens")
    options = parser.parse_args(arguments)
    told = dict(map(_price, options.price))
    sets = read_sets(options.data)
    if not sets:
        parser.error("no file of outcomes came with its file of answers or calls")
    figures: dict[str, float] = {}
    targets: Mapping[str, str] = TARGETS  # they are of tool calls
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        book = open_book(Path(folder))
        for found in sorted(sets, key=lambda one: not any(item.asked.tools for item in one.items)):
            models = _models(found, options)
            if models is None:
                progress(f"{found.name}: neither of the known pairs answered; name one with --cheap and --peer")
                continue
            rows = judged(found, *models)
            plain = untrained(rows)
            ratio = cost_ratio(found, rows, models, book, told)
            rule = {name: getattr(options, name) for name in ("labels", "runs", "epsilon", "delta", "seed")}
            by_rule = bounded(rows, **rule)
            table.append(
                {
                    "set": found.name,
                    "questions": len(found.items),
                    "models": list(models),
                    "accuracy": {model: round(found.accuracy(model), 4) for model in models},
                    "untrained": plain | {"cost_ratio": ratio if math.isfinite(ratio) else None},
                    "bounded": by_rule,
                    "bounded_trained": bounded(rows, **rule | {"runs": min(options.runs, 50)}, trained=True),
                }
            )
            progress(f"{found.name}: {plain} {by_rule}")
            if not figures:
                targets = TARGETS if any(item.asked.tools for item in found.items) else {}
                figures = {name: plain[name] for name in ("accuracy_delta_pt", "strong_share")}
                figures |= {"cost_ratio": ratio} if math.isfinite(ratio) else {}
                figures |= {name: by_rule[name] for name in ("bound_broken", "kept_cheap")}
    return report(
        "cascade",
        figures=figures,
        targets=targets,
        data=[str(path) for path in options.data],
        seed=options.seed,
        table=table,
    )


def _models(found: Set, options: argparse.Namespace) -> tuple[str, str, str] | None:
    known = next((pair for pair in PAIRS if set(pair) <= set(found.answering)), (None, None))
    cheap, peer = options.cheap or known[0], options.peer or known[1]
    if cheap not in found.answering or peer not in found.answering:
        return None
    others = [model for model in found.models if model not in (cheap, peer)]
    strong = options.strong if options.strong in found.models else max(others, key=found.accuracy)
    return cheap, peer, strong


def _price(text: str) -> tuple[str, tuple[float, float]]:
    name, _, prices = text.partition("=")
    low, _, high = prices.partition(",")
    return name, (float(low), float(high))


if __name__ == "__main__":
    sys.exit(main())
