"""`pennyweight keys`: what is printed where, and what a mistake says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.keys import command
from pennyweight.errors import ConfigError
from pennyweight.stores.virtual_keys import KeyStore


def run(tmp_path: Path, *arguments: str) -> Result:
    env = {"PENNYWEIGHT_CONFIG": "", "XDG_CONFIG_HOME": str(tmp_path / "none")}
    return CliRunner().invoke(command, [*arguments, "--data", str(tmp_path / "data")], env=env)


def test_a_key_is_printed_alone_and_works(tmp_path: Path) -> None:
    result = run(tmp_path, "add", "alice", "--daily-usd", "5", "--expires", "2999-01-31")
    key = result.stdout.strip()
    found = KeyStore(tmp_path / "data").find(key)
    assert found is not None
    assert (found.name, found.daily_limit) == ("alice", 5 * 10**12)
    assert "shown only now" in result.stderr


def test_lists_tell_no_keys(tmp_path: Path) -> None:
    assert "There are no keys" in run(tmp_path, "list").output
    key = json.loads(run(tmp_path, "add", "bob", "--json", "--daily-usd", "0.25").output)["key"]
    listed = run(tmp_path, "list", "--json")
    assert json.loads(listed.output)[0]["daily_usd"] == "0.25"
    assert key not in listed.output + run(tmp_path, "list").output


def test_revoking(tmp_path: Path) -> None:
    key = run(tmp_path, "add", "carol").stdout.strip()
    assert run(tmp_path, "revoke", "carol").exit_code == 0
    assert KeyStore(tmp_path / "data").find(key) is None
    assert isinstance(run(tmp_path, "revoke", "carol").exception, ConfigError)


@pytest.mark.parametrize("arguments", [("--expires", "soon"), ("--expires", "2001-01-01"), ("--daily-usd", "much")])
def test_mistakes_are_ours_to_explain(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(tmp_path, "add", "dave", *arguments)
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "data" / "keys.db").exists() or not KeyStore(tmp_path / "data").any()
