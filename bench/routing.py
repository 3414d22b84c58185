"""How much of the gap between a weak and a strong model a router recovers, trained on one half of the ids.

  python -m bench.routing --data outcomes.jsonl.gz [--labels N] [--weak MODEL --strong MODEL] [--seeds 5]

Every file is halved by seed; N labelled texts (all of the half without --labels) are learnt from, and the other half is
ranked by the difference of the two models' chances. A line's `category` is given as the task that a caller declares in
`x-pennyweight-task`, unless --undeclared. apgr: the area under the share of the gap recovered over the share
of strong calls (0.5 is random), cpt50 and cpt80: the share of strong calls that recovers 50% and 80% of the gap
(Ong et al. 2024, arXiv 2406.18665, section 3.1). Means over seeds. With --labels 0 only what ships is used, and where
it tells no two texts apart the router abstains.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.errors import StoreError
from pennyweight.routing.learning.state import State
from pennyweight.routing.learning.texts import shortenings
from pennyweight.routing.learning.training import Row, as_told, read_rows
from pennyweight.text.embedders import open_embedder

from .minilm import model_folder
from .result import progress, report
from .routing_times import times

_PAIRS = (
    ("mixtral-8x7b", "gpt-4"),
    ("Qwen2-7B-Instruct", "claude-3-5-sonnet-20240620"),
    ("gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20240620"),
)
"""Pairs that published figures are of; other files: the model at the lower quartile, and the best one."""

_SPEEDS = {
    "route_ms_p99_static_cold": "<= 2",
    "route_ms_p99_transformer": "<= 15",
    "route_ms_p99_warm": "<= 0.2",
}
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "pennyweight-bench-routing"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--labels", type=int, help="labelled texts to learn from; default: all of the half")
    parser.add_argument("--weak", help="the cheap model; default: by the file")
    parser.add_argument("--strong", help="the dear model")
    parser.add_argument("--undeclared", action="store_true", help="leave out what a line calls its category")
    parser.add_argument("--times", action="store_true", help="how long a decision takes, too, on the first file")
    parser.add_argument("--seeds", type=int, help="default: 20, or 5 for files of more than 2,000 texts")
    parser.add_argument("--model", type=Path, help="folder of the embedding model")
    asked = parser.parse_args()
    tables = [_play(path, asked) for path in asked.data]
    figures: dict[str, float] = {}
    judged = [table for table in tables if not table["abstains"]]
    for name in ("apgr", "cpt50", "cpt80"):
        if judged:
            figures[name] = round(sum(table[name] for table in judged) / len(judged), 4)
    figures["abstained_share"] = round(1 - len(judged) / len(tables), 4)
    if asked.times:
        figures |= _times(asked.data[0], asked.model)
    return report(
        "routing",
        data=[str(path) for path in asked.data],
        figures=figures,
        targets=_targets(asked, figures),
        seed=0,
        files=tables,
    )


def _times(path: Path, model: Path | None) -> dict[str, float]:
    """Of 500 texts that are new to a router which learnt the others."""
    rows = read_rows(path)
    random.Random(0).shuffle(rows)
    new, known = rows[: min(500, len(rows) // 3)], rows[min(500, len(rows) // 3) :][-4_000:]
    told = as_told(known, _vectors(path, known, model), at=0.0)
    embedder = open_embedder(model_folder(model))
    return asyncio.run(times([row.prompt for row in new], told, embedder))


def _targets(asked: argparse.Namespace, figures: dict[str, float]) -> dict[str, str]:
    speeds = {name: target for name, target in _SPEEDS.items() if name in figures}
    return speeds | _quality(asked, figures)


def _quality(asked: argparse.Namespace, figures: dict[str, float]) -> dict[str, str]:
    if asked.labels == 0:
        return {"abstained_share": "<= 0.5"} | ({"apgr": ">= 0.5"} if "apgr" in figures else {})
    if len(asked.data) != 1:
        return {}
    name = asked.data[0].name
    if "mmlu" in name:
        return {"apgr": ">= 0.63" if asked.labels is not None and asked.labels <= 300 else ">= 0.665"}
    if "routellm_gsm8k" in name and asked.labels is None:
        return {"apgr": ">= 0.64"}
    return {}


def _play(path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    rows = read_rows(path)
    weak, strong = _pair(rows, asked.weak, asked.strong)
    rows = [row for row in rows if weak in row.success and strong in row.success]
    if asked.undeclared:
        rows = [msgspec.structs.replace(row, declared="") for row in rows]
    vectors = {} if asked.labels == 0 else _vectors(path, rows, asked.model)
    runs = [
        _run(rows, vectors, weak, strong, asked.labels, seed)
        for seed in range(asked.seeds or (20 if len(rows) <= 2_000 else 5))
    ]
    found: dict[str, Any] = {"file": path.name, "weak": weak, "strong": strong, "texts": len(rows)}
    found["labels"] = runs[0]["labels"]
    found["abstains"] = all(run["abstains"] for run in runs)
    for name in ("apgr", "cpt50", "cpt80", "brier_prior", "brier", "within"):
        found[name] = round(sum(run[name] for run in runs) / len(runs), 4)
    found["apgr_sd"] = round(float(np.std([run["apgr"] for run in runs])), 4)
    found["cold_ms"] = round(float(np.median([run["cold_ms"] for run in runs])), 3)
    progress(
        f"{path.name:28} {found['labels']:5} labels  apgr {found['apgr']:.3f} (sd {found['apgr_sd']:.3f})  cpt50 "
        f"{found['cpt50']:.3f}  cpt80 {found['cpt80']:.3f}" + ("  abstains" if found["abstains"] else "")
    )
    return found


def _run(
    rows: Sequence[Row], vectors: dict[str, bytes], weak: str, strong: str, labels: int | None, seed: int
) -> dict[str, Any]:
    """Only the labelled rows' outcomes are given to the state; of the judged half it sees the text of each alone."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    half = len(order) // 2
    labelled = order[:half] if labels is None else order[: min(labels, half)]
    state = State()
    state.learn(as_told([_only(row, weak, strong) for row in labelled], vectors, at=0.0))
    if state.texts:
        state.take(state.fitted())
    gains, chances, taken = [], [], []
    for told_weak, told_strong in _pairs(
        as_told([_only(row, weak, strong) for row in order[half:]], vectors, at=0.0), weak
    ):
        start = time.thread_time()  # of this thread alone: the machine may be busy
        said = state.ask(told_weak.vector, told_weak.features, told_weak.declared)
        low = state.estimate(told_weak.task, weak, hard=told_weak.hard, said=said)
        high = state.estimate(told_strong.task, strong, hard=told_strong.hard, said=said)
        taken.append(time.thread_time() - start)
        gains.append(high.mean - low.mean)
        chances += [(low, told_weak.success, told_weak), (high, told_strong.success, told_strong)]
    success = np.array([[row.success[weak], row.success[strong]] for row in order[half:]])
    apgr, cpt50, cpt80 = _curve(np.array(gains), success)
    empty = State()
    prior = [(empty.estimate(told.task, told.model, hard=told.hard).mean - right) ** 2 for _, right, told in chances]
    return {
        "labels": len(labelled),
        # Without labels it says something of a text itself only where its length counts; the rest is its type alone.
        "abstains": not labelled and float(np.mean([told.hard != 0 for _, _, told in chances])) < 0.5,
        "apgr": apgr,
        "cpt50": cpt50,
        "cpt80": cpt80,
        "brier_prior": float(np.mean(prior)),
        "brier": float(np.mean([(estimate.mean - right) ** 2 for estimate, right, _ in chances])),
        "within": _within(chances),
        "cold_ms": sorted(taken)[int(len(taken) * 0.99)] * 1e3,
    }


