"""What of many texts to keep for a question, under a budget: whole sentences or turns, in their order.

Pure: no I/O, no clock, no model. Vectors come from a callable where there is one; without it words decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ...protocols import Embedder
from .score import Shape, score, score_with
from .vectors import EMBED_TOKENS, Embed

__all__ = ["Selection", "fill", "select", "select_with"]


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
    speakers: Sequence[str] = (),
    shape: Shape = "passages",
    always: Sequence[int] = (),
    embed_tokens: int = EMBED_TOKENS,
) -> Selection:
    """The texts that most probably hold what is asked, as many as fit.

    texts: sentences or turns in their order. shape: "passages" where an answer is a sentence of one of several
    passages, "talk" where it is a stretch of neighbours, as in conversations and logs of work. groups: the passage that
    each text belongs to, whole numbers that never fall; None: stretches of neighbours. titles: of passages by their
    number. speakers: of talk, who says each text. always: places kept whatever they score; they count against the
    budget, and are kept also where they exceed it. count: tokens of a text. embed: gives (n, d) vectors of unit length
    for n texts; what it is asked for is about embed_tokens tokens at most, the likeliest texts by their words.
    A query that nothing answers keeps the end and the beginning.
    """
    tokens = [count(text) for text in texts]
    scores = score(
        texts,
        query,
        shape=shape,
        tokens=tokens,
        embed=embed,
        groups=groups,
        titles=titles,
        speakers=speakers,
        embed_tokens=embed_tokens,
    )
    return _kept(scores, tokens, budget_tokens, always)


async def select_with(
    embedder: Embedder,
    texts: Sequence[str],
    query: str,
    *,
    budget_tokens: int,
    count: Callable[[str], int],
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    speakers: Sequence[str] = (),
    shape: Shape = "passages",
    always: Sequence[int] = (),
    embed_tokens: int = EMBED_TOKENS,
) -> Selection:
    """As `select`, with an Embedder. Never raises StoreError: without vectors words decide."""
    tokens = [count(text) for text in texts]
    scores = await score_with(
        embedder,
        texts,
        query,
        shape=shape,
        tokens=tokens,
        groups=groups,
        titles=titles,
        speakers=speakers,
        embed_tokens=embed_tokens,
    )
    return _kept(scores, tokens, budget_tokens, always)


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


def _kept(scores: Sequence[float], tokens: Sequence[int], budget_tokens: int, always: Sequence[int]) -> Selection:
    kept = fill(scores, tokens, budget_tokens, always=always)
    return Selection(kept, tuple(scores), sum(tokens[at] for at in kept))
