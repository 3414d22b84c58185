"""What `--help` says: the commands that people meet first each show one that can be typed as it is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pennyweight.cli import cli

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
