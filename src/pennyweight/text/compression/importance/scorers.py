"""Who says how much a word matters: the socket, and scorers made of a language model's surprise or of two scorers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

from .guards import Word

__all__ = ["Both", "LogProbs", "Scorer", "SelfInformation", "ranks"]

LogProbs = Callable[[str], Sequence[tuple[int, int, float]]]
"""A text to its tokens: first character, the one after the last, and the natural logarithm of its probability given
all before it (0.0 for the first). Servers that echo a prompt with its probabilities give them (vLLM's completions with
`echo` and `logprobs`); llama-server has them of what it writes only. A table of how often words are used does too."""


class Scorer(Protocol):
    """Says of each word of a text how much it matters, in [0, 1]. Deterministic.

    `languages`: codes of those on which it was measured; from texts of others its users keep it away.
    """

    @property
    def languages(self) -> frozenset[str]: ...

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        """One figure a word. asked: what the reader wants to know; "": nobody said."""
        ...


class SelfInformation:
    """Protocol: `Scorer`. A word matters as much as a language model was surprised by it (Selective Context,
    arXiv 2310.06201): the sum over its tokens, as a rank among the text's words. It does not know what is asked.
    """

    def __init__(self, logprobs: LogProbs, languages: frozenset[str] = frozenset({"en"})) -> None:
        self._logprobs = logprobs
        self.languages = languages

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        ends = [word.end for word in words]
        sums = [0.0] * len(words)
        for start, end, logprob in self._logprobs(text):
            # A token belongs to the word in which its last character lies: many begin with the space before.
            at = bisect_left(ends, end)
            if at < len(words) and end > words[at].start and start < end:
                sums[at] -= logprob
        return ranks(sums)


class Both:
    """Protocol: `Scorer`. The mean of the ranks that two scorers give."""

    def __init__(self, first: Scorer, second: Scorer) -> None:
        self._first, self._second = first, second
        self.languages = first.languages & second.languages

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        first = ranks(self._first.scores(text, words, asked))
        second = ranks(self._second.scores(text, words, asked))
        return [(a + b) / 2 for a, b in zip(first, second, strict=True)]


def ranks(values: Sequence[float]) -> list[float]:
    """The share of values that are lower, equal ones sharing theirs."""
    ordered = sorted(values)
    count = max(len(values) - 1, 1)
    return [bisect_left(ordered, value) / count for value in values]
