"""Whatever a gateway writes is its user's alone, also where the shell lets everybody read new files, in any folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.protocols import ALL, protocol_of, whole
from tests.e2e.rig import SOURCE, Asked, Upstream, gateway, http

CONFIG = """
optimize = "max"
[cache]
tiers = ["memory", "sqlite", "files"]
[[optimizers]]
use = "exact_cache"
[[budgets]]
scope = "key"
tokens = 1_000_000
"""


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def answer(asked: Asked) -> None:
    asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))


def run(data: Path, *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(data.parent), "PYTHONPATH": SOURCE}
    command = [sys.executable, "-m", "pennyweight", *arguments, "--data", str(data)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def open_to_others(folder: Path) -> dict[str, str]:
    modes = {str(path.relative_to(folder.parent)): path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    return {name: oct(mode) for name, mode in modes.items() if stat.S_IMODE(mode) & 0o077}


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "Öffentlich für alle"
    with Upstream(answer) as upstream, gateway(folder, upstream, config=CONFIG) as process:
        run(process.data, "capture", "on", "--all")
        key = run(process.data, "keys", "add", "bob").strip()
        for protocol in ALL:
            body = {**protocol.body("x"), "temperature": 0}
            asked = process.ask(protocol.path, body, {"authorization": f"Bearer {key}", "x-pennyweight-session": "s"})
            assert asked.status == 200, asked
        process.receipts(len(ALL))
        names = {path.name for path in process.data.rglob("*")}
        assert {"pennyweight.db", "pennyweight.db-wal", "keys.db", "keys.secret", "capture.json", "cache"} <= names
        assert any(name.endswith(".jsonl") for name in names)
        assert open_to_others(process.data) == {}
    assert open_to_others(process.data) == {}
