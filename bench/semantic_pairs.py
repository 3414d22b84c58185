"""Are two questions the same? The semantic cache's own decision, on labelled pairs.

A pair is `{kind, a, b, same}`, one JSON object a line, plain or gzip; `same` = 1: the answer to `a` may be served for
`b`. Figures are means over the files that have such pairs; `files` and `kinds` in the output tell them apart. Beside
them stands what the usual rule, cosine >= 0.90 alone, does on the same pairs.

    python -m bench.semantic_pairs --data checklist.jsonl.gz advising.jsonl.gz --model ~/.cache/pennyweight/minilm
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from pathlib import Path
from typing import Any

from pennyweight.optimizers.semantic_cache.facets import Facets, facets
from pennyweight.optimizers.semantic_cache.scorer import decide

from .result import progress, report
from .semantic_pairs_data import Cosines, Pair, macro, read_own, read_pairs

TARGETS = {"false_hit_rate": "<= 0.02", "recall": ">= 0.40"}
USUAL = 0.90


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="FILE", help="default: the project's own pairs"
    )
    options.add_argument("--model", type=Path, default=None, help="the folder that `pennyweight models pull` made")
    options.add_argument("--embedder", default="minilm-int8", help="minilm-int8 (default) or minilm-fp32")
    options.add_argument("--misses", type=int, default=0, help="show so many wrong decisions of each kind")
    given = options.parse_args()
    cosines = Cosines(given.model or _model(), given.embedder)
    files = {file.name: read_pairs(file) for file in given.data} or {"own": read_own()}
    tallies = {name: tally(pairs, cosines, given.misses) for name, pairs in files.items()}
    figures = {
        "false_hit_rate": macro(t["false_hit_rate"] for t in tallies.values() if "false_hit_rate" in t),
        "recall": macro(t["recall"] for t in tallies.values() if "recall" in t),
        "usual_false_hit_rate": macro(t["usual_false_hit_rate"] for t in tallies.values() if "false_hit_rate" in t),
        "usual_recall": macro(t["usual_recall"] for t in tallies.values() if "recall" in t),
        "decision_us": macro(t["decision_us"] for t in tallies.values()),
    }
    figures = {name: round(value, 4) for name, value in figures.items()}
    return report("semantic_pairs", figures=figures, targets=TARGETS, data=[str(f) for f in given.data], files=tallies)


def tally(pairs: list[Pair], cosines: Cosines, misses: int) -> dict[str, Any]:
    """Rates over one file, each kind's in it, and the CPU of a decision (both texts read, one candidate)."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    usual: dict[bool, list[bool]] = {True: [], False: []}
    kinds: dict[str, list[bool]] = collections.defaultdict(list)
    shown: collections.Counter[str] = collections.Counter()
    spent = 0.0
    for pair in pairs:
        near = cosines.of(pair.a, pair.b)
        kept: Facets = facets(pair.a)
        started = time.thread_time()
        asked = facets(pair.b)
        decision = decide(kept, asked, cosine=near[0], static_cosine=near[1]) if near else None
        spent += time.thread_time() - started
        hit = decision is not None and decision.hit
        hits[pair.same].append(hit)
        usual[pair.same].append(near is not None and near[0] >= USUAL)
        kinds[pair.kind].append(hit)
        if hit != pair.same and shown[pair.kind] < misses:
            shown[pair.kind] += 1
            why = decision.reason if decision else "too long to embed"
            progress(f"{'wrong' if hit else 'missed'} [{pair.kind}] {why}\n  {pair.a}\n  {pair.b}")
    result: dict[str, Any] = {"pairs": len(pairs), "decision_us": round(spent / max(1, len(pairs)) * 1e6, 1)}
    for same, name in ((False, "false_hit_rate"), (True, "recall")):
        if hits[same]:
            result[name] = round(macro(hits[same]), 4)
            result["usual_" + name] = round(macro(usual[same]), 4)
    result["kinds"] = {kind: [len(found), round(macro(found), 4)] for kind, found in sorted(kinds.items())}
    return result


def _model() -> Path:
    return Path(os.environ.get("PENNYWEIGHT_MODEL", "~/.cache/pennyweight/minilm")).expanduser()


if __name__ == "__main__":
    sys.exit(main())
