"""Cached functions: a function's results by its arguments, in memory, SQLite and whatever tiers are configured."""

from __future__ import annotations

from .decorator import AsyncCached, Cached, FunctionStats, cached, days, hours, minutes
from .shelf import Cache

__all__ = ["AsyncCached", "Cache", "Cached", "FunctionStats", "cached", "days", "hours", "minutes"]
