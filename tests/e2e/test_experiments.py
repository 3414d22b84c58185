"""Experiments against the real gateway: switched by another process, rated by a caller, kept over a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.protocols import CHAT, protocol_of, whole
from tests.e2e.rig import SOURCE, Asked, Process, Upstream, gateway, http

CONFIG = '[experiments]\nevery_s = 0.05\n[[optimizers]]\nuse = "exact_cache"\n'


async def answer(asked: Asked) -> None:
    asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


def asked_optimizers(process: Process) -> str:
    return process.ask(CHAT.path, CHAT.body("x")).headers.get("x-pennyweight-trail", "")


def pennyweight(process: Process, *arguments: str) -> str:
    place = ["--config", str(process.config), "--data", str(process.data)]
    command = [sys.executable, "-m", "pennyweight", "experiments", *arguments, *place]
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(process.data), "PYTHONPATH": SOURCE}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=60).stdout


def wait_for(process: Process, mode: str) -> None:
    deadline = time.monotonic() + 60
    while process.ask("/pennyweight/experiments", method="GET").json()["optimizers"][0]["mode"] != mode:
        assert time.monotonic() < deadline, process.log
        time.sleep(0.05)


def test_what_is_switched_elsewhere_is_followed_and_outlives_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config=CONFIG) as process:
        assert "exact_cache" in asked_optimizers(process)
        pennyweight(process, "set", "exact_cache", "--mode", "off", "--reason", "looks old")
        wait_for(process, "off")
        assert "exact_cache" not in asked_optimizers(process)
    with gateway(tmp_path, upstream, config=CONFIG) as process:
        assert "exact_cache" not in asked_optimizers(process)
        found = json.loads(pennyweight(process, "--json"))
        assert found["optimizers"][0]["reason"] == "looks old"
        switched = process.ask("/pennyweight/optimizers/exact_cache", {"reset": True})
        assert switched.status == 200
        assert "exact_cache" in asked_optimizers(process)


def test_a_caller_rates_an_answer_that_it_just_got(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config=CONFIG) as process:
        call_id = process.ask(CHAT.path, CHAT.body("x")).headers["x-pennyweight-call"]
        rated = process.ask("/v1/feedback", {"call_id": call_id, "thumbs": "up"})
        assert rated.status == 200, rated
        assert rated.json()["score"] == 1.0
        assert process.ask("/v1/feedback", {"call_id": "call_0", "thumbs": "up"}).status == 404
