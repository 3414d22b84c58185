"""`pennyweight router`: train on files and on the ledger, show what is known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pennyweight.cli.router import command
from pennyweight.clock import SystemClock
from pennyweight.errors import ConfigError
from pennyweight.ledger.signals import Said, Signals
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENNYWEIGHT_CONFIG", raising=False)
    return tmp_path / "data"


def run(home: Path, *given: str) -> Any:
    result = CliRunner().invoke(command, [*given, "--json", "--data-dir", str(home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def outcomes(folder: Path, count: int = 60) -> Path:
    path = folder / "outcomes.jsonl"
    lines = [
        {"prompt": f"Write a function number {i}", "model": model, "success": int(model == "big" or i % 3 == 0)}
        for i in range(count)
        for model in ("small:8b", "big")
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_train_learns_and_show_tells(home: Path, tmp_path: Path) -> None:
    told = run(home, "train", "--data", str(outcomes(tmp_path)))
    assert (told["outcomes"], told["models"], told["kept"]) == (120, ["big", "small:8b"], True)
    assert told["held_out"]["table"] < told["held_out"]["prior"]
    shown = {line["model"]: line for line in run(home, "show")["table"]}
    assert shown["big"]["chance"] > 0.9 > 0.6 > shown["small:8b"]["chance"]
    assert shown["small:8b"]["low"] < shown["small:8b"]["chance"] < shown["small:8b"]["high"]
    assert shown["small:8b"]["outcomes"] == 60
    assert shown["big"]["prior"] is None


def test_a_tenant_is_forgotten(home: Path, tmp_path: Path) -> None:
    run(home, "train", "--data", str(outcomes(tmp_path)))
    run(home, "train", "--data", str(outcomes(tmp_path)), "--tenant", "alice")
    assert run(home, "forget", "--tenant", "alice") == {"forgotten": 120}
    assert run(home, "forget", "--tenant", "alice") == {"forgotten": 0}
    assert run(home, "show", "--tenant", "alice")["outcomes"] == 0
    assert run(home, "show")["outcomes"] == 120


def test_the_same_file_twice_counts_once(home: Path, tmp_path: Path) -> None:
    path = outcomes(tmp_path)
    run(home, "train", "--data", str(path))
    run(home, "train", "--data", str(path), "--data", str(path))
    assert run(home, "show")["outcomes"] == 120


def test_a_dry_run_keeps_nothing(home: Path, tmp_path: Path) -> None:
    assert run(home, "train", "--dry-run", "--data", str(outcomes(tmp_path)))["kept"] is False
    assert run(home, "show")["outcomes"] == 0


def test_tenants_are_apart(home: Path, tmp_path: Path) -> None:
    run(home, "train", "--tenant", "acme", "--data", str(outcomes(tmp_path)))
    assert run(home, "show")["outcomes"] == 0
    assert run(home, "show", "--tenant", "acme")["outcomes"] == 120


def test_one_class_and_tiny_data_are_told(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"prompt": "p", "model": "m", "success": 1}')
    notes = " ".join(run(home, "train", "--data", str(path))["notes"])
    assert "All 1 outcomes are successes" in notes
    assert "1 texts are too few" in notes


def test_words_in_the_ledger_are_learnt(home: Path) -> None:
    home.mkdir()

    async def fill() -> None:
        database = Database(home / FILE)
        receipts = [sample_receipt(call_id=f"c{i}", agent="writer", status=200, replayed=False) for i in range(20)]
        await SQLiteLedger(database).append(receipts)
        said = [Said(one.tenant, one.session, one.call_id, "feedback", -1.0) for one in receipts]
        await Signals(database, SystemClock()).add(said)
        await database.close()

    asyncio.run(fill())
    told = run(home, "train", "--from-ledger")
    assert told["outcomes"] == 20
    shown = run(home, "show", "--tenant", sample_receipt(call_id="x").tenant)
    assert shown["table"][0]["chance"] < 0.6
    assert shown["agents"][0]["agent"] == "writer"


def test_nothing_to_learn_from_is_told(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name --data FILE"):
        run(home, "train")
    assert "POST /v1/feedback" in " ".join(run(home, "train", "--from-ledger")["notes"])
    path = tmp_path / "unknown.jsonl"
    path.write_text('{"prompt": "p", "model": "m", "success": null}')
    with pytest.raises(ConfigError, match="every line's success is unknown"):
        run(home, "train", "--data", str(path))


def test_a_person_is_told_in_words(home: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    path = str(outcomes(tmp_path))
    train = runner.invoke(command, ["train", "--data", path, "--data-dir", str(home)], catch_exceptions=False)
    assert "120 outcomes of 2 models are learnt" in train.stdout
    assert "held out" in train.stdout
    show = runner.invoke(command, ["show", "--data-dir", str(home)], catch_exceptions=False)
    assert "small:8b" in show.stdout
    empty = runner.invoke(command, ["show", "--data-dir", str(tmp_path / "none")], catch_exceptions=False)
    assert "shipped priors decide" in empty.stdout
