"""How probably each sentence of many passages holds an answer: first the passage, then the sentence in it.

A passage that is about the question holds the answer more often in any of its sentences than a sentence that merely
sounds like the question. What a passage's title says stands for what its sentences call "it".
"""

from __future__ import annotations

from collections.abc import Sequence

from .bm25 import Index
from .spread import best_of_both, scaled
from .vectors import EMBED_TOKENS, PIECE_CHARS, Vectors, dot, filled, size
from .words import asked, words_of

__all__ = ["Passages"]

# Set by hand, by the order of what each row found alone on Natural Questions (decision 0021): the passage before the
# sentence, meaning before words. Any passage weight from 1 to 2 and any of words from 0 to 0.5 give the same within 2%.
PASSAGE, SENTENCE, WORDS = 2.0, 1.0, 0.25
PASSAGE_WORDS, SENTENCE_WORDS, TITLE_WORDS = 2.0, 0.5, 1.0

PASSAGE_CHARS = 600
"""Where a caller names no passages, a text is taken in stretches of about so many characters."""


class Passages:
    """Sentences and a question. Vectors are asked for in two rounds: passages, then sentences of the best of them."""

    def __init__(
        self,
        texts: Sequence[str],
        query: str,
        *,
        groups: Sequence[int] | None = None,
        titles: Sequence[str] = (),
        embed_tokens: int = EMBED_TOKENS,
    ) -> None:
        """groups: the passage of each sentence, numbers that never fall. titles: of passages by their number."""
        self._runs = _runs(groups) if groups is not None else _stretches(texts)
        self._of = [run for run, (first, last) in enumerate(self._runs) for _ in range(first, last)]
        names = [_title(titles, groups, first) for first, _ in self._runs]
        said = words_of(texts)
        heads = words_of(names)
        query_words = asked(query)
        bodies = [
            [*head, *(word for text in said[first:last] for word in text)]
            for head, (first, last) in zip(heads, self._runs, strict=True)
        ]
        self._passage = scaled(Index(bodies, only=query_words).scores(query_words))
        self._sentence = scaled(Index(said, only=query_words).scores(query_words))
        self._title = scaled(Index(heads, only=query_words).scores(query_words))
        self._texts, self._names, self._room = texts, names, embed_tokens
        self._pieces, self._first = self._likely(query)

    def asks(self, vectors: Vectors) -> list[str]:
        """The texts whose vectors would help next, given those of the rounds before; nothing when there are enough."""
        if len(self._first) < 2:
            return []
        if not vectors:
            return self._first
        if len(vectors) > len(self._first) or vectors[0] is None:
            return []
        return [self._headed(at) for at in self._chosen(self._near_passages(vectors))]

    def scores(self, vectors: Vectors = ()) -> list[float]:
        """One figure a sentence; only their order means anything. vectors: of all that was asked for."""
        of = self._of
        if len(vectors) < 2 or vectors[0] is None or all(vector is None for vector in vectors[1:]):
            return [
                PASSAGE_WORDS * self._passage[of[at]] + SENTENCE_WORDS * own + TITLE_WORDS * self._title[of[at]]
                for at, own in enumerate(self._sentence)
            ]
        passages = self._near_passages(vectors)
        sentences: list[float | None] = [None] * len(of)
        for at, vector in zip(self._chosen(passages), vectors[len(self._first) :], strict=False):
            sentences[at] = None if vector is None else dot(vectors[0], vector)
        by_passage, by_sentence = scaled(filled(passages)), scaled(filled(sentences))
        return [
            PASSAGE * by_passage[of[at]]
            + SENTENCE * by_sentence[at]
            + WORDS * (self._passage[of[at]] + self._sentence[at])
            for at in range(len(of))
        ]

    def _likely(self, query: str) -> tuple[list[int], list[str]]:
        """The passages that are embedded, one entry a piece, and what is asked for first: the question and the pieces.

        Where not all may be: the likeliest by their words, in three quarters of the room.
        """
        pieces: list[int] = []
        asked_for = [query]
        room = self._room * 3 // 4
        for run in best_of_both(self._passage, self._title):
            first, last = self._runs[run]
            parts = _parts(self._texts[first:last], self._names[run])
            room -= sum(map(size, parts))
            if room < 0:
                break
            pieces += [run] * len(parts)
            asked_for += parts
        return pieces, asked_for

    def _near_passages(self, vectors: Vectors) -> list[float | None]:
        """How near the nearest piece of each passage is; None where none was embedded."""
        out: list[float | None] = [None] * len(self._runs)
        for run, vector in zip(self._pieces, vectors[1:], strict=False):
            if vector is not None:
                value, before = dot(vectors[0], vector), out[run]
                out[run] = value if before is None else max(value, before)
        return out

    def _chosen(self, passages: Sequence[float | None]) -> list[int]:
        """The sentences that are embedded: those of the nearest passages, as many as there is room for."""
        room = self._room - sum(map(size, self._first))
        known = [(-value, run) for run, value in enumerate(passages) if value is not None]
        chosen: list[int] = []
        for _, run in sorted(known):
            for at in range(*self._runs[run]):
                room -= size(self._headed(at))
                if room < 0:
                    return chosen
                chosen.append(at)
        return chosen

    def _headed(self, at: int) -> str:
        return _headed(self._names[self._of[at]], self._texts[at])


def _runs(groups: Sequence[int]) -> list[tuple[int, int]]:
    """Where each passage begins and ends."""
    starts = [at for at in range(len(groups)) if at == 0 or groups[at] != groups[at - 1]]
    return list(zip(starts, [*starts[1:], len(groups)], strict=True))


def _stretches(texts: Sequence[str]) -> list[tuple[int, int]]:
    out, first, held = [], 0, 0
    for at, text in enumerate(texts):
        if at > first and held + len(text) > PASSAGE_CHARS:
            out.append((first, at))
            first, held = at, 0
        held += len(text)
    if first < len(texts):
        out.append((first, len(texts)))
    return out


def _title(titles: Sequence[str], groups: Sequence[int] | None, first: int) -> str:
    if groups is None or not 0 <= groups[first] < len(titles):
        return ""
    return titles[groups[first]]


def _headed(title: str, text: str) -> str:
    text = " ".join(text.split())[:PIECE_CHARS]
    return f"{title}: {text}" if title else text


def _parts(texts: Sequence[str], title: str) -> list[str]:
    """A passage in pieces that an embedder can read, each under its title; whole sentences where they fit."""
    out: list[str] = []
    held = ""
    for text in texts:
        if held and len(held) + len(text) > PIECE_CHARS:
            out.append(_headed(title, held))
            held = ""
        held += text if held.endswith((" ", "\n")) or not held else f" {text}"
    if held:
        out.append(_headed(title, held))
    return out
