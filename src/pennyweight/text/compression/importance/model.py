"""The learned word scorer on ONNX Runtime: 280 kB of weights in the package, nothing to download.

What it was trained on, and with what result: docs/token-importance.md. Needs pennyweight[semantic].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ....errors import StoreError
from ...embedders.minilm import session
from .features import features, keys_of
from .guards import Word

__all__ = ["Learned", "Training"]

MOST_WORDS = 4_096  # at a time: 64 floats a word are held for each layer
SIGHT = 8  # words beyond those asked for that are given to see by; more than the network looks


class Training(msgspec.Struct, frozen=True):
    """`data`: digests of the files it was trained on, by name. threshold: from which score on a word is needed."""

    trained: str
    data: dict[str, str]
    seed: int
    threshold: float
    languages: tuple[str, ...]


class Learned:
    """Protocol: `Scorer`. A text's scores depend on nothing but it and what is asked."""

    def __init__(self, session: Any, training: Training) -> None:
        self._session = session
        self.training = training
        self.languages = frozenset(training.languages)

    @classmethod
    def open(cls, folder: Path = Path(__file__).parent) -> Learned:
        """Takes about 20 ms once ONNX Runtime is loaded. Raises StoreError for a folder without a sound model."""
        try:
            training = msgspec.json.decode((folder / "model.json").read_bytes(), type=Training)
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"{folder} holds no word scorer: {error}. Install pennyweight again.") from None
        return cls(session(folder / "model.onnx"), training)

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        """Raises StoreError."""
        if not words:
            return []
        seen = features(words, keys_of(asked))
        ids = np.array(seen.looked_up, np.int64)
        measures = np.array(seen.measures, np.float32)
        parts = []
        for start in range(0, len(words), MOST_WORDS):
            first, last = max(start - SIGHT, 0), start + MOST_WORDS + SIGHT
            made = self._run(ids[first:last], measures[first:last])
            parts.append(made[start - first : start - first + MOST_WORDS])
        found: list[float] = np.concatenate(parts).tolist()
        return found

    def _run(self, ids: Any, measures: Any) -> Any:
        try:
            return self._session.run(["scores"], {"ids": ids, "measures": measures})[0]
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise StoreError(f"ONNX Runtime cannot score {len(ids)} words: {error}") from None
