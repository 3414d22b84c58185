"""Advice and the adaptive loop through the real gateway, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.protocols import CHAT, MESSAGES, protocol_of, whole
from tests.e2e.rig import SOURCE, Asked, Process, Upstream, gateway, http

CONFIG = """
[advice]
min_calls = 5
slow_s = 0.05

[adaptive]
enabled = true
every_s = 0.1

[[optimizers]]
use = "exact_cache"

[optimizers.settings]
ttl_s = 1.0
ttl_min_s = 0.5
ttl_max_s = 1.5
"""


async def answer(asked: Asked) -> None:
    protocol = protocol_of(asked.target)
    body = json.loads(whole(protocol, asked.model))
    if protocol is MESSAGES:
        await asyncio.sleep(0.06)
        body["usage"] = {"input_tokens": 60_000, "output_tokens": 20}
    else:
        body["id"] = f"c-{time.monotonic_ns()}"  # differs each time; what it says does not
    asked.writer.write(http(200, json.dumps(body).encode()))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


def cli(process: Process, *arguments: str) -> Any:
    command = [sys.executable, "-m", "pennyweight", "advice", "--json", "--data", str(process.data)]
    command += ["--config", str(process.config), *arguments]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE, "HOME": str(process.data)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True, timeout=60)
    return json.loads(done.stdout)


def test_heartbeats_of_a_slow_dear_model_over_http_and_on_the_command_line(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config=CONFIG) as process:
        wake = {
            "system": "You are OpenClaw.",
            "messages": [{"role": "user", "content": "Read HEARTBEAT.md if it exists"}],
        }
        for _ in range(6):
            headers = {"x-pennyweight-agent": "main", "x-pennyweight-session": "s"}
            assert process.ask(MESSAGES.path, MESSAGES.body("sonnet-4-6", **wake), headers).status == 200
        process.receipts(6)
        findings = process.ask("/pennyweight/advice?window=1h", method="GET").json()
        by_code = {finding["code"]: finding for finding in findings}
        assert {"heartbeats", "slow_model"} <= set(by_code)
        beats = by_code["heartbeats"]
        assert "isolatedSession" in beats["setting"]
        # 6 x (60,000 x $3 + 20 x $15) / 10^6, in an hour, for a day
        assert (beats["cost_pico_per_day"], beats["basis"]) == (6 * (60_000 * 3 + 20 * 15) * 10**6 * 24, "estimated")
        told = cli(process, "--window", "1h")
        assert [f["id"] for f in told["findings"]] == [f["id"] for f in findings]
        assert told["window"]["calls"] == 6


def test_the_loop_lengthens_what_is_cached_while_the_gateway_runs(tmp_path: Path, upstream: Upstream) -> None:
    """Seventy questions, asked again just after their answers expired, and answered alike."""
    with gateway(tmp_path, upstream, config=CONFIG) as process:

        def ask(number: int) -> int:
            return process.ask(CHAT.path, CHAT.body(f"q{number}", temperature=0)).status

        def changes() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = process.ask("/pennyweight/advice/changes", method="GET").json()
            return found

        with ThreadPoolExecutor(8) as pool:
            deadline = time.monotonic() + 60
            while not changes() and time.monotonic() < deadline:
                assert set(pool.map(ask, range(70))) == {200}
                time.sleep(1.05)  # the cache's time to live runs on the real clock here
            (change,) = changes()[-1:]
        assert (change["knob"], change["old"], change["start"]) == ("exact_cache.ttl_s", 1.0, 1.0)
        assert 1.0 < change["new"] <= 1.5
        assert "were equal" in change["reason"]
        process.wait_log("knob turned: exact_cache.ttl_s from 1 to 1.")
        assert cli(process)["changes"][-1]["knob"] == "exact_cache.ttl_s"


LIMITED = """
optimize = "max"

[pipeline]
risk = 0.2

[adaptive]
enabled = true
every_s = 0.1

[[optimizers]]
use = "output_limit"

[optimizers.settings]
least_tokens = 64
proper = 20
runaways = 2
"""


async def runs_away(asked: Asked) -> None:
    """Every tenth answer runs on until a limit ends it; the others have two tokens."""
    sent = json.loads(asked.body)
    body = json.loads(whole(CHAT, asked.model))
    if sent["seed"] % 10 == 0:
        body["choices"][0]["finish_reason"] = "length"
        body["usage"]["completion_tokens"] = sent.get("max_completion_tokens", 32_000)
    asked.writer.write(http(200, json.dumps(body).encode()))


def test_runaways_are_limited_upstream_and_a_callers_own_limit_is_left_alone(tmp_path: Path) -> None:
    with Upstream(runs_away) as upstream, gateway(tmp_path, upstream, config=LIMITED) as process:

        def ask(seed: int, **more: Any) -> Any:
            answered = process.ask(CHAT.path, CHAT.body("mini", seed=seed, **more))
            assert answered.status == 200
            return json.loads(upstream.seen[-1].body)

        untouched = ask(1)
        assert "max_completion_tokens" not in untouched
        for seed in range(2, 32):
            ask(seed)
        process.wait_log("knob turned: output_limit[local/: openai/gpt-5-mini] from inf to 1024", 15.0)
        limited = ask(40)
        assert limited.pop("max_completion_tokens") == 1024
        assert limited == untouched | {"seed": 40}
        assert ask(41, max_completion_tokens=9)["max_completion_tokens"] == 9
        row = next(
            row for row in process.receipts(33) if row["finish_reason"] == "length" and row["output_tokens"] == 1024
        )
        assert "limited to 1024 tokens" in row["trail"]
        assert row["basis"] == "estimated"
