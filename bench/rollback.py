"""How often the paired shadow test takes back a change that does no harm, and how soon one that costs 5 points.

Every task is done both ways. `false_alarm_rate`: of runs without any change, looked at after every one of the pairs,
the share that ever raises the alarm at 5%; the worst of several shares of tasks on which the two ways differ by chance.
`detect_n_5pt`: pairs until a net loss of 5 points is found, the median over runs, for a new way that is right on 80% of
tasks less 5 points and differs from the old one on 10% (7.5% lost, 2.5% gained); beside it the other shares, the 95th
percentile and the share found within 400 pairs. A share of 4% of 4,000 runs errs by 0.3 points, and the worst of five
lies above them; each loss is played with a quarter of the runs. With files of outcomes (see bench.selection) pairs of
real models of that distance are played too, and each model against a retold copy of itself as a change that is none.

  python -m bench.rollback [--runs 4000] [--pairs 4000] [--seed 0] [--data FILE…]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pennyweight.ledger.paired import PairedTest

from .result import progress, report
from .selection import Outcomes, read

TARGETS = {"false_alarm_rate": "<= 0.05", "detect_n_5pt": "<= 400"}
ALPHA = 0.05
NULLS = (0.02, 0.05, 0.1, 0.2, 0.4)  # of tasks on which two equal ways differ
LOSSES = ((0.05, 0.0), (0.06, 0.01), (0.075, 0.025), (0.1, 0.05), (0.15, 0.1))  # lost and gained: 5 points net

Draw = Callable[[random.Random], tuple[float, float]]


class Found(NamedTuple):
    """Of the runs: the share that raised the alarm, after how many pairs, and the share within 400."""

    share: float
    median: float
    p95: float
    by_400: float


def drawn(lost: float, gained: float) -> Draw:
    def draw(rng: random.Random) -> tuple[float, float]:
        at = rng.random()
        return (0.0, 1.0) if at < lost else (1.0, 0.0) if at < lost + gained else (1.0, 1.0)

    return draw


def alarm_at(draw: Draw, pairs: int, rng: random.Random) -> int | None:
    """The pair after which the alarm is raised, looking after each."""
    test = PairedTest()
    for number in range(1, pairs + 1):
        new, old = draw(rng)
        test.add(new, old)
        if test.alarm(ALPHA):
            return number
    return None


def found(draw: Draw, *, runs: int, pairs: int, seed: str) -> Found:
    at = [alarm_at(draw, pairs, random.Random(f"{seed} {run}")) for run in range(runs)]
    times = sorted(pairs + 1 if one is None else one for one in at)
    return Found(
        round(sum(one is not None for one in at) / runs, 4),
        statistics.median(times),
        times[int(0.95 * (runs - 1))],
        round(sum(one <= 400 for one in times) / runs, 4),
    )


def real_losses(outcomes: Outcomes, at_most: int) -> list[tuple[str, str, Draw]]:
    """(better, worse, draw) of models whose shares of right answers are 4 to 6 points apart."""
    columns = {name: [row[at] for _, row in outcomes.rows] for at, name in enumerate(outcomes.names)}
    rate = {name: column.count("1") / len(column) for name, column in columns.items()}
    apart = [(a, b) for a in columns for b in columns if 0.04 <= rate[a] - rate[b] <= 0.06 and rate[a] >= 0.6]
    random.Random(0).shuffle(apart)
    return [(a, b, _real(columns[b], columns[a])) for a, b in apart[:at_most]]


def _real(new: Sequence[str], old: Sequence[str]) -> Draw:
    def draw(rng: random.Random) -> tuple[float, float]:
        at = rng.randrange(len(old))
        return float(new[at]), float(old[at])

    return draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rollback", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4000, help="without a change, of every kind (default 4000)")
    parser.add_argument("--pairs", type=int, default=4000, help="of every run, at most (default 4000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="outcomes of real models")
    options = parser.parse_args()
    false = {}
    for share in NULLS:
        seed = f"{options.seed} null {share}"
        false[str(share)] = found(drawn(share / 2, share / 2), runs=options.runs, pairs=options.pairs, seed=seed)
        progress(f"no change, {share:.0%} differ: {false[str(share)].share:.2%} false alarms")
    harm = {}
    for lost, gained in LOSSES:
        seed = f"{options.seed} loss {lost}"
        told = found(drawn(lost, gained), runs=max(options.runs // 4, 1), pairs=options.pairs, seed=seed)
        harm[f"{lost:g} lost, {gained:g} gained"] = told
        progress(f"{lost:.1%} lost, {gained:.1%} gained: after {told.median:.0f}, 95% by {told.p95:.0f}")
    real = {}
    for better, worse, draw in real_losses(read(options.data), 40) if options.data else ():
        told = found(draw, runs=50, pairs=options.pairs, seed=f"{options.seed} {better} {worse}")
        real[f"{worse} for {better}"] = told
    if real:
        progress(
            f"{len(real)} pairs of real models: after {statistics.median(one.median for one in real.values()):.0f}"
        )
    judged = harm["0.075 lost, 0.025 gained"]
    figures = {
        "false_alarm_rate": max(one.share for one in false.values()),
        "detect_n_5pt": judged.median,
        "detect_n_5pt_p95": judged.p95,
        "found_by_400": judged.by_400,
    }
    if real:
        figures["detect_n_real_median"] = statistics.median(one.median for one in real.values())
    return report(
        "rollback",
        figures=figures,
        targets=TARGETS,
        data=[str(path) for path in options.data],
        seed=options.seed,
        runs=options.runs,
        pairs=options.pairs,
        no_change={name: one._asdict() for name, one in false.items()},
        five_points={name: one._asdict() for name, one in harm.items()},
        real={name: one._asdict() for name, one in real.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
