"""The bench of cascades, on a file made here whose figures are known."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from bench import cascade
from bench.cascade_data import read_sets

MODELS = ["small", "other", "large"]
SCHEMA = {"type": "dict", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def written(folder: Path, rows: list[tuple[str, str, str]]) -> list[str]:
    """Files of questions whose right answer is "Oslo": what each of the models said."""
    outcomes: list[dict[str, Any]] = [{"meta": True, "models": MODELS}]
    calls: list[dict[str, Any]] = [{"meta": True, "models": MODELS[:2]}]
    for index, cities in enumerate(rows):
        outcomes.append(
            {
                "id": str(index),
                "prompt": "The weather in Oslo or Bergen?",
                "functions": {"name": "get.weather", "parameters": SCHEMA},
                "correct": "".join(str(int(city == "Oslo")) for city in cities),
                "out_tok": [10, 10, 10],
            }
        )
        calls.append({"id": str(index), "calls": [[{"get_weather": json.dumps({"city": c})}] for c in cities[:2]]})
    for name, lines in (("outcomes", outcomes), ("calls", calls)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return [str(folder / "outcomes.jsonl"), str(folder / "calls.jsonl")]


def test_figures_are_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, doubtful, both_wrong = ("Oslo", "oslo", "Oslo"), ("Bergen", "Oslo", "Oslo"), ("Bergen", "Bergen", "Oslo")
    better = ("Oslo", "Oslo", "Bergen")
    files = written(tmp_path, [good] * 70 + [doubtful] * 20 + [both_wrong] * 4 + [better] * 6)
    options = ["--cheap", "small", "--peer", "other", "--runs", "20", "--price", "small=1,1", "--price", "other=1,1"]
    status = cascade.main(["--data", *files, *options, "--price", "large=10,10"])
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["strong_share"] == pytest.approx(0.2)
    assert told["figures"]["accuracy_delta_pt"] == pytest.approx(100 * (0.06 - 0.04))
    assert told["figures"]["cost_ratio"] == pytest.approx(0.4)
    assert told["table"][0]["models"] == ["small", "other", "large"]
    assert (status == 0) == (told["missed"] == [])


def test_the_bound_holds_where_nothing_tells_losses_from_the_rest(tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = [("Bergen", "Bergen", "Oslo") if draw.random() < 0.2 else ("Oslo", "Oslo", "Oslo") for _ in range(400)]
    (found,) = read_sets([Path(file) for file in written(tmp_path, rows)])
    judged = cascade.judged(found, "small", "other", "large")
    by_rule = cascade.bounded(judged, labels=500, runs=50, epsilon=0.02, delta=0.1, seed=1)
    assert by_rule["bound_broken"] == 0.0
    assert by_rule["kept_cheap"] == 0.0
