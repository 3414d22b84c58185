"""How probably each sentence of many passages holds an answer: first the passage, then the sentence in it.

A passage that is about the question holds the answer more often in any of its sentences than a sentence that merely
sounds like the question. What a passage's title says stands for what its sentences call "it".
"""

from __future__ import annotations

from collections.abc import Sequence

from .bm25 import Index
from .spread import best_of_both, scaled
from .vectors import EMBED_TOKENS, PIECE_CHARS, Vectors, dot, filled, size
from .words import asked, words

__all__ = ["Passages"]

# Set by hand, by the order of what each row found alone on Natural Questions (decision 0021): the passage before the
# sentence, meaning before words. Any passage weight from 1 to 2 and any of words from 0 to 0.5 give the same within 2%.
PASSAGE, SENTENCE, WORDS = 2.0, 1.0, 0.25
PASSAGE_WORDS, SENTENCE_WORDS, TITLE_WORDS = 2.0, 0.5, 1.0

PASSAGE_CHARS = 600
"""Where a caller names no passages, a text is taken in stretches of about so many characters."""


class Passages:
    """Sentences and a question. `wanted` are the texts whose vectors would help, the question first."""

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
        said = [words(text) for text in texts]
        heads = [words(name) for name in names]
        query_words = asked(query)
        bodies = [
            [*head, *(word for text in said[first:last] for word in text)]
            for head, (first, last) in zip(heads, self._runs, strict=True)
        ]
        self._passage = scaled(Index(bodies).scores(query_words))
        self._sentence = scaled(Index(said).scores(query_words))
        self._title = scaled(Index(heads).scores(query_words))
        self._pieces, self._embedded, self.wanted = self._wanted(texts, query, names, embed_tokens)

    def scores(self, vectors: Vectors | None = None) -> list[float]:
        """One figure a sentence; only their order means anything."""
        of = self._of
        if vectors is None or vectors[0] is None or all(vector is None for vector in vectors[1:]):
            return [
                PASSAGE_WORDS * self._passage[of[at]] + SENTENCE_WORDS * own + TITLE_WORDS * self._title[of[at]]
                for at, own in enumerate(self._sentence)
            ]
        near = [None if vector is None else dot(vectors[0], vector) for vector in vectors[1:]]
        passages: list[float | None] = [None] * len(self._runs)
        for at, value in zip(self._pieces, near, strict=False):
            before = passages[at]
            if value is not None and (before is None or value > before):
                passages[at] = value
        sentences: list[float | None] = [None] * len(of)
        for at, value in zip(self._embedded, near[len(self._pieces) :], strict=True):
            sentences[at] = value
        by_passage, by_sentence = scaled(filled(passages)), scaled(filled(sentences))
        return [
            PASSAGE * by_passage[of[at]]
            + SENTENCE * by_sentence[at]
            + WORDS * (self._passage[of[at]] + self._sentence[at])
            for at in range(len(of))
        ]

    def _wanted(
        self, texts: Sequence[str], query: str, names: Sequence[str], room: int
    ) -> tuple[list[int], list[int], list[str]]:
        """The passage of each piece, the sentences, and question, pieces and sentences as they are to be embedded.

        Where not all may be embedded: the pieces of the likeliest passages by words, in half the room, and then their
        likeliest sentences.
        """
        pieces: list[int] = []
        chosen: list[int] = []
        asked_for = [query]
        likely = best_of_both(self._passage, self._title)
        spare = room // 2
        for run in likely:
            first, last = self._runs[run]
            parts = _parts(texts[first:last], names[run])
            cost = sum(map(size, parts))
            if cost > spare:
                break
            spare -= cost
            pieces += [run] * len(parts)
            asked_for += parts
        spare += room - room // 2
        known = set(pieces)
        order = sorted(range(len(texts)), key=lambda at: -(self._passage[self._of[at]] + self._sentence[at]))
        for at in order:
            run = self._of[at]
            text = _headed(names[run], texts[at])
            if run in known and (cost := size(text)) <= spare:
                spare -= cost
                chosen.append(at)
                asked_for.append(text)
        return pieces, chosen, asked_for


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
