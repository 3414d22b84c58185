"""How sure a share is that was counted in a few calls: exact binomial tests, one-sided, at 95%."""

from __future__ import annotations

from ..binomial import up_to

__all__ = ["surely_above", "surely_below"]

_DOUBT = 0.05


def surely_above(count: int, of: int, share: float) -> bool:
    """Whether so many would be too many, were the true share no more than `share`."""
    return count > 0 and _tail(count, of, share) < _DOUBT


def surely_below(count: int, of: int, share: float) -> bool:
    """Whether so few would be too few, were the true share no less than `share`."""
    return count < of and _tail(of - count, of, 1 - share) < _DOUBT


def _tail(count: int, of: int, share: float) -> float:
    """The probability of `count` or more out of `of`."""
    return up_to(of - count, of, 1.0 - share)
