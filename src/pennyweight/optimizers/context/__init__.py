"""Compaction of long histories: rare, deep, and at moments when the provider's cache has lapsed."""

from .library import Compacted, compact
from .optimizer import Context, build
from .settings import Settings

__all__ = ["Compacted", "Context", "Settings", "build", "compact"]
