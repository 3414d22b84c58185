"""Home folders, and users that have none: a container started as a number, a system's daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli import cli
from pennyweight.config import find, inspect, load
from pennyweight.errors import ConfigError
from pennyweight.folders import expanded

NOBODY = "~no-such-user-here"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for a user whose number has no name: HOME is not set, and the password database does not know one."""
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PENNYWEIGHT_DATA", "PENNYWEIGHT_CONFIG", "CODEX_HOME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_a_home_is_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert expanded("~/a") == Path("/home/x/a")
    assert expanded(Path("/b/~")) == Path("/b/~")


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_folder_is_quoted_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"'~/a' .*Set HOME, or write the whole path"):
        expanded("~/a")


@pytest.mark.usefixtures("homeless")
def test_without_a_home_only_what_is_kept_there_has_to_be_named(tmp_path: Path) -> None:
    assert find({}) is None
    (tmp_path / "pennyweight.toml").touch()
    assert find({}) == Path("pennyweight.toml")
    assert load(None, {"PENNYWEIGHT_DATA": "/data"}).data_dir == Path("/data")
    with pytest.raises(ConfigError, match=r"--data, PENNYWEIGHT_DATA, or data_dir"):
        load(None, {})


@pytest.mark.usefixtures("homeless")
def test_commands_without_a_home(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert run("keys", "add", "x", "--data", data).exit_code == 0
    assert "--data" in run("check").output
    assert isinstance(run("report").exception, ConfigError)
    shown = run("connect", "codex")
    assert shown.exit_code == 0
    assert "~/.codex/config.toml" in shown.output
    assert isinstance(run("connect", "codex", "--write").exception, ConfigError)
    assert not (tmp_path / "~").exists()
    assert run("connect", "codex", "--write", "--path", str(tmp_path / "c.toml")).exit_code == 0


@pytest.mark.parametrize(
    ("text", "env"),
    [
        (f'data_dir = "{NOBODY}/x"', {}),
        (f'agents = "{NOBODY}/agents.toml"', {}),
        ("", {"PENNYWEIGHT_DATA": f"{NOBODY}/x"}),
        ("", {"XDG_DATA_HOME": NOBODY}),
    ],
)
def test_a_home_of_nobody_is_told_as_any_mistake(tmp_path: Path, text: str, env: dict[str, str]) -> None:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    config, problems = inspect(path, env)
    assert config is None
    assert [NOBODY in problem.message and problem.severity for problem in problems] == ["error"]


def test_the_configuration_in_a_home_of_nobody() -> None:
    with pytest.raises(ConfigError, match=NOBODY):
        find({"PENNYWEIGHT_CONFIG": f"{NOBODY}/pennyweight.toml"})
