"""The real time. Tests bring `pennyweight.testing.clock.FakeClock` instead."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Protocol: `pennyweight.protocols.Clock`."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
