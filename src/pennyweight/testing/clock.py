"""A clock that moves when it is told to."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Starts at `now` (unix seconds) and stands still. `advance` moves both its faces."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Raises ValueError for a negative time: `monotonic` never goes back."""
        if seconds < 0:
            raise ValueError(f"A clock cannot go back ({seconds} s).")
        self._now += seconds
        self._monotonic += seconds
