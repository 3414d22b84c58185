"""`pennyweight cascade`."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from pennyweight.cli import cli
from pennyweight.errors import ConfigError
from pennyweight.routing.confidence.comparisons import Comparison, Kind, learn
from pennyweight.routing.confidence.features import FEATURES
from pennyweight.stores.comparisons import SQLiteComparisons
from pennyweight.stores.sqlite import Database

KIND = Kind("local", "a/small", "b/small", "c/large")


def compared(count: int, *, seed: int = 1) -> list[Comparison]:
    """Answers that are good where they are long and bad where they are short: the reverse of what is expected."""
    draw = random.Random(seed)
    length, agrees = FEATURES.index("length"), FEATURES.index("agrees")
    rows = []
    for index in range(count):
        signs = [0.0] * len(FEATURES)
        signs[length], signs[agrees] = draw.random(), float(draw.random() < 0.5)
        same = draw.random() < (0.995 if signs[length] > 0.4 else 0.3)
        task = "code" if index % 2 else ""
        kind = Kind(KIND.tenant, KIND.cheap, KIND.peer, KIND.strong, task)
        rows.append(Comparison(float(index), kind, tuple(signs), keepable=True, same=same, id=index + 1))
    return rows


def filled(folder: Path, rows: list[Comparison]) -> None:
    async def go() -> None:
        database = Database(folder / "pennyweight.db")
        await database.write(lambda _connection: None)
        store = SQLiteComparisons(database)
        for row in rows:
            await store.add(row, most=5_000)
        await database.close()

    asyncio.run(go())


def told(folder: Path, word: str) -> str:
    made = CliRunner().invoke(cli, ["cascade", word, "--data", str(folder)], catch_exceptions=False)
    assert made.exit_code == 0
    return made.output


def test_what_was_compared_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path, [])
    assert "Nothing was compared yet" in told(tmp_path, "show")
    filled(tmp_path, compared(30))
    shown = told(tmp_path, "show")
    assert "a/small with b/small before c/large" in shown
    assert "all tasks: 30 compared" in shown
    assert "code: 15 compared" in shown
    assert "170 more until a bar can be set" in shown


def test_what_is_learnt_is_used_where_it_keeps_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path, compared(900))
    assert "by weights set by hand" in told(tmp_path, "show")
    trained = told(tmp_path, "train")
    assert "learnt from 450; of the 450 newer ones" in trained
    assert "by trained weights" in told(tmp_path, "show")


def test_too_few_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path, compared(100))
    assert "100 comparisons are too few: 400 are needed" in told(tmp_path, "train")


def test_weights_set_by_hand_stay_where_they_do_as_well() -> None:
    draw = random.Random(3)
    rows = [
        Comparison(0.0, KIND, (0.0,) * len(FEATURES), keepable=True, same=draw.random() < 0.5, id=i + 1)
        for i in range(500)
    ]
    assert learn(rows, epsilon=0.02, delta=0.1) is None


def test_a_folder_without_a_ledger_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="There is no ledger"):
        CliRunner().invoke(cli, ["cascade", "show", "--data", str(tmp_path)], catch_exceptions=False)
