"""`pennyweight experiments`: the table, switching, and putting back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.experiments import command
from pennyweight.errors import NotFound

CONFIG = '[[optimizers]]\nuse = "exact_cache"\nshare = 0.5\n'


def run(tmp_path: Path, *arguments: str) -> Result:
    file = tmp_path / "pennyweight.toml"
    file.write_text(CONFIG)
    place = ["--config", str(file), "--data", str(tmp_path / "data")]
    return CliRunner().invoke(command, [*arguments, *place], catch_exceptions=False)


def test_it_shows_optimizers_and_their_arms(tmp_path: Path) -> None:
    shown = run(tmp_path)
    assert shown.exit_code == 0
    assert "exact_cache, against sessions without it" in shown.output
    assert "5.0% of sessions are the holdout" in shown.output
    found = json.loads(run(tmp_path, "--json").output)
    assert found["optimizers"][0]["experiment"]["arms"]["off"]["sessions"] == 0


def test_it_switches_and_puts_back(tmp_path: Path) -> None:
    done = run(tmp_path, "set", "exact_cache", "--mode", "shadow", "--share", "0.25", "--reason", "odd [answers]")
    assert done.output == "exact_cache is shadow for 25% of sessions, as said by you.\n"
    assert "odd [answers]" in run(tmp_path).output
    back = run(tmp_path, "reset", "exact_cache", "--json")
    assert json.loads(back.output) == {"name": "exact_cache", "mode": "on", "share": 0.5, "by": "config"}


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path, "set", "exact_cache").exit_code == 2
    assert run(tmp_path, "set", "exact_cache", "--share", "2").exit_code == 2
    with pytest.raises(NotFound, match="exact_cache"):
        run(tmp_path, "set", "nothing", "--mode", "off")


@pytest.mark.parametrize("arguments", [["--help"], ["set", "--help"], ["reset", "--help"]])
def test_help_has_examples(arguments: list[str]) -> None:
    assert "pennyweight experiments" in CliRunner().invoke(command, arguments).output
