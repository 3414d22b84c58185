"""How much of the evidence for a question is kept when only a share of a conversation's tokens is.

Takes files of conversations `{id, turns: [{id, speaker, text}], questions: [{query, evidence: [turn id]}]}`. Whole
turns are kept, each written "speaker: text", the best first, as long as the next one fits into the share. `kept_025` is
the share of the tokens of a question's gold turns that are kept at 25% of the conversation's tokens, as the mean over
questions, by `pennyweight.text.relevance.select` with MiniLM. Rows: what else there is, and the same without a model.

  python -m bench.evidence --data qmsum.jsonl.gz [--kept 0.5,0.25,0.1] [--without-model]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pennyweight.text.relevance import fill, score
from pennyweight.text.tokenizers import BpeTokenizer

from .result import progress, report
from .selecting import Model, baselines, name, read

TARGETS = {"kept_025": ">= 0.68"}


class Tally:
    """By row and share, what was kept of each question's evidence."""

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = shares
        self.kept: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, scores: Sequence[float], tokens: Sequence[int], gold: frozenset[int]) -> None:
        of = sum(tokens[at] for at in gold)
        for share in self.shares:
            kept = fill(scores, tokens, int(share * sum(tokens)))
            self.kept[row][share].append(sum(tokens[at] for at in kept if at in gold) / of)

    def curves(self) -> dict[str, dict[str, float]]:
        return {
            row: {name("kept", share): round(sum(found) / len(found), 4) for share, found in by_share.items()}
            for row, by_share in self.kept.items()
        }


def play(
    rows: Sequence[Mapping[str, Any]], shares: Sequence[float], model: Model | None
) -> tuple[Tally, dict[str, float]]:
    tally, rng, count = Tally(shares), random.Random(0), BpeTokenizer().count
    total, plain_s = 0, 0.0
    for number, row in enumerate(rows):
        said = [turn["text"] for turn in row["turns"]]
        speakers = [turn["speaker"] for turn in row["turns"]]
        tokens = [count(f"{speaker}: {text}") for speaker, text in zip(speakers, said, strict=True)]
        places = {turn["id"]: at for at, turn in enumerate(row["turns"])}
        for question in row["questions"]:
            gold = frozenset(places[id] for id in question["evidence"] if id in places)
            if not sum(tokens[at] for at in gold):
                continue
            query = question["query"]
            for baseline, scores in baselines(said, query, rng, model.remembered if model else None).items():
                tally.add(baseline, scores, tokens, gold)
            started = time.process_time()
            scores = score(said, query, shape="talk", tokens=tokens, speakers=speakers)
            plain_s += time.process_time() - started
            tally.add("words", scores, tokens, gold)
            for share in shares:
                tally.kept["pass-through"][share].append(1.0)  # all of it, at all of the tokens
            if model:
                scores = score(said, query, shape="talk", tokens=tokens, speakers=speakers, embed=model)
                tally.add("fusion", scores, tokens, gold)
            total += sum(tokens)
        progress(f"{number + 1} of {len(rows)} conversations")
    cost = {"ms_10k": 1e3 * plain_s / max(total, 1) * 1e4}
    if model:
        cost["model_ms_10k"] = cost["ms_10k"] + 1e3 * model.seconds / max(total, 1) * 1e4
    return tally, {figure: round(value, 1) for figure, value in cost.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.evidence", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--kept", default="0.5,0.25,0.1", help="shares of the tokens (default 0.5,0.25,0.1)")
    parser.add_argument("--model", type=Path, help="folder made by `pennyweight models pull`")
    parser.add_argument("--without-model", action="store_true", help="words alone")
    options = parser.parse_args()
    rows = [row for row in read(options.data) if row.get("questions")]
    if not rows:
        sys.exit("no conversations with questions in these files")
    shares = [float(share) for share in options.kept.split(",")]
    model = None if options.without_model else Model(options.model)
    tally, cost = play(rows, shares, model)
    curves = tally.curves()
    headline = curves["words" if options.without_model else "fusion"]
    return report(
        "evidence",
        figures={**headline, **cost},
        targets={figure: target for figure, target in TARGETS.items() if figure in headline},
        data=[str(path) for path in options.data],
        seed=0,
        counts={"conversations": len(rows), "questions": len(tally.kept["random"][shares[0]])},
        rows=curves,
    )


if __name__ == "__main__":
    sys.exit(main())
