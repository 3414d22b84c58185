"""Reads pairs of questions and embeds them, for `semantic_pairs` and `semantic_training`."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pennyweight.errors import StoreError
from pennyweight.text.embedders import open_embedder

from .result import progress

__all__ = ["OWN", "Cosines", "Pair", "lines", "macro", "read_own", "read_pairs"]

OWN = Path(__file__).with_name("semantic_pairs_own.txt")


class Pair(NamedTuple):
    kind: str
    a: str
    b: str
    same: bool


class Cosines:
    """Cosines of texts by the model in `folder`, each text embedded once."""

    def __init__(self, folder: Path, precision: str = "minilm-int8") -> None:
        self._dense = open_embedder(folder, precision)
        self._static = open_embedder(folder, "static")
        self._vectors: dict[str, tuple[Any, Any] | None] = {}

    def of(self, a: str, b: str) -> tuple[float, float] | None:
        """Of the transformer, and of the static table; None where a text is too long to embed."""
        one, other = self._embed(a), self._embed(b)
        if one is None or other is None:
            return None
        return float(np.dot(one[0], other[0])), float(np.dot(one[1], other[1]))

    def dense(self, text: str) -> Any | None:
        found = self._embed(text)
        return None if found is None else found[0]

    def _embed(self, text: str) -> tuple[Any, Any] | None:
        if text not in self._vectors:
            try:
                self._vectors[text] = self._dense.embed_now(text), self._static.embed_now(text)
            except StoreError:
                self._vectors[text] = None
            if len(self._vectors) % 5000 == 0:
                progress(f"embedded {len(self._vectors)} texts")
        return self._vectors[text]


def read_pairs(file: Path) -> list[Pair]:
    """Lines `{kind, a, b, same}`, plain or gzip."""
    rows = (json.loads(line) for line in lines(file))
    return [Pair(row.get("kind", ""), row["a"], row["b"], bool(row["same"])) for row in rows]


def read_own(file: Path = OWN) -> list[Pair]:
    """The pairs of a file of wordings: any two of a line are the same, its first three differ from all behind `!`."""
    kind, wordings, pairs = "", [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("["):
            kind = "own " + text.strip("[]")
        elif text.startswith("! "):
            others = text[2:].split(" | ")
            pairs += [Pair(kind, one, other.strip(), False) for other in others for one in wordings[:3]]
        elif text and not text.startswith("#"):
            wordings = [wording.strip() for wording in text.split(" | ")]
            pairs += [Pair(kind, one, other, True) for one, other in itertools.combinations(wordings, 2)]
    return pairs


def lines(file: Path) -> Iterator[str]:
    """The lines of a file that are not empty, plain or gzip."""
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as opened:
        for line in opened:
            if line.strip():
                yield line


def macro(values: Iterable[float]) -> float:
    """The plain mean; NaN of nothing."""
    found: Sequence[float] = list(values)
    return sum(found) / len(found) if found else float("nan")
