"""The real time. Tests bring `pennyweight.testing.clock.FakeClock` instead."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Protocol: `pennyweight.protocols.Clock`."""

    now = staticmethod(time.time)  # unix seconds, UTC
    monotonic = staticmethod(time.monotonic)
