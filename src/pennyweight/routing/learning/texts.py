"""Texts as they are embedded: of a long one the beginning and the end, so that a vector comes while its call waits.

An embedder's time grows with the tokens: MiniLM takes 0.05 to 0.11 ms for each on one core, and a text that was never
seen has 12 ms. What is left out told the router nothing: see docs/decisions/0045-vectors-in-time.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

__all__ = ["shortenings"]

_PIECES = (64, 48, 24)
_WINDOW = 1_024  # characters of each end that are looked at: enough for the most pieces, however long the text

# About a token each, for an English vocabulary: WordPiece has most words of six letters whole, and hardly any of
# another script.
_PIECE = re.compile(r"[A-Za-z]{1,6}|[0-9]{1,3}|[^\sA-Za-z0-9]")


def shortenings(text: str) -> Iterator[str]:
    """The text if it is short, else about 64 tokens of it: three quarters of the beginning, a quarter of the end.

    Then ever shorter ones, for an embedder that finds more tokens in it than it reads. Takes 0.01 to 0.2 ms.
    """
    begun = [found.end() for found in islice(_PIECE.finditer(text[: 2 * _WINDOW]), _PIECES[0] + 1)]
    last = text[-_WINDOW:]
    ended = [0, *(found.end() for found in _PIECE.finditer(last))]
    before = None
    for pieces in _PIECES:
        if len(begun) <= pieces and len(text) <= 2 * _WINDOW:
            shortened = text
        else:
            first = min(pieces * 3 // 4, len(begun))
            rest = min(pieces - first, len(ended) - 1)
            shortened = f"{text[: begun[first - 1] if first else 0]} {last[ended[-rest - 1] :].lstrip()}"
        if shortened != before:
            yield shortened
        before = shortened
