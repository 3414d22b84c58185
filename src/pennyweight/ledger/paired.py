"""The paired shadow test: the same task done both ways, and evidence that the new way is worse. Pure.

A pair tells far more than two strangers: what makes a task hard is the same for both, so only the tasks count on which
they differ. We bet that the old way did better. With a stake of the share `bet` the wealth is multiplied by 1 + bet *
(old - new): whatever the outcomes are, if the new way is on average no worse then nobody can expect to win, the wealth
is a nonnegative supermartingale that starts at 1, and it ever reaches 1/alpha with a probability of at most alpha,
however often it is looked at (Ville's inequality). For outcomes of 0 and 1 it is the sequential sign test on the
discordant pairs, with a grid in place of the beta prior of the beta-binomial mixture (Robbins 1970; Waudby-Smith and
Ramdas 2024 for outcomes between 0 and 1).
"""

from __future__ import annotations

import math

import msgspec

from .evidence import Interval

__all__ = ["PairedTest"]

_BETS = (0.08, 0.18, 0.32, 0.5, 0.7, 0.9)
"""How much of what it has each expert bets on every pair."""
_STAKES = (0.06, 0.14, 0.24, 0.26, 0.18, 0.12)
"""What each expert begins with."""
_AT_ONCE = 0.8
"""The part of the wealth that is staked from the first pair on; the rest is cash, for harm that begins late."""
_RELEASED = 1 / 1_000
"""The part of the cash that is staked anew with every pair."""


class PairedTest(msgspec.Struct):
    """Wealth is of one bettor who says that the new way is worse. Starts at 1."""

    wealth: list[float] = msgspec.field(default_factory=lambda: [_AT_ONCE * stake for stake in _STAKES])
    cash: float = 1.0 - _AT_ONCE
    log_scale: float = 0.0  # the wealth is in units of e to this, so that it never overflows
    peak: float = 0.0  # of `log_wealth`: Ville's inequality is about the highest point
    count: int = 0
    worse: int = 0
    better: int = 0
    total: float = 0.0  # of old - new
    squares: float = 0.0

    @property
    def log_wealth(self) -> float:
        return self.log_scale + math.log(self.cash + sum(self.wealth))

    @property
    def odds(self) -> float:
        """The highest that the wealth ever was."""
        return math.exp(min(self.peak, 50.0))

    def add(self, new: float, old: float) -> None:
        """One task done both ways. Raises ValueError for outcomes outside [0, 1]."""
        if not (0.0 <= new <= 1.0 and 0.0 <= old <= 1.0):
            raise ValueError(f"outcomes {new!r} and {old!r} are not within 0 and 1")
        off = old - new
        self.count += 1
        self.worse += off > 0
        self.better += off < 0
        self.total += off
        self.squares += off * off
        if off:
            released = self.cash * _RELEASED
            self.cash -= released
            self.wealth = [
                (had + released * stake) * (1.0 + bet * off)
                for had, stake, bet in zip(self.wealth, _STAKES, _BETS, strict=True)
            ]
            self._rescale()
            self.peak = max(self.peak, self.log_wealth)

    def alarm(self, alpha: float) -> bool:
        """Whether the new way is worse; wrong with a probability of at most `alpha`, over all looks together."""
        return self.peak >= -math.log(alpha)

    def interval(self, alpha: float) -> Interval | None:
        """By how much the new way is better, with that confidence at all times at once; None with fewer than 10 pairs.

        The asymptotic confidence sequence of Waudby-Smith and others 2024, theorem 2.2, as for `evidence.Effect`; the
        spread counts one discordant pair more than was seen.
        """
        if self.count < 10:
            return None
        n, mean = self.count, -self.total / self.count
        spread = math.sqrt((self.squares + 1.0) / n - mean * mean)
        tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 400
        grown = n * tuned + 1
        radius = spread * math.sqrt(2 * grown / (n * n * tuned) * math.log(math.sqrt(grown) / alpha))
        return Interval(mean, max(mean - radius, -1.0), min(mean + radius, 1.0))

    def _rescale(self) -> None:
        held = self.cash + sum(self.wealth)
        if not 1e-100 < held < 1e100:
            self.log_scale += math.log(held)
            self.cash /= held
            self.wealth = [had / held for had in self.wealth]
