"""From which score on answers may be kept, so that what is lost by keeping them stays within a bound.

Loss: an answer was kept, it was wrong, and the stronger model's was right; its rate is over all calls, kept or not.
(Bounding how many of the kept answers are wrong instead leaves next to nothing on the cheap side.) Lowering the
threshold can only add losses, so the thresholds can be tested in one fixed order, from keeping none downwards, each at
the full level, until the first that fails: Clopper and Pearson's bound (1934) with fixed-sequence testing, as in
"Learn then Test" (Angelopoulos et al., arXiv 2110.01052, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...binomial import up_to

__all__ = ["allowed_losses", "threshold"]


def allowed_losses(trials: int, epsilon: float, delta: float) -> int:
    """How many losses in so many trials still prove, at delta, a rate of at most epsilon; -1: even none prove it."""
    losses = -1
    while losses + 1 < trials and up_to(losses + 1, trials, epsilon) <= delta:
        losses += 1
    return losses


def threshold(scores: Sequence[float], lost: Sequence[bool], *, epsilon: float, delta: float) -> float | None:
    """Keep answers whose score is above this; None: keep none.

    scores, lost: of calls drawn at random from all of a kind; lost: keeping this answer loses, or may. With a
    probability of at least 1 - delta, at most the share epsilon of further calls like these is lost. A score that is no
    number counts as the highest. Raises ValueError where the lengths differ or there is no such epsilon or delta.
    """
    if len(scores) != len(lost) or not 0.0 < epsilon < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"{len(scores)} scores, {len(lost)} losses, epsilon {epsilon}, delta {delta}")
    allowed = allowed_losses(len(scores), epsilon, delta)
    if allowed < 0:
        return None
    worst = sorted((_number(score) for score, bad in zip(scores, lost, strict=True) if bad), reverse=True)
    at = worst[allowed] if len(worst) > allowed else -math.inf
    return at if at < math.inf else None


def _number(score: float) -> float:
    return math.inf if math.isnan(score) else score
