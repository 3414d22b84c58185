from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.prompts import command
from pennyweight.errors import ConfigError

PROMPT = """You are Ada.
## Tools
- read: Read files
- write: Write files
- exec: Run shell
- weather: Forecasts for a place, with rain and wind and snow
## Rules
Always ask before you delete a file in the workspace of the user.
## More rules
Never ask before you delete a file in the workspace of the user.
## Poems
Write poems about spring with seven lines and a rhyme at the end of each, and never about autumn.
"""


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin, env={"COLUMNS": "200"})


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "system.md"
    path.write_text(PROMPT, encoding="utf-8")
    return path


def test_a_prompt_is_cut_into_files_and_put_together_again(prompt: Path, tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    result = run("split", str(prompt), "--out", str(folder))
    assert result.exit_code == 0, result.output
    assert "modules" in result.stdout
    files = sorted(folder.glob("*.md"))
    assert files[0].read_text(encoding="utf-8").startswith("---\n")
    whole = run("assemble", str(folder))
    assert sorted(whole.stdout.splitlines()) == sorted(PROMPT.splitlines())
    with pytest.raises(ConfigError, match="--force"):
        _raise(run("split", str(prompt), "--out", str(folder)))


def _raise(result: Result) -> None:
    assert result.exception is not None
    raise result.exception


def test_a_task_gets_what_it_is_about(prompt: Path) -> None:
    told: dict[str, Any] = json.loads(
        run(
            "assemble", str(prompt), "--query", "the weather in Oslo", "--tool", "read", "--budget", "60", "--json"
        ).stdout
    )
    assert told["tokens_after"] < told["tokens_before"]
    assert "- weather: Forecasts" in told["text"]
    assert "Poems" in told["dropped"]
    assert "poems about spring" not in told["text"]


def test_the_linter_tells_what_it_finds_without_a_ledger(prompt: Path, tmp_path: Path) -> None:
    config = tmp_path / "pennyweight.toml"
    config.touch()
    options = ["--config", str(config), "--data", str(tmp_path / "data")]
    told = json.loads(run("lint", str(prompt), *options, "--json").stdout)
    assert {"rule": "contradiction", "title": "More rules"}.items() <= told["findings"][0].items()
    assert told["calls"] == 0
    shown = run("lint", str(prompt), *options)
    assert "contradiction" in shown.stdout
    assert "[[optimizers]]" in shown.stdout
    assert not (tmp_path / "data").exists()


def test_a_prompt_may_come_through_a_pipe() -> None:
    result = run("split", "-", "--json", stdin=PROMPT)
    assert [row["title"] for row in json.loads(result.stdout)["modules"]][:2] == ["", "Tools"]


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        _raise(run("split", str(tmp_path / "latin.md")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no modules"):
        _raise(run("lint", str(tmp_path / "empty")))
