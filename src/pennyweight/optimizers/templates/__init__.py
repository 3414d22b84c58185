"""Answers questions that differ from answered ones in names, numbers and the like, by putting those in their place."""

from __future__ import annotations

from .optimizer import Parts, Settings, Templates, build

__all__ = ["Parts", "Settings", "Templates", "build"]
