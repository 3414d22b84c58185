"""Embedders: texts to vectors. Importing this package loads no optional library; opening an embedder does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ...errors import ConfigError
from ...folders import expanded

if TYPE_CHECKING:
    from .minilm import MiniLM
    from .static import Static

__all__ = ["Kind", "LocalKind", "Settings", "folder_of", "open_embedder"]

LocalKind = Literal["minilm-int8", "minilm-fp32", "static"]
Kind = Literal["minilm-int8", "minilm-fp32", "static", "openai", "ollama"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[embeddings]`: what turns texts into vectors. The last four are for a `kind` that a provider runs."""

    kind: Kind = "minilm-int8"
    folder: str | None = None  # of the local model; None: models/ in the data directory
    remembered: int = 4096  # vectors of the newest texts that are kept in memory
    provider: str | None = None  # which of [providers] is asked; None: the one named like the kind
    model: str | None = None  # as that provider calls it
    dimensions: int | None = None  # of its vectors
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if self.remembered < 1:
            raise ValueError("`remembered` must be 1 or more")
        if self.timeout_s <= 0:
            raise ValueError("`timeout_s` must be more than 0")
        if self.dimensions is not None and not 1 <= self.dimensions <= 65_536:
            raise ValueError("`dimensions` must be between 1 and 65536")
        if self.elsewhere and not (self.model and self.dimensions):
            raise ValueError(f'kind "{self.kind}" needs `model` and `dimensions`')
        if not self.elsewhere and (self.model or self.provider or self.dimensions):
            raise ValueError('`provider`, `model` and `dimensions` are for kind "openai" or "ollama"')

    @property
    def elsewhere(self) -> bool:
        """Whether a provider makes the vectors."""
        return self.kind in ("openai", "ollama")


def folder_of(settings: Settings, data_dir: Path) -> Path:
    """Where the local model is kept."""
    return expanded(settings.folder) if settings.folder else data_dir / "models" / "all-MiniLM-L6-v2"


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
