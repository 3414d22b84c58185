"""Embedders: texts to vectors, on this machine. Importing this package loads no optional library; opening one does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import ConfigError

if TYPE_CHECKING:
    from .minilm import MiniLM
    from .static import Static

__all__ = ["LocalKind", "open_embedder"]

LocalKind = Literal["minilm-int8", "minilm-fp32", "static"]


def open_embedder(folder: Path, kind: LocalKind = "minilm-int8") -> MiniLM | Static:
    """The embedder of that kind from a folder made by `pennyweight models pull`.

    Takes 0.1 to 0.5 s of CPU. Raises StoreError for a folder without a sound model, ConfigError for a missing library.
    """
    try:
        from .minilm import MiniLM
        from .static import Static
    except ImportError as error:
        raise ConfigError(f"Embedders need {error.name}: install pennyweight[semantic].") from None
    if kind == "static":
        return Static.open(folder)
    return MiniLM.open(folder, "fp32" if kind == "minilm-fp32" else "int8")
