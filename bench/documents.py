"""Whether the answer is still there when only a share of many documents' sentences is kept for a question.

Takes files of questions `{question, answers, docs: [{title, text}]}`. Whole sentences are kept, the best first, as long
as the next one fits into the share of the documents' tokens (titles aside: they are no sentences, and an answer that
stands in a title alone is lost). `answers_025` is the share of questions of which, at 25% of the tokens, a sentence
kept holds one of the answers; both are compared in lower case without punctuation and articles, as those who made the
data compare (github.com/nelson-liu/lost-in-the-middle). Rows: what else there is, and the same without a model.

  python -m bench.documents --data questions.jsonl.gz [--kept 0.5,0.25,0.1,0.05] [--without-model]
"""

from __future__ import annotations

import argparse
import random
import re
import string
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pennyweight.text.relevance import fill, score, sentences
from pennyweight.text.tokenizers import BpeTokenizer

from .result import progress, report
from .selecting import Model, baselines, name, read

TARGETS = {"answers_025": ">= 0.98", "answers_010": ">= 0.88"}
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_MARKS = str.maketrans("", "", string.punctuation)

Found = dict[str, dict[float, list[bool]]]


def plain(text: str) -> str:
    """As SQuAD's own evaluation has it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_MARKS)).split())


def play(
    rows: Sequence[Mapping[str, Any]], shares: Sequence[float], model: Model | None
) -> tuple[Found, dict[str, float]]:
    found: Found = defaultdict(lambda: defaultdict(list))
    rng, count = random.Random(0), BpeTokenizer().count
    total, plain_s = 0, 0.0
    for number, row in enumerate(rows):
        split = [sentences(doc["text"]) for doc in row["docs"]]
        texts = [text for parts in split for text in parts]
        groups = [group for group, parts in enumerate(split) for _ in parts]
        titles = [doc["title"] for doc in row["docs"]]
        tokens = [count(text) for text in texts]
        answers = [wanted for answer in row["answers"] if (wanted := plain(answer))]
        query = row["question"]
        scored = baselines(texts, query, rng, model.remembered if model else None)
        scored["lead"] = [-float(at) for at in range(len(texts))]
        started = time.process_time()
        scored["words"] = score(texts, query, groups=groups, titles=titles)
        plain_s += time.process_time() - started
        if model:
            scored["fusion"] = score(texts, query, groups=groups, titles=titles, embed=model)
        total += sum(tokens)
        for share in shares:
            for method, scores in scored.items():
                kept = fill(scores, tokens, int(share * sum(tokens)))
                found[method][share].append(_holds(answers, [texts[at] for at in kept]))
            found["pass-through"][share].append(_holds(answers, texts))
        if number % 50 == 49:
            progress(f"{number + 1} of {len(rows)} questions")
    cost = {"ms_1k": 1e3 * plain_s / max(total, 1) * 1e3}
    if model:
        cost["model_ms_1k"] = cost["ms_1k"] + 1e3 * model.seconds / max(total, 1) * 1e3
    return found, {figure: round(value, 1) for figure, value in cost.items()}


def _holds(answers: Sequence[str], texts: Sequence[str]) -> bool:
    kept = plain("\n".join(texts))
    return any(answer in kept for answer in answers)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--kept", default="0.5,0.25,0.1,0.05", help="shares of the tokens (default 0.5,0.25,0.1,0.05)")
    parser.add_argument("--model", type=Path, help="folder made by `pennyweight models pull`")
    parser.add_argument("--without-model", action="store_true", help="words alone")
    options = parser.parse_args()
    rows = [row for row in read(options.data) if row.get("docs") and row.get("answers")]
    if not rows:
        sys.exit("no questions with documents and answers in these files")
    shares = [float(share) for share in options.kept.split(",")]
    found, cost = play(rows, shares, None if options.without_model else Model(options.model))
    curves = {
        row: {name("answers", share): round(sum(held) / len(held), 4) for share, held in by_share.items()}
        for row, by_share in found.items()
    }
    headline = curves["words" if options.without_model else "fusion"]
    return report(
        "documents",
        figures={**headline, **cost},
        targets={figure: target for figure, target in TARGETS.items() if figure in headline},
        data=[str(path) for path in options.data],
        seed=0,
        counts={"questions": len(rows)},
        rows=curves,
    )


if __name__ == "__main__":
    sys.exit(main())
