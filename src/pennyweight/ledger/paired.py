"""The paired shadow test: the same task done both ways, and evidence that the new way is worse. Pure.

A pair tells far more than two strangers: what makes a task hard is the same for both, so only the tasks count on which
they differ. We bet that the old way did better. With a stake of the share `bet` the wealth is multiplied by 1 + bet *
(old - new): whatever the outcomes are, if the new way is on average no worse then nobody can expect to win, the wealth
is a nonnegative supermartingale that starts at 1, and it ever reaches 1/alpha with a probability of at most alpha,
however often it is looked at (Ville's inequality). For outcomes of 0 and 1 it is the sequential sign test on the
discordant pairs, with a grid in place of the beta prior of the beta-binomial mixture (Robbins 1970; Waudby-Smith and
Ramdas 2024 for outcomes between 0 and 1).

Which bets are made is free, as long as they are made before the pair is seen. Half of the wealth is bet so that a loss
which can be found within 400 pairs most probably is: the value of the test that looks once, after 400 pairs, bet by bet
(a digital option; Browne 1999 calls it reaching a goal by a deadline). A quarter bets as grows fastest if 5 of 100
tasks are lost, whatever the share on which the two differ. A tenth is for harm of any other size, the rest for harm
that begins late.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec

from .evidence import Interval

__all__ = ["PairedTest"]

_BETS = (0.08, 0.18, 0.32, 0.5, 0.7, 0.9)
"""How much of what it has each expert bets on every pair."""
_STAKES = (0.1, 0.12, 0.16, 0.2, 0.2, 0.22)
"""What each expert begins with, of the part that is theirs."""
_EXPERTS, _EXPECTED, _PROMISED, _CASH = 0.1, 0.25, 0.5, 0.15
"""Of the wealth: for harm of any size; for a loss of `_LOSS`; for what can be found within `_PROMISE`; for later."""
_RELEASED = 1 / 1_000
"""The part of the cash that the experts get anew with every pair that differs."""
_LOSS = 0.05
_PROMISE = 400
_USUAL = (2.0, 20.0)
"""Of so many pairs so many differ: what stands before the first, so that a bet is not made on one alone."""
_BOLDEST = 0.95
_UNIT = NormalDist()


class PairedTest(msgspec.Struct):
    """Wealth is of one bettor who says that the new way is worse. Starts at 1.

    goal: the wealth that raises the alarm, 1/alpha: any other alarm is as valid, only not found as soon.
    """

    goal: float = 20.0
    wealth: list[float] = msgspec.field(default_factory=lambda: [_EXPERTS * stake for stake in _STAKES])
    expected: float = _EXPECTED
    promised: float = _PROMISED
    cash: float = _CASH
    log_scale: float = 0.0  # the wealth is in units of e to this, so that it never overflows
    peak: float = 0.0  # of `log_wealth`: Ville's inequality is about the highest point
    count: int = 0
    worse: int = 0
    better: int = 0
    total: float = 0.0  # of old - new
    squares: float = 0.0

    @property
    def log_wealth(self) -> float:
        return self.log_scale + math.log(self._held)

    @property
    def _held(self) -> float:
        return self.cash + self.expected + self.promised + sum(self.wealth)

    @property
    def odds(self) -> float:
        """The highest that the wealth ever was."""
        return math.exp(min(self.peak, 50.0))

    def add(self, new: float, old: float) -> None:
        """One task done both ways. Raises ValueError for outcomes outside [0, 1]."""
        if not (0.0 <= new <= 1.0 and 0.0 <= old <= 1.0):
            raise ValueError(f"outcomes {new!r} and {old!r} are not within 0 and 1")
        off = old - new
        if off:
            self._bet(off)
        self.count += 1
        self.worse += off > 0
        self.better += off < 0
        self.total += off
        self.squares += off * off
        if self.count == _PROMISE:
            self.wealth = [had + self.promised * stake for had, stake in zip(self.wealth, _STAKES, strict=True)]
            self.promised = 0.0

    def _bet(self, off: float) -> None:
        """Every bet is of what was known before the pair."""
        differ = (self.squares + _USUAL[0]) / (self.count + _USUAL[1])
        self.promised *= 1.0 + self._boldness(differ * (_PROMISE - self.count)) * off
        self.expected *= 1.0 + min(_LOSS / differ, _BOLDEST) * off
        released = self.cash * _RELEASED
        self.cash -= released
        self.wealth = [
            (had + released * stake) * (1.0 + bet * off)
            for had, stake, bet in zip(self.wealth, _STAKES, _BETS, strict=True)
        ]
        self._rescale()
        self.peak = max(self.peak, self.log_wealth)

    def _boldness(self, left: float) -> float:
        """The share of `promised` to bet, when so many pairs that differ are still to come: as the odds of reaching the
        goal by the last of them move with one pair, if the sum of the differences goes its way like a Brownian motion.
        """
        lacks = (self.goal * (1.0 + 1e-9)) * math.exp(-self.log_scale) - (self._held - self.promised)
        reached = self.promised / lacks if lacks > self.promised else 1.0
        if not 1e-12 < reached < 1.0:
            return 0.0
        bold = _UNIT.pdf(_UNIT.inv_cdf(reached)) / (reached * math.sqrt(max(left, 1.0)))
        return min(bold, _BOLDEST, 1.0 / reached - 1.0)

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
        held = self._held
        if not 1e-100 < held < 1e100:
            self.log_scale += math.log(held)
            self.cash /= held
            self.expected /= held
            self.promised /= held
            self.wealth = [had / held for had in self.wealth]
