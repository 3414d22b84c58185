"""A table with a vector for each token, distilled from a sentence embedder; a text's vector is the mean of its tokens'.

30 times faster than the embedder and good enough to find candidates, not to decide. Made as model2vec makes its own
(https://github.com/MinishLab/model2vec, no code of theirs): every token embedded alone, fewer dimensions by principal
components, frequent tokens weighted down (SIF, https://openreview.net/forum?id=SyK00v5xx).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import StoreError
from .bert import INPUT, OUTPUT
from .folder import MADE, fingerprint, verified
from .minilm import MAX_CHARS, around, read_tokenizer
from .prepare import prepare
from .words import Words

__all__ = ["Static", "distil"]

DIMENSIONS = 256
SIF = 5e-5
"""Half of a token's weight is left at this share of all text. With 1e-4 the top 20 hold 1% fewer paraphrases."""

LONG_CHARS = 1_024
"""A longer text takes more than half a millisecond, so it is embedded in another thread."""

DIGIT_RANK = 1000.0
BATCH = 64  # of three tokens each


class Static:
    """An Embedder of 0.05 ms for 16 tokens. It reads texts of any length, up to MAX_CHARS characters."""

    def __init__(self, table: Any, tokenizer: Any, fingerprint: str) -> None:
        """table: (tokens, dimensions) float16 or float32."""
        self.fingerprint = fingerprint
        self.dimensions = int(table.shape[1])
        self._table = table
        self._words = Words(tokenizer)

    @classmethod
    def open(cls, folder: Path) -> Static:
        """The table in a folder made by `models pull`. Raises StoreError for one that is missing or damaged."""
        verified(folder, MADE["static"], "tokenizer.json")
        try:
            mapped = np.load(folder / MADE["static"], mmap_mode="r", allow_pickle=False)
            table = np.asarray(mapped)  # the same memory; indexing a memmap runs Python for every result
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder / MADE['static']} cannot be read: {error}") from None
        return cls(table, read_tokenizer(folder), fingerprint(folder, f"static-{table.shape[1]}"))

    async def embed(self, text: str) -> bytes:
        """Raises StoreError for a text of more than MAX_CHARS characters."""
        vector = self.embed_now(text) if len(text) < LONG_CHARS else await asyncio.to_thread(self.embed_now, text)
        return bytes(vector.astype("<f4", copy=False).tobytes())

    def embed_now(self, text: str) -> Any:
        """(dimensions,) float32 of unit length; the first axis for a text without tokens. Raises StoreError.

        Takes half a microsecond a character: 17 ms for MAX_CHARS. On an event loop, use `embed` for long texts.
        """
        if len(text) > MAX_CHARS:
            raise StoreError(f"A text of {len(text)} characters is longer than the embedder reads ({MAX_CHARS}).")
        ids = np.array(self._words.of(prepare(text)), np.intp)
        vector = np.add.reduce(self._table.take(ids, axis=0), axis=0, dtype=np.float32)
        length = math.sqrt(vector @ vector)
        if length > 0.0:
            return vector / np.float32(length)
        return np.eye(1, self.dimensions, dtype=np.float32)[0]

    def close(self) -> None:
        """Nothing is held."""


def distil(model: Any, tokenizer: Any, *, dimensions: int = DIMENSIONS, progress: Callable[[float], None]) -> Any:
    """(tokens, dimensions) float16: the table for the vocabulary of `tokenizer`.

    model: a session of `bert.graph`; int8 takes half the time of fp32 and finds as much, its vectors do not depend on
    the batch. `progress` is told the share done, in [0, 1].
    """
    first, last = around(tokenizer)
    size = tokenizer.get_vocab_size()
    vectors = []
    for start in range(0, size, BATCH):
        ids = np.arange(start, min(start + BATCH, size), dtype=np.int64)
        texts = np.stack([np.full_like(ids, first), ids, np.full_like(ids, last)], axis=1)
        vectors.append(model.run([OUTPUT], {INPUT: texts})[0])
        progress(min(start + BATCH, size) / size)
    kept = principal(np.concatenate(vectors), dimensions)
    return (kept * weights(tokenizer)[:, None]).astype(np.float16)


def principal(vectors: Any, dimensions: int) -> Any:
    """(n, dimensions) float32: the vectors about their mean, along the axes in which they vary most."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    chosen = axes[:, ::-1][:, :dimensions]
    # An axis may point either way; that its largest part is positive makes one of both.
    signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    return (centred @ (chosen * signs)).astype(np.float32)


def weights(tokenizer: Any) -> Any:
    """(tokens,) float32: what each token counts by its rank in the vocabulary, frequent ones little (Zipf's law).

    BERT's vocabulary has single characters first and the rest in order of frequency. Of single characters, ASCII ones
    are taken as the most frequent of all, but for digits: they tell orders, dates and sizes apart.
    """
    ranks = np.ones(tokenizer.get_vocab_size())
    rare, rank = float(len(ranks)), 0
    for token, id in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if len(token) == 1:
            ranks[id] = (DIGIT_RANK if token.isdigit() else 1.0) if token.isascii() else rare
        elif not (token.startswith("[") and token.endswith("]")):  # [CLS], [unused7]: in no text
            rank += 1
            ranks[id] = rank
    share = 1 / ranks
    share /= share.sum()
    return (SIF / (SIF + share)).astype(np.float32)
