"""How well the word scorer tells which words are needed later, and what a text keeps when words are left out.

Files as bench/importance_data.py says: trajectories, evidence, dialogues with calls, sums; also documents (`docs`,
`question`, `answers`: is an answer still there). Of files that the scorer was trained on, only the fifth that was held
out is read. F1 is of words, the mean over files: of the scorer (`f1`), with the guards, which keep more (`f1_shipped`),
of keeping all, the first 60%, all but the words that only hold sentences together, 60% by chance, and of unigram
self-information at its best ratio. The curve gives, for each share of the characters that is asked for, the share of
words, needed words, numbers and names that stays: as shipped, by the bare scorer, by chance. For documents: of answers,
with whole sentences chosen by what is asked beside it, which should be tried first.

    python -m bench.importance --data FILE… [--kept 0.9,0.7,0.5,0.3]
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.text.compression.importance import SelfInformation, open_scorer, thin, words
from pennyweight.text.compression.importance.guards import Word
from pennyweight.text.compression.importance.lists import FUNCTION
from pennyweight.text.compression.importance.thin import lesser
from pennyweight.text.relevance import fill, score, sentences

from .importance_data import Sample, digest, held_out, read, samples
from .result import progress, report

TARGETS = {"numbers_kept": "== 1.0", "names_kept": "== 1.0"}
MOST = 1_500  # texts of a file


class Told(NamedTuple):
    """One file: F1 by method, and the curve's rows."""

    f1: dict[str, float]
    curve: list[dict[str, float]]
    words: int
    ms_per_1000_words: float


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.importance", description=__doc__.splitlines()[0])
    options.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    options.add_argument("--kept", default="0.9,0.8,0.7,0.6,0.5,0.4,0.3", help="shares of characters, for the curve")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    shares = [float(share) for share in given.kept.split(",")]
    scorer = open_scorer()
    files: dict[str, Told] = {}
    documents: dict[str, list[dict[str, float]]] = {}
    for path in given.data:
        rows = read(path)
        if rows and "docs" in rows[0]:
            documents[path.name] = [answers(rows, share, scorer) for share in shares]
            continue
        known = digest(path) in scorer.training.data.values()
        found = [sample for sample in samples(rows, given.seed) if not known or held_out(sample.group)]
        if not found:
            sys.exit(f"{path} has no English text of which it is known what was needed of it")
        progress(f"{path.name}: {len(found)} texts{', the part held out of training' if known else ''}")
        files[path.name] = told(found[:MOST], shares, scorer)
    figures = summary(files) if files else {}
    return report(
        "importance",
        figures=figures,
        targets=TARGETS if files else {},
        data=[str(path) for path in given.data],
        seed=given.seed,
        f1={name: {k: round(v, 4) for k, v in one.f1.items()} for name, one in files.items()},
        curves={name: one.curve for name, one in files.items()},
        answers_kept=documents,
    )


def told(found: Sequence[Sample], shares: Sequence[float], scorer: Any) -> Told:
    began = time.thread_time()
    scores = [scorer.scores(sample.text, sample.words, sample.asked) for sample in found]
    count = sum(len(sample.words) for sample in found)
    ms = (time.thread_time() - began) * 1_000 / count * 1_000
    surprise = SelfInformation(unigrams(found))
    infos = [surprise.scores(sample.text, sample.words, "") for sample in found]
    bound = scorer.training.threshold
    rng = random.Random(1)
    f1 = {
        "shipped": f1_of(found, lambda at, word, index: not word.free or scores[at][index] >= bound),
        "scorer": f1_of(found, lambda at, word, index: scores[at][index] >= bound),
        "keep_all": f1_of(found, lambda at, word, index: True),
        "first_60": f1_of(found, lambda at, word, index: index < 0.6 * len(found[at].words)),
        "random_60": f1_of(found, lambda at, word, index: rng.random() < 0.6),
        "no_function_words": f1_of(found, lambda at, word, index: word.core.lower() not in FUNCTION),
        "self_information": max(
            f1_of(found, lambda at, word, index, least=least: infos[at][index] >= least)  # type: ignore[misc]
            for least in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
        ),
    }
    curve = [row(found, share, scorer, scores) for share in shares]
    return Told(f1, curve, count, ms)


def f1_of(found: Sequence[Sample], keeps: Callable[..., bool]) -> float:
    both = kept = needed = 0
    for at, sample in enumerate(found):
        for index, (word, need) in enumerate(zip(sample.words, sample.needed, strict=True)):
            if not is_word(word):
                continue
            keep = keeps(at, word, index)
            both += keep and need
            kept += keep
            needed += need
    return 2 * both / max(kept + needed, 1)


