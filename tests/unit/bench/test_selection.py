"""The worlds that selection is measured in, and the pairs that roll-back is measured by."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from bench.rollback import drawn, found, real_losses
from bench.selection import AGENTS, SCENARIOS, TASKS, Changes, best_fixed, in_worlds, on_outcomes, played, read, world

from pennyweight.selection import Rule, selector

CHANGES = Changes([1000, 3000], [2000], 500, "sine")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_world_is_the_same_for_a_seed_and_has_rates(scenario: str) -> None:
    rates = world(scenario, CHANGES, random.Random(1))
    assert rates == world(scenario, CHANGES, random.Random(1))
    assert len(rates) == TASKS
    assert all(len(now) == AGENTS and 0 <= min(now) <= max(now) <= 1 for now in rates)


def test_worlds_change_where_they_are_told_to() -> None:
    abrupt = world("abrupt", CHANGES, random.Random(1))
    assert [task for task in range(1, TASKS) if abrupt[task] != abrupt[task - 1]] == [1000, 3000]
    outage = world("outage", CHANGES, random.Random(1))
    assert [task for task in range(1, TASKS) if outage[task] != outage[task - 1]] == [2000, 2500]
    best = max(range(AGENTS), key=outage[0].__getitem__)
    assert outage[2100][best] == 0.05
    assert best_fixed(world("stationary", CHANGES, random.Random(1))) == 0
    assert best_fixed(abrupt) > 0


def test_the_default_is_better_than_chance_by_far() -> None:
    rates = world("stationary", CHANGES, random.Random(3))[:1000]
    chance = sum(max(now) - sum(now) / AGENTS for now in rates)
    assert played(rates, selector(Rule(), random.Random(0)), random.Random(1)) < 0.35 * chance
    assert in_worlds("pheromone", "stationary", CHANGES, range(1)).mean > 0


def test_outcomes_are_read_for_the_configurations_of_all_files(tmp_path: Path) -> None:
    for name, models, rows in (
        ("one", ["a-FC", "b", "c"], ["101", "111", "100"]),
        ("two", ["c", "a-FC"], ["01", "11"]),
    ):
        lines = [{"meta": True, "models": models}, *({"id": str(n), "correct": row} for n, row in enumerate(rows))]
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    outcomes = read([tmp_path / "one.jsonl.gz", tmp_path / "two.jsonl.gz"])
    assert outcomes.names == ["a-FC", "c"]
    assert outcomes.rates == {"one": [1.0, 2 / 3], "two": [1.0, 0.5]}
    assert on_outcomes("posterior", outcomes, range(2)).mean < 150
    assert not real_losses(outcomes, 5)


def test_pairs_are_drawn_as_said_and_found() -> None:
    draw, dice = drawn(0.2, 0.1), random.Random(0)
    pairs = [draw(dice) for _ in range(4000)]
    assert sum(new < old for new, old in pairs) / 4000 == pytest.approx(0.2, abs=0.03)
    assert sum(new > old for new, old in pairs) / 4000 == pytest.approx(0.1, abs=0.03)
    told = found(drawn(0.1, 0.0), runs=20, pairs=400, seed="x")
    assert told.share == told.by_400 == 1.0
    assert told.median <= told.p95 < 200
