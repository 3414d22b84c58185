"""Entries of an old embedder's space are embedded anew, a few at a time, while calls go on.

What is done leaves the old space as it enters the new one: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...protocols import Embedder
from .lazy import ListedVectors

__all__ = ["TextOf", "reembed"]

TextOf = Callable[[str], Awaitable[tuple[str, float | None] | None]]
"""The text of an entry and for how many seconds more it is kept (None: until evicted); None for one that is gone."""

_BATCH = 64


async def reembed(
    vectors: ListedVectors, embedder: Embedder, text_of: TextOf, *, old: str, new: str, pause_s: float = 0.05
) -> int:
    """Move all entries of the space `old` to the space `new`, with vectors of `embedder`; how many were moved.

    It rests `pause_s` after each entry, to take a small part of a core. Raises StoreError as the stores and the
    embedder do; run it again then. Raises ValueError when both spaces are the same.
    """
    if old == new:
        raise ValueError(f"The space {old!r} cannot be embedded anew into itself.")
    moved = 0
    while ids := await vectors.ids(old, limit=_BATCH):
        for id in ids:
            entry = await text_of(id)
            if entry is not None:
                text, ttl_s = entry
                await vectors.add(new, id, await embedder.embed(text), ttl_s=ttl_s)
                moved += 1
            await vectors.remove(old, id)
            await asyncio.sleep(pause_s if entry is not None else 0)
    return moved
