"""What the callers' embedder knows, reckoned with without an array library: rows may be arrays or lists of floats."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any

from ...errors import StoreError
from ...protocols import Embedder

__all__ = ["EMBED_TOKENS", "Embed", "Vectors", "cut", "dot", "filled", "gather", "size"]

Embed = Callable[[Sequence[str]], Any]
"""Texts to (n, d) vectors of unit length, an array or rows of floats; a row may be None where there is none."""

Vectors = Sequence[Any]

EMBED_TOKENS = 2_500
"""What is embedded for one question at most. MiniLM takes 75 to 100 ms of one core for 1,000 tokens."""

PIECE_CHARS = 800
"""About 200 tokens: MiniLM reads 256."""


async def gather(embedder: Embedder, texts: Sequence[str]) -> list[Any]:
    """The vectors of texts, one after the other; None for one that cannot be had.

    A text longer than the model reads is halved once: its beginning stands for it. After two failures in a row, or one
    at the first text, the embedder is taken to be down and asked no more.
    """
    out: list[Any] = []
    failures = 0
    for text in texts:
        vector = await _embedded(embedder, text)
        if vector is None and len(text) > PIECE_CHARS // 2:
            vector = await _embedded(embedder, text[: PIECE_CHARS // 2])
        out.append(vector)
        failures = failures + 1 if vector is None else 0
        if failures == 2 or out[0] is None:
            break
    return out + [None] * (len(texts) - len(out))


async def _embedded(embedder: Embedder, text: str) -> Any:
    try:
        return array("f", await embedder.embed(text))
    except StoreError:
        return None


def size(text: str) -> int:
    """About how many tokens an embedder makes of a text: four bytes each."""
    return len(text.encode("utf-8", "surrogatepass")) // 4 + 1


def cut(text: str) -> list[str]:
    """A text in pieces that an embedder can read, cut at spaces where there are any."""
    out = []
    while len(text) > PIECE_CHARS:
        at = text.rfind(" ", PIECE_CHARS // 2, PIECE_CHARS) + 1 or PIECE_CHARS
        out.append(text[:at])
        text = text[at:]
    return [*out, text] if text else out


def dot(one: Any, other: Any) -> float:
    return float(one.dot(other)) if hasattr(one, "dot") else sum(map(mul, one, other))


def filled(values: Sequence[float | None]) -> list[float]:
    """The values, with the lower quartile of those there are in place of the missing: those were not the best."""
    there = sorted(value for value in values if value is not None)
    usual = there[len(there) // 4] if there else 0.0
    return [usual if value is None else value for value in values]
