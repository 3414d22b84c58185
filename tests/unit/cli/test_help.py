"""What `--help` says: the commands that people meet first each show one that can be typed as it is. On any screen."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pennyweight.cli import cli, main

SHOWN = [
    "serve", "demo", "check", "connect", "report", "audit", "advice", "explain", "replay", "doctor", "experiments",
    "cache warm", "cache inspect", "cache purge", "capture", "capture on", "capture redact", "keys", "keys add",
    "prices", "prices show", "models pull", "budgets", "tiers", "batch submit",
]  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_help_shows_the_command_as_it_is_typed(name: str) -> None:
    done = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert done.exit_code == 0
    _, _, behind = done.output.partition("Usage:")
    assert f"pennyweight {name}" in " ".join(behind.splitlines()[1:]).replace("  ", " ")


def test_a_letter_that_the_terminal_does_not_have_stops_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "é→€.toml"
    file.touch()
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="latin-1"))
    monkeypatch.setattr(sys, "argv", ["pennyweight", "check", "--config", str(file), "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    sys.stdout.flush()
    assert ended.value.code == 0
    assert "é??.toml" in shown.getvalue().decode("latin-1")
