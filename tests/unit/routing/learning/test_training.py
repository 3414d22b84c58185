"""Outcome data from files: three formats, and what is wrong with a file said so that it can be mended."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pennyweight.errors import ConfigError
from pennyweight.routing.learning.state import State
from pennyweight.routing.learning.training import advice, as_told, brier, read_rows, split_off


def file(folder: Path, *lines: Any, name: str = "outcomes.jsonl") -> Path:
    path = folder / name
    data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_one_outcome_a_line(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        {"prompt": "Fix it in fill()", "model": "a/m", "success": True, "task": "code", "agent": "x", "at": 5},
        {"prompt": "Fix it in fill()", "model": "b/m", "success": 0},
        "",
        {"prompt": "Who?", "model": "a/m", "success": None},
    )
    first, second = read_rows(path)
    assert first.success == {"a/m": 1.0, "b/m": 0.0}
    assert (first.task, first.agent, first.at) == ("code", "x", 5.0)
    assert second.success == {}  # unknown is no success


def test_a_weak_and_a_strong_model(tmp_path: Path) -> None:
    path = file(tmp_path, {"id": "1", "prompt": "p", "weak": 0, "strong": 1}, name="x.jsonl.gz")
    (row,) = read_rows(path, weak="small", strong="big")
    assert row.success == {"small": 0.0, "big": 1.0}


def test_digits_for_many_models(tmp_path: Path) -> None:
    path = file(tmp_path, {"meta": True, "models": ["a", "b"]}, {"id": 0, "prompt": "p", "correct": "01"})
    assert read_rows(path)[0].success == {"a": 0.0, "b": 1.0}


def test_outcomes_that_contradict_each_other_count_as_their_mean(tmp_path: Path) -> None:
    path = file(tmp_path, *[{"prompt": "p", "model": "m", "success": value} for value in (0, 1, 1, 1)])
    (row,) = read_rows(path)
    assert row.success == {"m": 0.75}
    assert any("both ways" in line for line in advice(as_told([row], {}, at=0.0)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 is no JSON"),
        ('{"prompt": "p", "z": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1 is nested too deeply"),
        ("[]", "no JSON object"),
        ({"model": "m", "success": 1}, 'no text under "prompt"'),
        ({"prompt": "p"}, "names no outcome"),
        ({"prompt": "p", "model": "m", "success": "yes"}, "'yes' is no outcome"),
        ({"prompt": "p", "model": "m", "success": 2}, "2 is no outcome"),
        ({"prompt": "p", "model": "m", "success": 1, "task": "poetry"}, "'poetry' is no task type"),
    ],
)
def test_a_line_that_cannot_be_read_is_quoted(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        read_rows(file(tmp_path, line))


def test_digits_must_fit_the_models(tmp_path: Path) -> None:
    path = file(tmp_path, {"models": ["a", "b"]}, {"id": 0, "prompt": "p", "correct": "011"})
    with pytest.raises(ConfigError, match="3 digits for 2 models"):
        read_rows(path)


def test_a_file_that_is_not_there_or_empty_or_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no outcomes"):
        read_rows(file(tmp_path, ""))
    cut = file(tmp_path, {"prompt": "p" * 999, "model": "m", "success": 1}, name="cut.jsonl.gz")
    cut.write_bytes(cut.read_bytes()[:-12])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rows(cut)


@pytest.mark.parametrize(("value", "word"), [(1, "successes"), (0, "failures")])
def test_outcomes_of_one_class_are_told(tmp_path: Path, value: int, word: str) -> None:
    path = file(tmp_path, *[{"prompt": f"p{i}", "model": "m", "success": value} for i in range(50)])
    (line, *_) = advice(as_told(read_rows(path), {}, at=0.0))
    assert f"All 50 outcomes are {word}" in line


def test_too_little_data_is_told(tmp_path: Path) -> None:
    rows = read_rows(file(tmp_path, *[{"prompt": f"p{i}", "model": "m", "success": i % 2} for i in range(9)]))
    assert any("9 texts are too few" in line for line in advice(as_told(rows, {}, at=0.0)))


def test_the_type_is_told_from_the_text(tmp_path: Path) -> None:
    rows = read_rows(
        file(
            tmp_path,
            {"prompt": "Translate to French: hello", "model": "m", "success": 1},
            {"prompt": "Book a table", "model": "m", "success": 1, "functions": [{"name": "book"}]},
        )
    )
    assert [one.task for one in as_told(rows, {}, at=0.0)] == ["translation", "tools"]


def test_what_is_learnt_is_judged_on_what_it_was_not_shown(tmp_path: Path) -> None:
    lines = [{"prompt": f"Write a function {i}", "model": "gpt-5.5", "success": int(i % 10 == 0)} for i in range(200)]
    shown, hidden = split_off(read_rows(file(tmp_path, *lines)), 0.2, seed=0)
    assert (len(shown), len(hidden)) == (160, 40)
    assert not {row.id for row in shown} & {row.id for row in hidden}
    state = State()
    state.learn(as_told(shown, {}, at=0.0))
    held = brier(state, as_told(hidden, {}, at=0.0))
    assert held.table < 0.2 < held.prior  # the prior thinks highly of that model
    assert held.similar is None
