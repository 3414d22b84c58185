"""How much is lost by choosing with each rule of `pennyweight.selection`, against the best choice at every moment.

Four worlds of 10 agents and 4,000 tasks of one type, drawn anew for every seed: rates of success that stay; that are
all drawn anew at the change points; whose best agent fails almost always for a while; that drift slowly. A rate is
uniform in [0.4, 0.9]. And, with files of outcomes `{id, correct: "0101…"}` under a first line `{meta, models}`: a
stream of 1,500 rows drawn from them, every configuration a candidate, a tenth of the outcomes told wrongly; the type of
a task is the row's `category`, else its file. Regret is the rate of the best less the rate of the chosen, summed and
per 1,000 tasks; what is measured is the classes that ship, told one outcome at a time.

  python -m bench.selection --seeds 200 --data bfcl_v1_outcomes.jsonl.gz [--change-points 1333 2667] [--first-seed 0]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pennyweight.selection import NAMES, Candidate, Rule, Selector, selector

from .result import progress, report

AGENTS = 10
TASKS = 4_000
ROWS = 1_500
NOISE = 0.1
SCENARIOS = ("stationary", "abrupt", "outage", "drift")
TARGETS = {"regret_per_1000": "<= 34", "regret_per_1000_71_arms": "<= 80"}

Rates = Sequence[Sequence[float]]  # by task, by agent


class Changes(NamedTuple):
    """Tasks at which rates are drawn anew; at which the best fails, and for how many; how drift goes."""

    redraws: Sequence[int]
    outages: Sequence[int]
    outage_tasks: int
    drift: str


# --- worlds -------------------------------------------------------------------------------------------------


def world(scenario: str, changes: Changes, rng: random.Random) -> Rates:
    match scenario:
        case "stationary":
            return [_draw(rng)] * TASKS
        case "abrupt":
            ends = [0, *sorted(at for at in changes.redraws if 0 < at < TASKS), TASKS]
            return [rates for begin, end in pairwise(ends) for rates in [_draw(rng)] * (end - begin)]
        case "outage":
            usual = _draw(rng)
            best = max(range(AGENTS), key=usual.__getitem__)
            failing = [0.05 if place == best else rate for place, rate in enumerate(usual)]
            down = [any(at <= task < at + changes.outage_tasks for at in changes.outages) for task in range(TASKS)]
            return [failing if fails else usual for fails in down]
        case "drift":
            return list(_sines(rng) if changes.drift == "sine" else _walk(rng))
    raise ValueError(f"there is no scenario {scenario!r}")


def _draw(rng: random.Random) -> list[float]:
    return [rng.uniform(0.4, 0.9) for _ in range(AGENTS)]


def _sines(rng: random.Random) -> Iterator[list[float]]:
    """Half a wave of ±0.2 over the 4,000 tasks, each agent at another place of it."""
    middle, phase = _draw(rng), [rng.uniform(0.0, 2 * math.pi) for _ in range(AGENTS)]
    for task in range(TASKS):
        turned = math.pi * task / TASKS
        yield [min(max(m + 0.2 * math.sin(turned + p), 0.05), 0.95) for m, p in zip(middle, phase, strict=True)]


def _walk(rng: random.Random) -> Iterator[list[float]]:
    """Steps of a standard deviation of 0.003, between 0.05 and 0.95."""
    rates = _draw(rng)
    for _ in range(TASKS):
        yield rates
        rates = [min(max(rate + rng.gauss(0.0, 0.003), 0.05), 0.95) for rate in rates]


def played(rates: Rates, chooser: Selector, rng: random.Random) -> float:
    """The regret per 1,000 tasks in that world."""
    agents = [Candidate(str(place)) for place in range(AGENTS)]
    lost = 0.0
    for now in rates:
        choice = chooser.select("task", agents)
        rate = now[int(choice.name)]
        chooser.feedback(choice, 1.0 if rng.random() < rate else 0.0)
        lost += max(now) - rate
    return lost / len(rates) * 1000


def best_fixed(rates: Rates) -> float:
    """The regret of the one agent that is best over all tasks: what no change of mind would come to."""
    best = max(map(sum, zip(*rates, strict=True)))
    return (sum(map(max, rates)) - best) / len(rates) * 1000


# --- outcomes of real models --------------------------------------------------------------------------------


class Outcomes(NamedTuple):
    names: Sequence[str]
    rows: Sequence[tuple[str, str]]  # type, "0101…"
    rates: Mapping[str, Sequence[float]]  # of each candidate, by type


def read(paths: Sequence[Path]) -> Outcomes:
    """The rows of all files, for the configurations that are in every one."""
    found = []
    for path in paths:
        raw = path.read_bytes()
        first, *lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
        kind = path.name.partition(".")[0]
        found.append((json.loads(first)["models"], kind, [json.loads(line) for line in lines]))
    names = sorted(set.intersection(*(set(models) for models, _, _ in found)))
    rows = []
    for models, kind, lines in found:
        places = [models.index(name) for name in names]
        rows += [(str(r.get("category") or kind), "".join(r["correct"][at] for at in places)) for r in lines]
    kinds = sorted({kind for kind, _ in rows})
    rates = {
        kind: [statistics.fmean(map(int, column)) for column in zip(*(r for k, r in rows if k == kind), strict=True)]
        for kind in kinds
    }
    return Outcomes(names, rows, rates)


def model_of(name: str) -> str:
    """The model that a configuration runs: without its way of calling tools."""
    return re.sub(r"-FC(-\w+)?$", "", name)


def streamed(outcomes: Outcomes, chooser: Selector, rng: random.Random) -> float:
    """The regret per 1,000 tasks against the best candidate of each type."""
    candidates = [Candidate(name, model_of(name)) for name in outcomes.names]
    place = {name: at for at, name in enumerate(outcomes.names)}
    lost = 0.0
    for _ in range(ROWS):
        kind, correct = rng.choice(outcomes.rows)
        choice = chooser.select(kind, candidates)
        at = place[choice.name]
        right = (correct[at] == "1") != (rng.random() < NOISE)
        chooser.feedback(choice, float(right))
        lost += max(outcomes.rates[kind]) - outcomes.rates[kind][at]
    return lost / ROWS * 1000


# --- the bench ----------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    mean: float
    error: float  # standard error over the seeds


def measured(run: Callable[[int], float], seeds: Sequence[int]) -> Measured:
    found = [run(seed) for seed in seeds]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    return Measured(round(statistics.fmean(found), 2), round(error, 2))


def in_worlds(rule: str, scenario: str, changes: Changes, seeds: Sequence[int]) -> Measured:
    def run(seed: int) -> float:
        chooser = selector(Rule(rule), random.Random(f"{seed} {rule}"))
        rates = world(scenario, changes, random.Random(f"{seed} {scenario}"))
        return played(rates, chooser, random.Random(f"{seed} outcomes"))

    return measured(run, seeds)


def on_outcomes(rule: str, outcomes: Outcomes, seeds: Sequence[int]) -> Measured:
    def run(seed: int) -> float:
        return streamed(outcomes, selector(Rule(rule), random.Random(f"{seed} {rule}")), random.Random(f"{seed} rows"))

    return measured(run, seeds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.selection", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many, of the judged rule (default 200)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--others", type=int, default=40, help="seeds of the rules beside it (default 40; 0: none)")
    parser.add_argument("--rule", choices=NAMES, default="posterior", help="which is judged (default: the one shipped)")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--change-points", nargs="+", type=int, default=[1333, 2667], metavar="TASK")
    parser.add_argument("--outages", nargs="+", type=int, metavar="TASK", help="when the best fails (default: halfway)")
    parser.add_argument("--outage-tasks", type=int, default=500, help="for how many tasks (default 500)")
    parser.add_argument("--drift", choices=("sine", "walk"), default="sine")
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="outcomes of real models")
    options = parser.parse_args()
    changes = Changes(options.change_points, options.outages or [TASKS // 2], options.outage_tasks, options.drift)
    outcomes = read(options.data) if options.data else None
    table: dict[str, dict[str, Measured]] = {}
    for rule in (options.rule, *(name for name in NAMES if name != options.rule)):
        count = options.seeds if rule == options.rule else min(options.others, options.seeds)
        if not count:
            continue
        seeds, began = range(options.first_seed, options.first_seed + count), time.perf_counter()
        found = {scenario: in_worlds(rule, scenario, changes, seeds) for scenario in options.scenarios}
        if outcomes is not None:
            found["outcomes"] = on_outcomes(rule, outcomes, seeds)
        table[rule] = found
        told = ", ".join(f"{name} {value.mean:.1f}±{value.error:.1f}" for name, value in found.items())
        progress(f"{rule}, {count} seeds, {time.perf_counter() - began:.0f} s: {told}")
    judged = table[options.rule]
    figures = {"regret_per_1000": round(statistics.fmean(judged[s].mean for s in options.scenarios), 2)}
    figures |= {f"regret_{scenario}": judged[scenario].mean for scenario in options.scenarios}
    if outcomes is not None:
        figures["regret_per_1000_71_arms"] = judged["outcomes"].mean
    else:
        progress("no --data: the many candidates are not measured")
    return report(
        "selection",
        figures=figures,
        targets={name: target for name, target in TARGETS.items() if outcomes is not None or name in figures},
        data=[str(path) for path in options.data],
        seed=options.first_seed,
        seeds=options.seeds,
        changes=changes._asdict(),
        candidates=len(outcomes.names) if outcomes is not None else 0,
        rules={
            rule: {name: value._asdict() for name, value in found.items()}
            | {"mean": round(statistics.fmean(found[s].mean for s in options.scenarios), 2)}
            for rule, found in table.items()
        },
        best_fixed={
            s: round(
                statistics.fmean(
                    best_fixed(world(s, changes, random.Random(f"{seed} {s}")))
                    for seed in range(options.first_seed, options.first_seed + min(options.seeds, 40))
                ),
                2,
            )
            for s in options.scenarios
        },
    )


if __name__ == "__main__":
    sys.exit(main())
