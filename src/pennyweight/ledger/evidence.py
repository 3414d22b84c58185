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

import msgspec

__all__ = ["Bets", "Effect", "Interval", "Scale"]

EFFECTS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
"""How large a harm may be, in standard deviations of a session's outcome. Each is an expert."""
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

    def place(self, standing: float, treated: bool, *, q: float, mixed: float) -> None:
        """Bet on the arm of one unit and see it. `standing`: of its outcome, see Scale; q: P(treated), in (0, 1).

        mixed: the share of treated units among those that made the scale, so that the middle between the arms is
        known. Any value is honest; the right one wins faster.
        """
        factors = []
        for size in EFFECTS:
            odds = math.exp(size * standing - size * size * (0.5 - mixed))
            factors.append((odds if treated else 1.0) / (q * odds + 1.0 - q))
        self.count += 1
        self.steady_log += _settle(self.steady, factors)
        self.moving_log += _settle(self.moving, [*factors, 1.0])
        moved = 1.0 / (self.count + 20)
        even = moved / len(self.moving)
        self.moving = [weight * (1.0 - moved) + even for weight in self.moving]
        self.peak = max(self.peak, self.log_wealth)


def _settle(weights: list[float], factors: list[float]) -> float:
    """Pay the experts; gives the log of what the whole won. The weights add up to 1 again."""
    for index, factor in enumerate(factors):
        weights[index] *= factor
    won = sum(weights)
    for index in range(len(weights)):
        weights[index] = max(weights[index] / won, 1e-300)
    return math.log(won)


class Interval(msgspec.Struct, frozen=True):
    """`low` and `high` hold the effect with the stated confidence at all times at once."""

    estimate: float
    low: float
    high: float


class Effect(msgspec.Struct):
    """The mean difference between the arms, treated less control, of an outcome centred near 0."""

    count: int = 0
    treated: int = 0
    mean: float = 0.0
    squares: float = 0.0
    heaviest: float = 0.0  # the most that one unit of outcome 1 can weigh

    def add(self, value: float, treated: bool, *, q: float) -> None:
        """`value`: of one unit; q: P(treated), in (0, 1)."""
        weighted = value / q if treated else -value / (1.0 - q)
        self.heaviest = max(self.heaviest, 1 / q, 1 / (1.0 - q))
        self.count += 1
        self.treated += treated
        off = weighted - self.mean
        self.mean += off / self.count
        self.squares += off * (weighted - self.mean)

    def interval(self, *, alpha: float) -> Interval | None:
        """None with fewer than 10 units in an arm: the theorem is about many.

        The spread counts one unit more than was seen, of outcome 1 in the smaller arm: where nothing ever failed, the
        next may, and an interval of width 0 would be a lie (as the "rule of three" says of n trials without a failure).
        """
        if self.treated < 10 or self.count - self.treated < 10:
            return None
        n, spread = self.count, math.sqrt((self.squares + self.heaviest**2) / (self.count - 1))
        # Narrowest at about 500 units; the formula holds for any value.
        tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 500
        grown = n * tuned + 1
        radius = spread * math.sqrt(2 * grown / (n * n * tuned) * math.log(math.sqrt(grown) / alpha))
        return Interval(self.mean, self.mean - radius, self.mean + radius)
