"""`make` in folders, and for users, that are not the usual ones. What it would start is told by a stand-in for uv."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
UV = '#!/bin/sh\nprintf "%s\\n" "$VIRTUAL_ENV" "${UV_CACHE_DIR-}" "$*"\n'

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def told(folder: Path, **env: str) -> list[str]:
    """The environment, the cache folder and the arguments that uv is given for `make demo`'s environment."""
    uv = folder / ".venv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    shutil.copy(MAKEFILE, folder)
    for name in ("pyproject.toml", "uv.lock"):
        (folder / name).touch()
    done = subprocess.run(
        ["make", "--no-print-directory", ".venv/.run"],
        cwd=folder, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_home_keeps_what_was_fetched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment, cache, arguments = told(tmp_path / "a", HOME=str(home))
    assert (environment, cache) == (str(tmp_path / "a" / ".venv"), "")
    assert arguments == "sync --frozen --quiet --no-dev"


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "Käse 'und' Brot"
    assert told(folder, HOME=str(tmp_path))[0] == str(folder / ".venv")


def test_a_home_that_cannot_be_written_to_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert told(tmp_path / "a", HOME=str(tmp_path / "home"))[1] == str(tmp_path / "a" / ".venv" / ".cache")
    assert told(tmp_path / "b")[1] == str(tmp_path / "b" / ".venv" / ".cache")
    own = str(tmp_path / "own")
    assert told(tmp_path / "c", HOME=str(tmp_path / "home"), UV_CACHE_DIR=own)[1] == own
