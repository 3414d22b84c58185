"""What the local embedders cost and how well they find: CPU per text, eight bits against 32, paraphrases found.

*_ms_16: thread CPU to embed a text of 16 tokens, tokenizing included, the 10th percentile of 500. int8_cosine: mean
cosine of the int8 and the fp32 vector of a text; int8_beside: the largest change of an int8 vector's component by the
texts embedded with it. With --data, files of pairs (`{a, b, same}`): for how many of up to 1,000 pairs of one
meaning `b` is among the 20 nearest of all texts of the file (those that are too long for the model are left out).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.errors import StoreError
from pennyweight.text.embedders import LocalKind, open_embedder
from pennyweight.text.embedders.bert import INPUT, OUTPUT
from pennyweight.text.embedders.folder import MADE
from pennyweight.text.embedders.minilm import read_tokenizer, session

from .minilm import model_folder
from .result import progress, report

TARGETS = {"int8_ms_16": "<= 1.5", "static_ms_16": "<= 0.05", "int8_cosine": ">= 0.99", "static_top_20": ">= 0.95"}
KINDS: dict[str, LocalKind] = {"int8": "minilm-int8", "fp32": "minilm-fp32", "static": "static"}
LOCAL = ("int8", "static")
SIXTEEN = "could you please tell me how i can reset the password of my account"
NEAREST = 20
PAIRS, TEXTS = 1_000, 6_000
EXAMPLES = """examples:
  python -m bench.embedders
  python -m bench.embedders --model FOLDER --data pairs.jsonl.gz"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.embedders",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, help="a folder made by `pennyweight models pull`; by default found or fetched"
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="files of pairs, JSON lines, .gz or not")
    parser.add_argument("--seed", type=int, default=1, help="which pairs are taken (default 1)")
    options = parser.parse_args()
    folder = model_folder(options.model)
    embedders = {name: open_embedder(folder, kind) for name, kind in KINDS.items()}
    figures = {f"{name}_ms_16": round(_milliseconds(embedder), 3) for name, embedder in embedders.items()}
    progress(str(figures))
    texts = sample()
    vectors = {name: np.stack([embedders[name].embed_now(text) for text in texts]) for name in ("int8", "fp32")}
    figures["int8_cosine"] = round(float((vectors["int8"] * vectors["fp32"]).sum(axis=1).mean()), 4)
    figures["int8_beside"] = float(_beside(folder))
    tables, targets = [], dict(TARGETS)
    for path in options.data:
        tables.append({"file": path.name, **_found(path, embedders, random.Random(options.seed))})
        progress(str(tables[-1]))
    for name in LOCAL:
        if tables:
            figures[f"{name}_top_20"] = round(float(np.mean([table[f"{name}_top_20"] for table in tables])), 4)
    if not tables:
        del targets["static_top_20"]
    names = [path.name for path in options.data]
    return report("embedders", figures=figures, targets=targets, data=names, seed=options.seed, files=tables)


def _milliseconds(embedder: Any) -> float:
    times = []
    for number in range(520):
        start = time.thread_time()
        embedder.embed_now(SIXTEEN)
        if number >= 20:
            times.append(time.thread_time() - start)
    return float(np.percentile(times, 10)) * 1000


def sample() -> list[str]:
    """150 questions of 4 to 30 words."""
    draw = random.Random(7)
    subjects = ["my password", "the last invoice", "a stolen card", "the delivery", "this subscription", "order 4711"]
    asks = ["How do I change", "Where can I find", "What happens with", "Why can't I see", "Who takes care of"]
    rest = ["when I am abroad", "before the end of May", "without calling anybody", "on a phone that has no number"]
    made = []
    for _ in range(150):
        parts = [draw.choice(asks), draw.choice(subjects), *draw.sample(rest, draw.randint(0, len(rest)))]
        made.append(" ".join(parts) + "?")
    return made


def _beside(model: Path) -> Any:
    """The largest difference in a component between int8 vectors made alone and together, over texts of one length."""
    tokenizer, run = read_tokenizer(model), session(model / MADE["int8"])
    by_length: dict[int, list[list[int]]] = {}
    for text in dict.fromkeys(sample()):
        ids = tokenizer.encode(text).ids
        by_length.setdefault(len(ids), []).append(ids)
    batch = np.array(max(by_length.values(), key=len)[:16], np.int64)
    together = run.run([OUTPUT], {INPUT: batch})[0]
    alone = np.concatenate([run.run([OUTPUT], {INPUT: row[None]})[0] for row in batch])
    return np.abs(together - alone).max()


def _found(path: Path, embedders: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    raw = path.read_bytes()
    rows = [json.loads(line) for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()]
    same = [row for row in rows if row["same"]]
    draw.shuffle(same)
    others = list(dict.fromkeys(row["b"] for row in rows))
    draw.shuffle(others)
    texts = list(dict.fromkeys([*(row["b"] for row in same[:PAIRS]), *others]))[:TEXTS]
    vectors = {name: _vectors(embedders[name], [*texts, *(row["a"] for row in same[:PAIRS])]) for name in LOCAL}
    known = set.intersection(*(set(found) for found in vectors.values()))
    same, texts = [row for row in same[:PAIRS] if {row["a"], row["b"]} <= known], [t for t in texts if t in known]
    return {"pairs": len(same), "texts": len(texts)} | {
        f"{name}_top_20": _top(found, same, texts) for name, found in vectors.items()
    }


def _vectors(embedder: Any, texts: Sequence[str]) -> dict[str, Any]:
    """By text; without those that the embedder refuses because they are too long."""
    found = {}
    for text in dict.fromkeys(texts):
        with contextlib.suppress(StoreError):
            found[text] = embedder.embed_now(text)
    return found


def _top(vectors: dict[str, Any], same: Sequence[dict[str, Any]], texts: list[str]) -> float:
    stored = np.stack([vectors[text] for text in texts])
    asked = np.stack([vectors[row["a"]] for row in same])
    at = {text: number for number, text in enumerate(texts)}
    cosines = asked @ stored.T
    right = cosines[np.arange(len(same)), [at[row["b"]] for row in same]]
    return round(float(((cosines > right[:, None]).sum(axis=1) < NEAREST).mean()), 4)


if __name__ == "__main__":
    raise SystemExit(main())
