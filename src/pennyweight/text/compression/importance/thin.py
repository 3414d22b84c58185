"""Leaves the least important words of English prose out, and nothing that must stay. The last resort: whole sentences
chosen by what is asked keep more (docs/token-importance.md).

What comes out is a subsequence of what went in. Pure, as far as the scorer is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from .guards import Word, is_english, words
from .scorers import Scorer

__all__ = ["LEAST", "Context", "context_of", "lesser", "thin"]

Context = Literal["instructions", "examples", "documents", "chatter"]

LEAST: Mapping[Context, float] = {"instructions": 1.0, "examples": 0.8, "documents": 0.6, "chatter": 0.4}
"""The share of its words that a paragraph keeps at least, whatever is asked for."""

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_INSTRUCTION = re.compile(
    r"\b(?:you (?:must|should|shall|may|are|can|will|have to|need to)|must|always|never|do not|don't|make sure|ensure|"
    r"remember to|be sure|required?|should(?:n't)?|only if|instructions?|rules?|important|note that|step \d)\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"\b(?:for example|for instance|e\.g\.|examples?|input|output|sample)\b", re.IGNORECASE)
_CHATTER = re.compile(
    r"\b(?:uh|um|yeah|okay|ok|hi|hello|hey|thanks|thank you|sorry|well|hmm|mm|i|i'm|i'll|i'd|i've|we|me|my)\b",
    re.IGNORECASE,
)


def context_of(paragraph: str) -> Context:
    """What a paragraph is, by its words alone; what says what to do counts as instructions."""
    count = max(len(paragraph.split()), 1)
    if len(_INSTRUCTION.findall(paragraph)) >= max(1, 0.02 * count):
        return "instructions"
    if _EXAMPLE.search(paragraph[:200]):
        return "examples"
    if len(_CHATTER.findall(paragraph)) >= max(2, 0.06 * count):
        return "chatter"
    return "documents"


def thin(text: str, *, share: float, scorer: Scorer, asked: str = "", context: Context | None = None) -> str:
    """The text with about that share of its characters, or more where more must stay; itself where nothing may go.

    share: in [0, 1]. context: what all of the text is; None: each paragraph is judged by itself. Raises ValueError for
    another share, and whatever the scorer raises.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"`share` is {share}: it must be between 0 and 1.")
    if len(text) <= share * len(text) or "en" not in scorer.languages:
        return text
    found = words(text)
    gone = lesser(text, found, share=share, scorer=scorer, asked=asked, context=context)
    return _without(text, found, gone) if gone else text


def lesser(
    text: str, found: Sequence[Word], *, share: float, scorer: Scorer, asked: str = "", context: Context | None = None
) -> set[int]:
    """Places of the words that `thin` leaves out. found: the text's words."""
    paragraphs, quota = _may_go(text, found, context)
    if not paragraphs:
        return set()
    scores = scorer.scores(text, found, asked)
    room, left = share * len(text), len(text)
    gone: set[int] = set()
    for at in sorted(paragraphs, key=lambda at: (scores[at], at)):
        if left <= room:
            break
        if quota[paragraphs[at]] > 0:
            quota[paragraphs[at]] -= 1
            gone.add(at)
            left -= found[at].end - found[at].start + 1
    return gone


def _may_go(text: str, found: Sequence[Word], context: Context | None) -> tuple[dict[int, int], list[int]]:
    """The paragraph of each word that may go, by the word's place, and how many words of each paragraph may."""
    free: dict[int, int] = {}
    quota: list[int] = []
    at = 0
    starts = [0, *(gap.end() for gap in _PARAGRAPH.finditer(text))]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
        first = at
        while at < len(found) and found[at].start < end:
            at += 1
        paragraph = text[start:end]
        here = [place for place in range(first, at) if found[place].free] if is_english(paragraph) else []
        least = LEAST[context or context_of(paragraph)] if here else 1.0
        quota.append(int((1.0 - least) * (at - first) + 1e-9))
        free.update(dict.fromkeys(here if quota[number] else (), number))
    return free, quota


def _without(text: str, found: Sequence[Word], gone: set[int]) -> str:
    """The text without these words. A mark that ends a sentence stays, on the word before; lines stay lines."""
    made: list[str] = []
    gap, after = "", 0
    for at, word in enumerate(found):
        between = text[after : word.start]
        if at == 0 or (made and not gap) or ("\n" in between and "\n" not in gap):
            gap = between
        after = word.end
        if at not in gone:
            made += (gap, text[word.start : word.end])
            gap = ""
        elif text[word.end - 1] in _ENDS and made and "\n" not in gap and made[-1][-1].isalnum():
            made.append(text[word.end - 1])
            gap = ""  # it stood before the mark: what separates now comes behind it
    made.append(text[after:] if not gap or "\n" in text[after:] else gap)
    return "".join(made)


_ENDS = ".!?:;"
