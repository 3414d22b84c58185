"""How sure a share is that was counted in a few calls."""

from __future__ import annotations

import math

__all__ = ["at_least", "at_most"]

_Z = 1.645  # one-sided 95%


def at_least(count: int, of: int) -> float:
    """The share that is surely reached: lower end of Wilson's interval (one-sided, 95%). 0.0 of nothing."""
    return _wilson(count, of, -1) if of else 0.0


def at_most(count: int, of: int) -> float:
    """The share that is surely not passed: its upper end. 1.0 of nothing."""
    return _wilson(count, of, 1) if of else 1.0


def _wilson(count: int, of: int, sign: int) -> float:
    share, z2 = count / of, _Z * _Z
    middle = share + z2 / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return min(max((middle + sign * spread) / (1 + z2 / of), 0.0), 1.0)
