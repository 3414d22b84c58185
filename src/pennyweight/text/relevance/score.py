"""How probably each of many texts holds what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ...protocols import Embedder
from .passages import Passages
from .spread import scaled
from .talk import Talk
from .vectors import EMBED_TOKENS, Embed, gather, size

__all__ = ["Shape", "prepared", "score", "score_with"]

Shape = Literal["passages", "talk"]


def score(
    texts: Sequence[str],
    query: str,
    *,
    shape: Shape = "passages",
    tokens: Sequence[int] | None = None,
    embed: Embed | None = None,
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    speakers: Sequence[str] = (),
    embed_tokens: int = EMBED_TOKENS,
) -> list[float]:
    """One figure a text in [0, 1]; only their order means anything, and only among these texts.

    As `select` says. Texts that nothing tells apart rank from both ends inwards, the end first.
    """
    found = prepared(
        texts,
        query,
        shape=shape,
        tokens=tokens,
        groups=groups,
        titles=titles,
        speakers=speakers,
        embed_tokens=embed_tokens if embed is not None else 0,
    )
    vectors: list[Any] = []
    while embed is not None and (wanted := found.asks(vectors)):
        vectors += list(embed(wanted))
    return ranked(found.scores(vectors))


async def score_with(
    embedder: Embedder,
    texts: Sequence[str],
    query: str,
    *,
    shape: Shape = "passages",
    tokens: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    speakers: Sequence[str] = (),
    embed_tokens: int = EMBED_TOKENS,
) -> list[float]:
    """As `score`, with an Embedder; one that remembers embeds of a conversation only what is new.

    Never raises StoreError: without vectors words decide.
    """
    found = prepared(
        texts,
        query,
        shape=shape,
        tokens=tokens,
        groups=groups,
        titles=titles,
        speakers=speakers,
        embed_tokens=embed_tokens,
    )
    vectors: list[Any] = []
    while wanted := found.asks(vectors):
        vectors += await gather(embedder, wanted)
    return ranked(found.scores(vectors))


def prepared(
    texts: Sequence[str],
    query: str,
    *,
    shape: Shape,
    tokens: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    titles: Sequence[str] = (),
    speakers: Sequence[str] = (),
    embed_tokens: int = EMBED_TOKENS,
) -> Talk | Passages:
    """What words say, and in `asks` the texts whose vectors would say more: for callers who embed by themselves."""
    if shape == "talk":
        sizes = tokens if tokens is not None else [size(text) for text in texts]
        return Talk(texts, query, sizes, speakers=speakers, embed_tokens=embed_tokens)
    return Passages(texts, query, groups=groups, titles=titles, embed_tokens=embed_tokens)


def ranked(scores: Sequence[float]) -> list[float]:
    """The scores in [0, 1]; where all are equal, the ends of the text before its middle."""
    if scores and max(scores) - min(scores) < 1e-12:
        count = len(scores)
        return scaled([max(count - 2 * at - 0.5, 2 * at - count + 1) for at in range(count)])
    return scaled(scores)
