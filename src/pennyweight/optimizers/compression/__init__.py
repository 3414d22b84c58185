"""New tool results in a shorter form: see `optimizer`."""

from .optimizer import Compression, Settings, build

__all__ = ["Compression", "Settings", "build"]
