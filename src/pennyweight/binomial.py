"""How often something happens, by counts of how often it did: exact for small counts, one-sided."""

from __future__ import annotations

import math

__all__ = ["up_to", "upper_bound"]

_HALVINGS = 60  # far below any figure that is printed


def upper_bound(count: int, of: int, *, doubt: float = 0.05) -> float:
    """The share in [0, 1] that the true one exceeds with probability `doubt` at most, after `count` of `of`.

    Clopper and Pearson (Biometrika 26, 1934). 1.0 where nothing was looked at, or all of it counted. Raises ValueError
    for counts that cannot be, and for a doubt outside (0, 1).
    """
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} cannot be.")
    if not 0.0 < doubt < 1.0:
        raise ValueError(f"A doubt of {doubt} has no bound.")
    if count == of:
        return 1.0
    if count == 0:
        return -math.expm1(math.log(doubt) / of)
    low, high = count / of, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if up_to(count, of, middle) > doubt:
            low = middle
        else:
            high = middle
    return high


def up_to(count: int, of: int, share: float) -> float:
    """The probability of `count` or fewer out of `of`, where each happens with probability `share`."""
    if count >= of or share <= 0.0:
        return 1.0
    if count < 0 or share >= 1.0:
        return 0.0
    if share * of < count:
        return max(1.0 - _summed(of - count - 1, of, 1.0 - share), 0.0)
    return min(_summed(count, of, share), 1.0)


def _summed(count: int, of: int, share: float) -> float:
    """The same for a share of at least count / of, from the largest term downwards: there each is smaller than the one
    before it by a factor, so that the sum ends early."""
    log_term = (
        math.lgamma(of + 1)
        - math.lgamma(count + 1)
        - math.lgamma(of - count + 1)
        + count * math.log(share)
        + (of - count) * math.log1p(-share)
    )
    term = total = 1.0
    for k in range(count, 0, -1):
        term *= k * (1 - share) / ((of - k + 1) * share)
        total += term
        if term < 1e-17 * total:
            break
    return math.exp(log_term) * total
