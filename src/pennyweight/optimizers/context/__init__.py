"""Compaction of long histories: rare, deep, and at moments when the provider's cache has lapsed."""

from .library import Compacted, compact

__all__ = ["Compacted", "compact"]
