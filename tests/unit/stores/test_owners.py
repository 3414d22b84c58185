"""Who lives, and whose work is to be taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pennyweight.errors import StoreError
from pennyweight.stores.owners import Owner


def test_the_living_are_told_from_the_dead(tmp_path: Path) -> None:
    one, other = Owner(tmp_path / "o"), Owner(tmp_path / "o")
    assert one.lives(other.id)
    assert other.lives(one.id)
    assert not one.lives("never-there")
    other.close()
    assert not one.lives(other.id)
    other.close()
    one.close()
    assert list((tmp_path / "o").iterdir()) == []


def test_a_killed_process_lives_no_more(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pennyweight.stores.owners import Owner; "
        "owner = Owner(Path(sys.argv[1])); print(owner.id, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    here = Owner(tmp_path)
    assert here.lives(name)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert not here.lives(name)
    assert not (tmp_path / f"{name}.lock").exists()
    here.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Owner(tmp_path / "file" / "folder")
