"""How probably each turn of a conversation belongs to the stretch that a question is about.

An answer is mostly a stretch of neighbouring turns of which few hold a word of the question. So words are counted in
windows and spread to neighbours; the best windows lend their own words to a second search; who is named in the
question counts; and vectors of the windows, where there are any, take the place of the second search.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from .bm25 import Index
from .spread import best_of_both, middles, smoothed, standard
from .vectors import EMBED_TOKENS, Vectors, cut, dot, filled, size
from .weights import Weights, weights
from .words import asked, common, telling, words, words_of

__all__ = ["FEATURES", "FEATURES_WITH_VECTORS", "Talk"]

FEATURES = ("window500", "lent150", "lent600", "speaker150", "speaker600")
FEATURES_WITH_VECTORS = ("window500", "speaker150", "speaker600", "near500", "speaker_near")
"""The number behind a name: over how many tokens it is spread. 34 others were tried and gave nothing: decision 0021."""

WINDOW_TOKENS = 200
LENDING_WINDOWS, LENT_WORDS = 4, 15

STRIKE, STRIKING = 0.5, 2.0
"""What a turn gains for each deviation beyond STRIKING that it alone matches the question by: where the evidence is one
turn and no stretch, spreading would bury it. Up to 0.5 nothing is lost where it is a stretch (decision 0021)."""


class Talk:
    """Turns and a question."""

    def __init__(
        self,
        texts: Sequence[str],
        query: str,
        tokens: Sequence[int],
        *,
        speakers: Sequence[str] = (),
        embed_tokens: int = EMBED_TOKENS,
    ) -> None:
        """speakers: who says each text; empty where nobody is named."""
        self._tokens = tokens
        self._places = middles(tokens)
        self._asked = asked(query)
        self._windows = _windows(tokens)
        said = words_of(texts)
        self._said = [[word for text in said[first:last] for word in text] for first, last in self._windows]
        self._turns, self._index = Index(said), Index(self._said)
        self._named = _named(speakers, query, len(texts))
        self._own = standard(self._turns.scores(self._asked))
        self._matches = self._index.scores(self._asked)
        near = smoothed(self._spread(self._matches), self._places, 150)
        self._likely = [near[(first + last - 1) // 2] for first, last in self._windows]
        self._lent = self._lending(self._likely)
        self._pieces, self._wanted = self._asking(texts, query, embed_tokens)

    def asks(self, vectors: Vectors) -> list[str]:
        """The texts whose vectors would help, the question first; nothing once there are vectors."""
        return [] if vectors or len(self._wanted) < 2 else self._wanted

    def features(self, vectors: Vectors = ()) -> dict[str, list[float]]:
        """By name one figure a turn, in deviations: FEATURES, or FEATURES_WITH_VECTORS with vectors."""
        masses = [float(count) for count in self._tokens]
        found = {
            "window500": self._over(self._spread(self._matches), 500),
            "speaker150": standard(smoothed(self._named, self._places, 150, masses)),
            "speaker600": standard(smoothed(self._named, self._places, 600, masses)),
        }
        near = self._near(vectors) if vectors else None
        if near is None:
            return found | {"lent150": self._over(self._lent, 150), "lent600": self._over(self._lent, 600)}
        near150 = self._over(near, 150)
        return found | {
            "near500": self._over(near, 500),
            "speaker_near": [one * other for one, other in zip(found["speaker150"], near150, strict=True)],
        }

    def scores(self, vectors: Vectors = (), learnt: Weights | None = None) -> list[float]:
        """One figure a turn; only their order means anything. learnt: in place of the shipped weights."""
        found = self.features(vectors)
        learnt = learnt or weights()
        sums = [0.0] * len(self._tokens)
        for name, weight in (learnt.vectors if "near500" in found else learnt.words).items():
            for at, value in enumerate(found[name]):
                sums[at] += weight * value
        return [one + STRIKE * max(own - STRIKING, 0.0) for one, own in zip(standard(sums), self._own, strict=True)]

    def _over(self, values: Sequence[float], reach_tokens: float) -> list[float]:
        return standard(smoothed(values, self._places, reach_tokens))

    def _spread(self, values: Sequence[float]) -> list[float]:
        """From windows to their turns."""
        return [value for value, (first, last) in zip(values, self._windows, strict=True) for _ in range(first, last)]

    def _lending(self, likely: Sequence[float]) -> list[float]:
        """How well each turn matches the question with the words that the likeliest windows lend it.

        Pseudo-relevance feedback as in RM3 (Lavrenko and Croft 2001): here their rarest words, at half weight.
        """
        counted: Counter[str] = Counter()
        lenders = [at for at in best_of_both(likely, self._matches)[:LENDING_WINDOWS] if likely[at] > 0]
        for at in lenders:
            counted.update(word for word in self._said[at] if _lends(word))
        weighed = {word: times * self._index.rarity(word) for word, times in counted.items()}
        best = sorted(weighed, key=lambda word: -weighed[word])[:LENT_WORDS]
        most = max((weighed[word] for word in best), default=0.0)
        query = {word: 0.5 * weighed[word] / most for word in best} if most > 0 else {}
        for word in self._asked:
            query[word] = query.get(word, 0.0) + 1.0
        return self._turns.scores(query)

    def _asking(self, texts: Sequence[str], query: str, room: int) -> tuple[list[int], list[str]]:
        """Which window each piece to embed is of, and the question followed by the pieces: likely windows first."""
        pieces: list[int] = []
        wanted = [query]
        lent = smoothed(self._lent, self._places, 150)
        middle = [lent[(first + last - 1) // 2] for first, last in self._windows]
        for at in best_of_both(self._likely, middle):
            first, last = self._windows[at]
            for piece in cut(telling(texts[first:last])):
                room -= size(piece)
                if room < 0:
                    return pieces, wanted
                pieces.append(at)
                wanted.append(piece)
        return pieces, wanted

    def _near(self, vectors: Vectors) -> list[float] | None:
        """How near its window is to the question, for each turn; None where nothing is known."""
        best: list[float | None] = [None] * len(self._windows)
        for at, vector in zip(self._pieces, vectors[1:], strict=True):
            if vector is not None and vectors[0] is not None:
                value, before = dot(vectors[0], vector), best[at]
                best[at] = value if before is None else max(value, before)
        return None if all(value is None for value in best) else self._spread(filled(best))


def _windows(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Turns in runs of about WINDOW_TOKENS, counted from the beginning: a turn more changes the last run alone."""
    out, first, held = [], 0, 0
    for at, counted in enumerate(tokens):
        if at > first and held + counted > WINDOW_TOKENS:
            out.append((first, at))
            first, held = at, 0
        held += counted
    if first < len(tokens):
        out.append((first, len(tokens)))
    return out


def _named(speakers: Sequence[str], query: str, count: int) -> list[float]:
    """1 for each turn of a speaker whom the question names. A name that is a plain word ("A") must be spelled so."""
    if not speakers:
        return [0.0] * count
    held = set(words(query))
    known: dict[str, float] = {}
    for name in set(speakers):
        parts = words(name)
        if not parts:
            known[name] = 0.0
        elif all(common(part) or len(part) == 1 for part in parts):
            known[name] = float(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", query) is not None)
        else:
            known[name] = float(held.issuperset(parts))
    return [known[name] for name in speakers]


def _lends(word: str) -> bool:
    return (len(word) > 2 or not word.isascii()) and not word.isdigit() and not common(word)
