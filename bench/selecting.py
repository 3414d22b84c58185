"""What benches of selection share: reading their files, an embedder that is timed, and the rows to compare with."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.errors import StoreError
from pennyweight.text.embedders import open_embedder
from pennyweight.text.relevance.bm25 import Index
from pennyweight.text.relevance.vectors import size
from pennyweight.text.relevance.words import asked, words

from .minilm import model_folder

__all__ = ["Model", "baselines", "name", "read"]


def read(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The lines of JSON-lines files, gzip or not."""
    for path in paths:
        raw = path.read_bytes()
        for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines():
            if line.strip():
                yield json.loads(line)


def name(stem: str, share: float) -> str:
    """kept and 0.25 to kept_025."""
    return f"{stem}_{round(share * 100):03d}"


class Model:
    """MiniLM as `select` wants it. Counts the CPU that it takes and about how many tokens it is given."""

    def __init__(self, folder: Path | None = None) -> None:
        self._embedder = open_embedder(model_folder(folder))
        self._known: dict[str, Any] = {}
        self.seconds = 0.0
        self.tokens = 0

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """A text seen before is embedded anew, so that the time is a stranger's."""
        started = time.process_time()
        vectors = [self._embed(text) for text in texts]
        self.seconds += time.process_time() - started
        self.tokens += sum(map(size, texts))
        return vectors

    def remembered(self, texts: Sequence[str]) -> list[Any]:
        """As calling it, without the time and with a memory."""
        for text in texts:
            if text not in self._known:
                self._known[text] = self._embed(text)
        return [self._known[text] for text in texts]

    def _embed(self, text: str) -> Any:
        while True:
            try:
                return np.asarray(self._embedder.embed_now(text))
            except StoreError:
                text = text[: len(text) // 2]


def baselines(
    texts: Sequence[str], query: str, rng: random.Random, embed: Callable[[Sequence[str]], list[Any]] | None
) -> dict[str, list[float]]:
    """By row the scores of the texts: what anybody would try first."""
    count = len(texts)
    rows = {
        "random": [rng.random() for _ in texts],
        "recent window": [float(at) for at in range(count)],
        "head and tail": [float(max(count - 2 * at - 0.5, 2 * at - count + 1)) for at in range(count)],
        "bm25": Index([words(text) for text in texts]).scores(asked(query)),
    }
    if embed is not None:
        vectors = np.stack(embed([query, *(text or " " for text in texts)]))
        rows["embeddings"] = (vectors[1:] @ vectors[0]).tolist()
    return rows
