"""A ledger that breaks under the real gateway: answers go on, limits refuse, and everything tells of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.protocols import CHAT, MESSAGES, protocol_of, whole
from tests.e2e.rig import SOURCE, Asked, Process, Upstream, gateway, http

from pennyweight.stores.virtual_keys import KeyStore

PAGE = 4096


async def answer(asked: Asked) -> None:
    await asyncio.sleep(0)
    asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


def asked(process: Process, number: int, key: str | None = None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return process.ask(CHAT.path, CHAT.body("gpt-4o", max_tokens=10 + number), headers).status


def until_rebuilt(process: Process) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert asked(process, 7) == 200  # whatever happens to the ledger
        ready = process.ask("/readyz", method="GET")
        if ready.status == 200 and ready.json()["damaged"]:
            return ready.json()
        time.sleep(0.02)
    raise AssertionError(process.log)


def report(process: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pennyweight", *arguments, "--data", str(process.data)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": SOURCE, "HOME": str(process.data)}, cwd=process.data,
    )  # fmt: skip


def test_a_ledger_that_lost_its_head_and_its_log_while_the_gateway_was_down(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        for number in range(40):
            assert asked(process, number) == 200
        process.receipts(40)
        process.process.kill()
    path = process.data / "pennyweight.db"
    with path.open("r+b") as file:
        file.write(b"\0" * PAGE)
    path.with_name("pennyweight.db-wal").write_bytes(b"")  # what was not folded in yet is gone with it
    with gateway(tmp_path, upstream) as process:
        ready = until_rebuilt(process)
        assert ready["status"] == "ledger was damaged"
        process.wait_log("The ledger was damaged")
        key = KeyStore(process.data).add("team", daily_usd="5")
        refused = process.ask(MESSAGES.path, MESSAGES.body("sonnet-4-6"), {"x-api-key": key})
        assert refused.status == 503
        assert "What was spent is not known" in refused.json()["error"]["message"]
        free = KeyStore(process.data).add("unlimited")
        assert asked(process, 1, free) == 200
        told = report(process, "report")
        assert told.returncode == 0
        assert "The ledger was damaged" in told.stderr
        damaged = report(process, "report", "--json")
        assert json.loads(damaged.stdout)["total"]["calls"] >= 1
        (note,) = process.data.glob("*.damaged-*.json")
        assert json.loads(note.read_bytes())["aside"] == note.stem
        note.unlink()
        assert process.ask("/readyz", method="GET").json()["status"] == "ok"
        assert process.ask(MESSAGES.path, MESSAGES.body("sonnet-4-6"), {"x-api-key": key}).status == 200


def test_a_ledger_that_was_broken_before_the_start(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        for number in range(60):
            assert asked(process, number) == 200
        process.receipts(60)
    path = process.data / "pennyweight.db"
    whole_file = bytearray(path.read_bytes())
    for at in range(0, len(whole_file), PAGE):
        if whole_file[at] == 0x05:  # the inner nodes of tables
            whole_file[at : at + PAGE] = b"\xa5" * PAGE
    path.write_bytes(whole_file)
    assert "It is damaged: `pennyweight serve`" in report(process, "report").stderr
    with gateway(tmp_path, upstream) as process:
        ready = until_rebuilt(process)
        (damage,) = ready["damaged"]
        assert damage["saved_receipts"] >= 60
        assert damage["lost_receipts"] == 0
        assert len(process.receipts(61)) >= 61


def test_a_folder_in_the_place_of_the_ledger_never_costs_an_answer(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "data" / "pennyweight.db").mkdir(parents=True)
    with gateway(tmp_path, upstream) as process:
        assert asked(process, 1) == 200
        process.wait_log("receipts delayed")
        assert process.ask("/readyz", method="GET").status == 503
        (tmp_path / "data" / "pennyweight.db").rmdir()
        assert len(process.receipts(1)) == 1
