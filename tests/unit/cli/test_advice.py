"""`pennyweight advice` as it is called."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pennyweight.adaptive import Change
from pennyweight.cli.advice import command
from pennyweight.request import Usage
from pennyweight.stores.changes import SQLiteChanges
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty slow calls of a minute ago, and two changes of the loop."""

    async def write() -> None:
        database = Database(tmp_path / FILE)
        changes = SQLiteChanges(database)
        usage = Usage(1000, 900, 0, 0, 700)
        same = {"latency_s": 9.0, "ttft_s": 1.0, "usage": usage, "target_model": "[red]slow", "provider": "lab"}
        try:
            await SQLiteLedger(database).append(
                [sample_receipt(f"c{n}", at=time.time() - 60, cost=5, baseline=5, trail=(), **same) for n in range(30)]
            )
            number = await changes.add(Change(1_800_000_000.0, "exact_cache.ttl_s", 3600.0, 7200.0, 3600.0, "60 of 60"))
            await changes.settle(number, "undone", "9 of 9 comparisons bad", 1_800_000_300.0)
            await changes.add(Change(1_800_000_600.0, "output_limit[x]", math.inf, 4096.0, math.inf, "4 ran away"))
        finally:
            await database.close()

    asyncio.run(write())
    return tmp_path


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def advice(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)


def test_a_finding_says_figures_remedy_and_setting_in_eighty_columns(data: Path) -> None:
    done = advice("--data", data)
    assert done.exit_code == 0, done.output
    for wanted in (
        "The last 24h, 30 calls",
        "warning: lab/[red]slow is slow: 9.0 s on average",
        '    model = "[red]slow"',
    ):
        assert wanted in done.output
    assert max(len(line) for line in done.output.splitlines()) <= 80
    assert "\x1b" not in done.output


def test_it_says_what_the_adaptive_loop_did(data: Path) -> None:
    out = " ".join(advice("--data", data).output.split())
    assert "exact_cache.ttl_s: 3600 to 7200, undone. 60 of 60. 9 of 9 comparisons bad." in out
    assert "output_limit[x]: none to 4096, trial." in out


def test_json(data: Path) -> None:
    told = json.loads(advice("--data", data, "--json").output)
    assert (told["window"]["calls"], told["window"]["asked_s"]) == (30, 86_400.0)
    (finding,) = told["findings"]
    assert set(finding) == {
        *("id", "code", "severity", "title", "detail", "evidence", "cost_pico_per_day", "basis", "remedy", "setting")
    }
    assert [(c["old"], c["new"], c["outcome"]) for c in told["changes"]] == [
        (None, 4096, "trial"),
        (3600, 7200, "undone"),
    ]


def test_a_configuration_sets_the_thresholds(data: Path) -> None:
    (data / "c.toml").write_text("[advice]\nslow_s = 10.0\n")
    done = advice("--data", data, "--config", data / "c.toml")
    assert "Nothing to advise." in done.output


def test_an_empty_ledger_and_a_quiet_window(tmp_path: Path, data: Path) -> None:
    assert "No calls in the last 24h." in advice("--data", tmp_path / "none").output
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["yesterday", "0h", "7", "1y", "-1d"])
def test_a_window_that_is_none_says_how_to_write_one(data: Path, text: str) -> None:
    done = advice("--data", data, f"--window={text}")
    assert done.exit_code == 2
    assert "1h, 24h, 7d" in done.output


def test_a_ledger_of_an_older_version_is_read_as_it_is(data: Path) -> None:
    with closing(sqlite3.connect(data / FILE)) as database, database:
        database.execute("DROP TABLE adaptive_changes")
        database.execute("UPDATE schema_version SET version = 1")
    done = advice("--data", data)
    assert done.exit_code == 0
    assert "is slow" in done.output
    assert "adaptive loop did" not in done.output