def _within(chances: Sequence[Any]) -> float:
    """The share of tenths of texts, by chance, whose observed rate lies within the mean bounds of their chances."""
    ordered = sorted(chances, key=lambda one: one[0].mean)
    tenths = [part for part in np.array_split(np.arange(len(ordered)), 10) if len(part)]
    good = 0
    for part in tenths:
        found = [ordered[place] for place in part]
        rate = float(np.mean([right for _, right, _ in found]))
        slack = 1.64 * (rate * (1 - rate) / len(found)) ** 0.5
        low, high = (float(np.mean([getattr(one, name) for one, _, _ in found])) for name in ("low", "high"))
        good += low - slack <= rate <= high + slack
    return good / len(tenths)


def _only(row: Row, weak: str, strong: str) -> Row:
    return msgspec.structs.replace(row, success={weak: row.success[weak], strong: row.success[strong]})


def _pairs(told: Sequence[Any], weak: str) -> Sequence[tuple[Any, Any]]:
    return [(a, b) if a.model == weak else (b, a) for a, b in zip(told[::2], told[1::2], strict=True)]


def _curve(gains: Any, success: Any) -> tuple[float, float, float]:
    """Ties are in the file's random order, so that telling nothing comes to 0.5."""
    order = np.argsort(-gains, kind="stable")
    gap = success[:, 1] - success[:, 0]
    recovered = np.concatenate([[0.0], np.cumsum(gap[order])]) / gap.sum()
    shares = np.linspace(0.0, 1.0, len(recovered))
    points = [float(shares[np.argmax(recovered >= goal)]) for goal in (0.5, 0.8)]
    return float(np.trapezoid(recovered, shares)), points[0], points[1]


def _pair(rows: Sequence[Row], weak: str | None, strong: str | None) -> tuple[str, str]:
    models = sorted({model for row in rows for model in row.success})
    for name in (weak, strong):
        if name is not None and name not in models:
            raise SystemExit(f"{name!r} is no model of this file. It has: {', '.join(models)}.")
    usual = next((pair for pair in _PAIRS if set(pair) <= set(models)), None)
    if usual is None:
        rates = sorted(models, key=lambda model: float(np.mean([row.success.get(model, 0.0) for row in rows])))
        usual = rates[len(rates) // 4], rates[-1]
    return weak or usual[0], strong or usual[1]


def _vectors(path: Path, rows: Sequence[Row], folder: Path | None) -> dict[str, bytes]:
    """Embeddings by row id, from a cache on disk by the texts' digest."""
    found = model_folder(folder)
    embedder = open_embedder(found)
    texts = "\0".join([embedder.fingerprint, *(next(shortenings(row.prompt)) for row in rows)])
    kept = _CACHE / f"{hashlib.blake2b(texts.encode('utf-8', 'replace'), digest_size=16).hexdigest()}.npy"
    if kept.is_file():
        return {row.id: vector.tobytes() for row, vector in zip(rows, np.load(kept), strict=True)}
    vectors = np.zeros((len(rows), embedder.dimensions), "<f2")
    for place, row in enumerate(rows):
        vectors[place] = _embedded(embedder, row.prompt)
        if place % 500 == 499:
            progress(f"{path.name}: {place + 1} of {len(rows)} texts embedded")
    _CACHE.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    return {row.id: vector.tobytes() for row, vector in zip(rows, vectors, strict=True)}


def _embedded(embedder: Any, text: str) -> Any:
    for shortened in shortenings(text):
        try:
            return embedder.embed_now(shortened)
        except StoreError:
            continue  # still more tokens than the embedder reads
    return np.zeros(embedder.dimensions)


if __name__ == "__main__":
    raise SystemExit(main())
