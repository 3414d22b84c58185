"""How sure a model was of its own words: from the probabilities of its tokens, where a provider tells them.

Chat Completions' `logprobs.content`: per token its own logarithm and those of the likeliest few. Only those few are
known, so the entropy is that of the known part with all the rest as one more outcome, which is a lower bound.
Mean entropy and the lowest margins are what UCCI (arXiv 2605.18796) found to tell right answers from wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

__all__ = ["Sureness", "Tokens", "entropy_nats"]

_MOST_TOKENS = 100_000
_LOWEST = 0.1  # of the tokens: whose margins count as the lowest


class Sureness(msgspec.Struct, frozen=True):
    """entropy_nats: the mean over tokens. low_margin: between the likeliest and the next token, in [0, 1], the mean of
    the lowest tenth. tokens: of how many."""

    entropy_nats: float
    low_margin: float
    tokens: int

    @property
    def sure(self) -> float:
        """In [-1, 1], 1 where no token could have been another."""
        return max(1.0 - 2.0 * self.entropy_nats, -1.0)

    @property
    def margin(self) -> float:
        return 2.0 * self.low_margin - 1.0


class Tokens:
    """Gathers tokens of one answer as they come. What is no probability is passed over, and counted in `odd`."""

    def __init__(self) -> None:
        self._entropies = 0.0
        self._margins: list[float] = []
        self.odd = 0

    def __len__(self) -> int:
        return len(self._margins)

    def feed(self, content: Any) -> None:
        """A list of tokens as `logprobs.content` has them: in a chunk, or of a whole answer."""
        for token in content if isinstance(content, list) else ():
            if len(self._margins) >= _MOST_TOKENS:
                return
            known = _probabilities(token)
            if known is None:
                self.odd += 1
                continue
            self._entropies += entropy_nats(known)
            first, second = [*sorted(known, reverse=True), 0.0][:2]
            self._margins.append(max(first - second, 0.0))

    def sureness(self) -> Sureness | None:
        """None where too little of it is known: no token, or more odd ones than others."""
        count = len(self._margins)
        if count == 0 or self.odd > count:
            return None
        lowest = sorted(self._margins)[: max(1, math.ceil(count * _LOWEST))]
        return Sureness(self._entropies / count, sum(lowest) / len(lowest), count)


def entropy_nats(probabilities: Iterable[float]) -> float:
    """Of a distribution of which these outcomes are known; what they leave of 1 counts as one more."""
    known = [p for p in probabilities if p > 0.0]
    rest = 1.0 - sum(known)
    if rest > 1e-12:
        known.append(rest)
    return -sum(p * math.log(p) for p in known) if known else 0.0


def _probabilities(token: Any) -> list[float] | None:
    """Of the likeliest tokens at one place, the chosen one among them; None for what is no such thing."""
    if not isinstance(token, Mapping):
        return None
    top = token.get("top_logprobs")
    logs = [entry.get("logprob") for entry in top if isinstance(entry, Mapping)] if isinstance(top, list) else []
    own = token.get("logprob")
    if not any(log == own for log in logs):
        logs.append(own)
    found: list[float] = []
    for log in logs:
        if isinstance(log, bool) or not isinstance(log, int | float) or math.isnan(log) or log > 1e-3:
            return None
        found.append(math.exp(min(log, 0.0)))
    return found if found and sum(found) <= 1.01 else None
