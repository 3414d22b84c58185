"""Data folders of somebody else: one line that names the file, never a traceback, and never "no calls yet"."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from pennyweight import cli
from pennyweight.errors import StoreError
from pennyweight.ledger.reading import is_made

COMMANDS = [
    "advice", "agents list", "budgets", "cache inspect", "cache stats", "capture on --all", "cascade show", "doctor",
    "experiments", "keys add bob", "keys list", "keys revoke bob", "lanes", "models remove", "report",
    "selection forget", "serve --port 0", "sessions summary s",
]  # fmt: skip


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder in one that may not be entered. Root may enter any: it becomes another user for a while."""
    place = tmp_path / "locked"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("PENNYWEIGHT_CONFIG", "")
    monkeypatch.chdir("/")
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    else:
        place.chmod(0)
    try:
        yield place / "data"
    finally:
        if root:
            os.seteuid(0)
        else:
            place.chmod(0o700)


def ran(command: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of the program as it is started from a shell."""
    monkeypatch.setattr(sys, "argv", ["pennyweight", *command.split(), "--data", str(data)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def _loaded(command: str) -> None:
    """Import the command's module while every file may be read."""
    CliRunner().invoke(cli.cli, [*command.split(), "--help"])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_entered(
    command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _loaded(command)
    data = request.getfixturevalue("locked")
    assert ran(command, data, monkeypatch) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pennyweight: ")
    assert len(told.err.strip().splitlines()) == 1
    assert str(data) in told.err
    assert "ermission denied" in told.err
    assert told.out == ""


def test_check_lists_it(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _loaded("check")
    data = request.getfixturevalue("locked")
    assert ran("check", data, monkeypatch) == 1
    assert f"The data directory {data} cannot be written. Choose another: --data." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["keys add bob", "serve --port 0", "capture on --all", "cache inspect"])
def test_a_file_where_a_folder_is_expected(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert ran(command, tmp_path / "file" / "data", monkeypatch) == 2
    told = capsys.readouterr().err
    assert told.startswith("pennyweight: ")
    assert "Not a directory" in told
    assert "cannot listen" not in told


def test_a_ledger_that_cannot_be_looked_for_is_not_taken_for_none(locked: Path) -> None:
    with pytest.raises(StoreError, match="Permission denied"):
        is_made(locked / "pennyweight.db")


_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(not _PORTS.exists() or int(_PORTS.read_text()) <= 80, reason="everybody may listen on every port")
def test_a_port_that_is_for_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _loaded("serve")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("PENNYWEIGHT_CONFIG", "")
    root = os.geteuid() == 0
    with TemporaryDirectory() as data:
        monkeypatch.chdir(data)
        if root:
            os.chown(data, 65_534, 65_534)
            os.seteuid(65_534)
        try:
            assert ran("serve --port 80", Path(data), monkeypatch) == 2
        finally:
            if root:
                os.seteuid(0)
            monkeypatch.chdir("/")
    assert "Ports below 1024 are for root. Choose a port with --port." in capsys.readouterr().err
