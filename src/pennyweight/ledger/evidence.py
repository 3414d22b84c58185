"""Statistics that stay honest however often one looks: bets on the arm, and confidence sequences. Pure.

**Bets.** Arms are drawn by us, with a probability `q` that we know. If an optimizer changes nothing, then what a
session came to says nothing about its arm, and nobody can win by betting on the arm after seeing the outcome. So for
each finished session we bet at fair odds, and the wealth of the bettor is the evidence: under the null it is a
nonnegative martingale that starts at 1, and by Ville's inequality it reaches 1/alpha at any time whatever, however
often it is looked at, with a probability of at most alpha. This is testing by betting on a randomised assignment
(Shafer 2021, "Testing by betting"; Duan, Ramdas and Wasserman 2022, "Interactive rank testing by betting"), with
sessions as units, since sessions are what is drawn: calls of a session may depend on each other in any way, outcomes
may be skewed, drift or come from another model tomorrow. The bet is the likelihood ratio of a logistic model of the
arm, mixed over how large the effect may be, which is the mSPRT of Johari et al. (2015, 2022) turned round.

**Intervals.** Effects come with asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024,
theorem 2.2) on inverse-probability-weighted outcomes, as in Ham, Bojinov, Lindon and Tingley (2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["Bets", "Effect", "Interval", "Scale", "by_count", "by_standing"]

EFFECTS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
"""How large a harm may be: standard deviations of a session's outcome, or of a rate the logarithm of its rise.

Each is an expert."""
SOON = (0.05, 0.05, 0.1, 0.1, 0.1, 0.25, 0.35)
"""What each expert starts with where large harm must be found within few sessions."""
FINE = (0.2, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05)
"""And where there is time to find small harm."""

_CLIP = 4.0  # a session further out than this counts as this far: one freak must not decide
_TRAIN = 5  # sessions that only teach the scale


class Scale(msgspec.Struct):
    """Mean and spread of an outcome, over both arms, without looking at the arm. Recent units weigh more."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0
    memory: int = 500

    def add(self, value: float) -> None:
        self.count += 1
        weight = 1.0 / min(self.count, self.memory)
        off = value - self.mean
        self.mean += weight * off
        self.variance = (1.0 - weight) * (self.variance + weight * off * off)

    def standing(self, value: float) -> float | None:
        """How many standard deviations above the mean, within ±4; None while too little is known."""
        if self.count < _TRAIN or self.variance <= 0.0:
            return None
        return max(-_CLIP, min(_CLIP, (value - self.mean) / math.sqrt(self.variance)))


class Bets(msgspec.Struct):
    """The wealth of one bettor who says that outcomes of the treated arm are higher. Starts at 1 (log 0).

    Half of the stake goes to experts who keep their opinion; half moves slowly between experts and cash, so that a
    harm which begins late finds some who still have money (fixed share: Herbster and Warmuth 1998).
    """

    steady: list[float] = msgspec.field(default_factory=lambda: list(FINE))
    steady_log: float = 0.0
    moving: list[float] = msgspec.field(default_factory=lambda: [*FINE, 0.0])  # the last is cash
    moving_log: float = 0.0
    count: int = 0
    peak: float = 0.0  # of `log_wealth`: Ville's inequality is about the highest point

    @staticmethod
    def soon() -> Bets:
        """One who looks for large harm first."""
        return Bets(list(SOON), moving=[*SOON, 0.0])

    @property
    def log_wealth(self) -> float:
        high, low = max(self.steady_log, self.moving_log), min(self.steady_log, self.moving_log)
        return high + math.log1p(math.exp(low - high)) - math.log(2)

    def place(self, odds: Sequence[float], treated: bool, *, q: float) -> None:
        """Bet on the arm of one unit, and see it.

        odds: of treated against control, by each expert, over what the draw says (1.0: no opinion), from `by_standing`
        or `by_count`. q: P(treated), in (0, 1). Any odds are honest, as long as they do not know the arm.
        """
        rest = 1.0 - q
        factors = [odd / (q * odd + rest) for odd in odds] if treated else [1.0 / (q * odd + rest) for odd in odds]
        self.count += 1
        steady = [weight * factor for weight, factor in zip(self.steady, factors, strict=True)]
        factors.append(1.0)
        moving = [weight * factor for weight, factor in zip(self.moving, factors, strict=True)]
        won, moved = sum(steady), sum(moving)
        self.steady = [max(weight / won, 1e-300) for weight in steady]
        handed = 1.0 / (self.count + 20)
        kept, even = (1.0 - handed) / moved, handed / len(moving)
        self.moving = [weight * kept + even for weight in moving]
        self.steady_log += math.log(won)
        self.moving_log += math.log(moved)
        self.peak = max(self.peak, self.log_wealth)


def by_standing(standing: float, *, mixed: float) -> list[float]:
    """Each expert's odds for an outcome so many standard deviations above the mean (see Scale).

    mixed: the share of treated units among those that made the scale, so that the middle between the arms is known.
    """
    return [math.exp(size * standing - size * size * (0.5 - mixed)) for size in EFFECTS]


def by_count(count: float) -> Sequence[float]:
    """Each expert's odds for a unit with so many events; sizes are logarithms of how many times more frequent.

    For none there is no bet: what is rare is told by the units that have it (the conditional test of two rates).
    """
    return _BY_COUNT[min(int(count), int(_CLIP))]


_BY_COUNT = [[math.exp(size * count) for size in EFFECTS] for count in range(int(_CLIP) + 1)]


class Interval(msgspec.Struct, frozen=True):
    """`low` and `high` hold the effect with the stated confidence at all times at once."""

    estimate: float
    low: float
    high: float


class Sums(msgspec.Struct):
    """Of one arm: how many units, the sum of their outcomes, and of the squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value


class Effect(msgspec.Struct):
    """The mean difference between the arms, treated less control. Outcomes should be of the order of 1."""

    treated: Sums = msgspec.field(default_factory=Sums)
    control: Sums = msgspec.field(default_factory=Sums)

    @property
    def count(self) -> int:
        return self.treated.count + self.control.count

    def add(self, value: float, treated: bool) -> None:
        (self.treated if treated else self.control).add(value)

    def interval(self, *, q: float, alpha: float) -> Interval | None:
        """None with fewer than 10 units in an arm: the theorem is about many. q: P(treated), in (0, 1).

        The spread counts one unit more than was seen, of outcome 1 in the smaller arm: where nothing ever failed, the
        next may, and an interval of width 0 would be a lie (as the "rule of three" says of n trials without a failure).
        """
        if min(self.treated.count, self.control.count) < 10:
            return None
        n = self.count
        centre = (self.treated.total + self.control.total) / n  # or the arms' sizes, which are chance, make noise
        mean, squares = 0.0, max(1 / q, 1 / (1 - q)) ** 2
        for arm, weight in ((self.treated, 1 / q), (self.control, -1 / (1 - q))):
            mean += weight * (arm.total - arm.count * centre) / n
            squares += weight**2 * (arm.squares - 2 * centre * arm.total + arm.count * centre**2)
        spread = math.sqrt(max(squares / n - mean**2, 0.0))
        # Narrowest at about 500 units; the formula holds for any value.
        tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 500
        grown = n * tuned + 1
        radius = spread * math.sqrt(2 * grown / (n * n * tuned) * math.log(math.sqrt(grown) / alpha))
        return Interval(mean, mean - radius, mean + radius)
