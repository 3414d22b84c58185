"""How often the semantic cache answers on a stream of questions, and how often it is wrong, against its error target.

Every question of the files is asked once, in an order drawn by each seed, of a cache that begins empty. The upstream
is the file's own answer. Vectors, neighbours and the decision are the product's, as is the calibration: only the
gateway around them is left out. An audited hit is no hit here: it was asked upstream.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.optimizers.semantic_cache.answers import group_of
from pennyweight.optimizers.semantic_cache.facets import Facets, facets
from pennyweight.optimizers.semantic_cache.partition import Partition, Rules
from pennyweight.optimizers.semantic_cache.values import conflict
from pennyweight.text.embedders import open_embedder

from .minilm import model_folder
from .result import progress, report

TARGETS = {"hit_rate": ">= 0.5", "wrong_rate": "<= 0.02", "seeds_over_target": "<= 0"}
TRIED = 12  # entries with the answer, nearest first, of which one must agree in every value


class Stream(msgspec.Struct):
    """The questions of some files with their answers, vectors and facets, made once for all seeds."""

    texts: list[str]
    groups: list[str]
    vectors: Any  # (n, d) float32
    facets: list[Facets]
    ids: list[str]


class Tally(msgspec.Struct):
    """Of one seed."""

    asked: int = 0
    hits: int = 0
    wrong: int = 0
    audited: int = 0
    vetoed: int = 0
    opened_at: int = 0  # questions until the first hit; 0: never
    forgotten: int = 0  # times that audits closed it

    @property
    def wrong_rate(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.semantic_stream", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="JSON lines {text, answer}, may be gzipped")
    parser.add_argument("--error-target", type=float, default=0.02, help="share of hits that may be wrong")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--limit", type=int, default=0, help="questions of each seed's order that are asked; 0: all")
    parser.add_argument("--model", type=Path, help="folder of the embedding model; default: where one is found or made")
    parser.add_argument("--kind", default="minilm-int8", choices=("minilm-int8", "minilm-fp32", "static"))
    args = parser.parse_args(argv)
    stream = prepare(args.data, model_folder(args.model), args.kind)
    tallies = []
    for seed in range(args.seeds):
        tally = run(stream, seed, Rules(error_target=args.error_target), limit=args.limit)
        tallies.append(tally)
        progress(
            f"seed {seed}: {tally.hits / max(tally.asked, 1):.1%} hits, {tally.wrong_rate:.2%} of them wrong, "
            f"{tally.audited} audited, {tally.vetoed} vetoed, first hit at {tally.opened_at}"
        )
    hits = sum(tally.hits for tally in tallies)
    figures = {
        "hit_rate": hits / max(sum(tally.asked for tally in tallies), 1),
        "wrong_rate": sum(tally.wrong for tally in tallies) / hits if hits else 0.0,
        "seeds_over_target": float(sum(tally.wrong_rate > args.error_target for tally in tallies)),
        "worst_seed": max((tally.wrong_rate for tally in tallies), default=0.0),
        "audited_share": sum(t.audited for t in tallies) / max(hits + sum(t.audited for t in tallies), 1),
        "first_hit_at": float(np.median([tally.opened_at for tally in tallies])) if tallies else 0.0,
        "false_alarms": float(sum(tally.forgotten for tally in tallies)),
        "questions": float(len(stream.texts)),
    }
    targets = TARGETS | {"wrong_rate": f"<= {args.error_target}"}
    return report("semantic_stream", figures=figures, targets=targets, data=[str(path) for path in args.data], seed=0)


def run(stream: Stream, seed: int, rules: Rules, *, limit: int = 0) -> Tally:
    """One order of the questions through one partition that begins empty."""
    lots = random.Random(seed)
    order = list(range(len(stream.texts)))
    lots.shuffle(order)
    partition, tally, texts = Partition(stream.vectors.shape[1], rules), Tally(), {}
    for at in order[: limit or None]:
        tally.asked += 1
        vector = stream.vectors[at]
        looked = partition.look(vector, partition.nearest(vector))
        act = "miss"
        if looked is not None:
            act = partition.decide(looked, lots.random()).act
            if act == "hit" and not any(
                not conflict(stream.facets[texts[name]], stream.facets[at]) for name in looked.entries[:TRIED]
            ):
                act = "miss"
                tally.vetoed += 1
        if act == "hit" and looked is not None:
            partition.served(looked)
            tally.hits += 1
            tally.wrong += looked.group != stream.groups[at]
            tally.opened_at = tally.opened_at or tally.asked
            continue
        tally.audited += act == "audit"
        name, _ = partition.learn(stream.ids[at], vector, stream.groups[at], looked, audited=act == "audit")
        texts[name] = at
        if partition.due:
            partition.redraw()
    tally.forgotten = partition.epoch
    return tally


def prepare(paths: list[Path], folder: Path, kind: str) -> Stream:
    """Vectors are kept in the folder for temporary files, by model and text, so that a second run begins at once."""
    rows = [row for path in paths for row in read(path)]
    texts = [row["text"] for row in rows]
    embedder = open_embedder(folder, kind)  # type: ignore[arg-type]
    name = hashlib.blake2b("\0".join([embedder.fingerprint, *texts]).encode(), digest_size=16).hexdigest()
    memo = Path(tempfile.gettempdir()) / f"pennyweight-vectors-{name}.npy"
    if memo.is_file():
        vectors = np.load(memo)
    else:
        progress(f"embedding {len(texts)} texts")
        vectors = np.array([embedder.embed_now(text) for text in texts], np.float32)
        np.save(memo, vectors)
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
    return Stream(texts, [group_of(row["answer"]) for row in rows], vectors, [facets(text) for text in texts], ids)


def read(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    sys.exit(main())
