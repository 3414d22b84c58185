"""Which of a wake's cache marks to take off: those whose entry no later call can read.

A wake's own message is gone from the next request, so what is written behind it is read by later steps of the same
wake or by nobody. Its head (tools and instructions) differs from the session's, so it is read by the next wake, if that
comes before the entry expires, or by nobody. Both are told from what wakes did so far (Anthropic's prices: a write
costs 1.25 or 2 of plain input, a read 0.1; docs.claude.com, "Prompt caching").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

__all__ = ["TTL_S", "Habits", "Step", "ends_soon", "places", "ttl_of", "unmarked"]

_READ = 0.1
_WRITE = {"5m": 1.25, "1h": 2.0}
TTL_S = {"5m": 300.0, "1h": 3_600.0}
_MARK = b'"cache_control"'
_any = msgspec.json.Decoder()

Step = Literal["single", "several"]


class Habits(msgspec.Struct, frozen=True):
    """How many wakes of an agent ended with their first answer, and how many called a tool. Older ones fade."""

    single: float = 0.0
    several: float = 0.0

    def after(self, step: Step) -> Habits:
        fade = 0.5 if self.single + self.several >= _MEMORY else 1.0
        return Habits(
            self.single * fade + (step == "single"),
            self.several * fade + (step == "several"),
        )

    @property
    def goes_on(self) -> float:
        """The probability that a wake has a second step; with nothing known, high enough to leave marks alone."""
        return (self.several + 0.25) / (self.single + self.several + 0.75)


_MEMORY = 32.0


def ends_soon(habits: Habits, ttl: str) -> bool:
    """Whether writing a wake's history costs more, on the whole, than a second step that has to write it would.

    Written and not read: w - 1 lost. Not written, and a second step comes: 1 paid for what r would have read.
    """
    return (1 - habits.goes_on) * (_WRITE[ttl] - 1) > habits.goes_on * (1 - _READ)


def ttl_of(raw: bytes | msgspec.Raw) -> str | None:
    """The time to live of the marks in a piece of raw JSON, the longest; None without marks."""
    text = bytes(raw)
    if _MARK not in text:
        return None
    return "1h" if b'"1h"' in text else "5m"


def unmarked(raw: bytes | msgspec.Raw) -> bytes:
    """The message, tool or instructions without the cache marks that stand on it or on its blocks; else the bytes."""
    text = bytes(raw)
    if _MARK not in text:
        return text
    value: Any = _any.decode(text)
    return msgspec.json.encode(_bare(value, 2))


def _bare(value: Any, depth: int) -> Any:
    """Marks sit on messages, on their blocks, and on the blocks of a tool's result: nowhere else is that a mark."""
    if isinstance(value, list):
        return [_bare(item, depth) for item in value]
    if not isinstance(value, dict):
        return value
    bare = {key: item for key, item in value.items() if key != "cache_control"}
    if depth and isinstance(bare.get("content"), list):
        bare["content"] = _bare(bare["content"], depth - 1)
    return bare


def places(items: Sequence[bytes | msgspec.Raw], start: int) -> list[int]:
    """Which of the items from `start` on carry marks."""
    return [place for place in range(start, len(items)) if _MARK in bytes(items[place])]
