"""What of many texts to keep for a question, under a budget: whole sentences or turns, in their order.

Pure: no I/O, no clock, no model. Vectors come from a callable where there is one; without it words decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from .score import Embed, score

__all__ = ["Selection", "fill", "select"]


class Selection(msgspec.Struct, frozen=True):
    """kept: places of the texts kept, in their order. scores: one a text, in [0, 1]. tokens: of the texts kept."""

    kept: tuple[int, ...]
    scores: tuple[float, ...]
    tokens: int


def select(
    texts: Sequence[str],
    query: str,
    *,
    budget_tokens: int,
    count: Callable[[str], int],
    embed: Embed | None = None,
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    shape: Literal["passages", "talk"] = "passages",
    always: Sequence[int] = (),
) -> Selection:
    """The texts that most probably hold what is asked, as many as fit.

    texts: sentences or turns in their order. groups: the passage or message that each belongs to, as whole numbers that
    never fall; None: all one. titles: of the groups, where they have any. shape: "talk" where an answer is a stretch of
    neighbours, as in conversations and logs of work; "passages" where it is a sentence of one of several passages.
    always: places kept whatever they score; they count against the budget, and are kept also where they exceed it.
    embed: gives (n, d) vectors of unit length for n texts; it is asked for at most EMBED_TOKENS tokens.
    count: tokens of a text. A query without words keeps the beginning and the end.
    """
    tokens = [count(text) for text in texts]
    scores = score(texts, query, tokens=tokens, embed=embed, groups=groups, titles=titles, shape=shape)
    kept = fill(scores, tokens, budget_tokens, always=always)
    return Selection(kept, tuple(scores), sum(tokens[at] for at in kept))


def fill(
    scores: Sequence[float], tokens: Sequence[int], budget_tokens: int, *, always: Sequence[int] = ()
) -> tuple[int, ...]:
    """Places of the best texts that fit into the budget, in their order. Of equal ones the earlier are taken first.

    A text that does not fit is passed over for a lower one that does.
    """
    kept = set(always)
    left = budget_tokens - sum(tokens[at] for at in kept)
    for at in sorted(range(len(scores)), key=lambda at: -scores[at]):
        if at not in kept and tokens[at] <= left:
            kept.add(at)
            left -= tokens[at]
    return tuple(sorted(kept))