def row(found: Sequence[Sample], share: float, scorer: Any, scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """What is kept at a share of the characters: by the shipped way, by the bare scorer, by chance."""
    shipped, bare, chance = Counter[str](), Counter[str](), Counter[str]()
    rng = random.Random(2)
    for sample, known in zip(found, scores, strict=True):
        text = sample.text[: sample.words[-1].end]
        gone = lesser(text, sample.words, share=share, scorer=_Known(known), asked=sample.asked)
        count = math.ceil(share * len(known))
        best = set(sorted(range(len(known)), key=lambda at: -known[at])[:count])
        drawn = set(rng.sample(range(len(known)), count))
        for at, (word, need) in enumerate(zip(sample.words, sample.needed, strict=True)):
            if not is_word(word):
                continue
            kinds = (
                ["words"] + ["needed"] * need + ["numbers"] * is_number(word) + ["names"] * is_name(sample.words, at)
            )
            for counted, kept in ((shipped, at not in gone), (bare, at in best), (chance, at in drawn)):
                counted.update(kinds)
                counted.update(f"{kind} kept" for kind in kinds if kept)
    made = {"asked": share}
    for name, counted in (("shipped", shipped), ("scorer", bare), ("random", chance)):
        made |= {f"{name}_{kind}": value for kind, value in _shares(counted).items()}
    return made


class _Known:
    """Scores that were reckoned before."""

    languages = frozenset({"en"})

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = scores

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        return self._scores


_NUMBER_WORDS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half dozen"
)
_NUMBERS = frozenset(_NUMBER_WORDS.split())


def is_word(word: Word) -> bool:
    """Not a mark by itself, as QMSum sets them."""
    return any(map(str.isalnum, word.core))


def is_number(word: Word) -> bool:
    """Digits, or a number in words."""
    return any(map(str.isdigit, word.core)) or word.core.lower() in _NUMBERS


def is_name(words: Sequence[Word], at: int) -> bool:
    """A capital where no sentence begins, or where one does and the next word has one too; "I" is none."""
    if not _capital(words[at]) or not words[at].opens:
        return _capital(words[at])
    return at + 1 < len(words) and _capital(words[at + 1]) and not words[at + 1].opens


def _capital(word: Word) -> bool:
    return word.core[:1].isupper() and word.core != "I" and not word.core.startswith(("I'", "I’"))


def _shares(counted: Counter[str]) -> dict[str, float]:
    return {
        kind: round(counted[f"{kind} kept"] / counted[kind], 4)
        for kind in ("words", "needed", "numbers", "names")
        if counted[kind]
    }


def unigrams(found: Sequence[Sample]) -> Callable[[str], list[tuple[int, int, float]]]:
    """A table of how often each word is used in these very texts, which favours this baseline."""
    counts = Counter(word.core.lower() for sample in found for word in sample.words)
    total = sum(counts.values())

    def logprobs(text: str) -> list[tuple[int, int, float]]:
        return [(w.start, w.end, math.log(max(counts[w.core.lower()], 1) / total)) for w in words(text)]

    return logprobs


def answers(rows: Sequence[dict[str, Any]], share: float, scorer: Any) -> dict[str, float]:
    """Of questions, the share whose answer is still to be read: after leaving words out, and in whole sentences."""
    thinned = chosen = size = before = asked = 0
    for question in rows[:200]:
        text = "\n\n".join(f"{doc['title']}\n{doc['text']}" for doc in question["docs"])
        if not any(one.lower() in text.lower() for one in question["answers"]):
            continue
        asked += 1
        out = thin(text, share=share, scorer=scorer, asked=question["question"], context="chatter")
        pieces = sentences(text)
        took = fill(score(pieces, question["question"]), [len(piece) for piece in pieces], int(share * len(text)))
        whole = "".join(pieces[at] for at in took)
        before, size = before + len(text), size + len(out)
        thinned += any(one.lower() in out.lower() for one in question["answers"])
        chosen += any(one.lower() in whole.lower() for one in question["answers"])
    return {
        "asked": share,
        "words_left_out_size": round(size / max(before, 1), 4),
        "words_left_out": round(thinned / max(asked, 1), 4),
        "sentences": round(chosen / max(asked, 1), 4),
    }


def summary(files: dict[str, Told]) -> dict[str, float]:
    def mean(values: Iterator[float]) -> float:
        every = list(values)
        return sum(every) / len(every)

    names = {"f1": "scorer", "f1_shipped": "shipped", "f1_keep_all": "keep_all", "f1_first_60": "first_60"}
    names |= {"f1_random_60": "random_60", "f1_no_function_words": "no_function_words"}
    names |= {"f1_self_information": "self_information"}
    figures = {name: round(mean(one.f1[key] for one in files.values()), 4) for name, key in names.items()}
    rows = [row for one in files.values() for row in one.curve]
    for kind in ("numbers", "names"):  # the lowest share at any ratio
        figures[f"{kind}_kept"] = min((row.get(f"shipped_{kind}", 1.0) for row in rows), default=1.0)
        figures[f"{kind}_kept_scorer"] = min((row.get(f"scorer_{kind}", 1.0) for row in rows), default=1.0)
    figures["ms_per_1000_words"] = round(max(one.ms_per_1000_words for one in files.values()), 2)
    return figures


if __name__ == "__main__":
    sys.exit(main())
