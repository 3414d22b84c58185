"""The demo as a user runs it: its own process, a real gateway, HTTP, and books that balance to the pico-dollar."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

COMMAND = [sys.executable, "-m", "pennyweight", "demo"]
# A real key in the environment must not be used, nor be asked for.
ENV = {
    **os.environ,
    "ANTHROPIC_API_KEY": "sk-ant-not-used",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "COLUMNS": "100",
}


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=ENV, check=False)


# input, cached, output tokens and the cost as the client sent it, of each session (see replay/data/README.md)
SESSIONS = {
    "unmarked": (21, 522_148, 0, 1_030, 1.581894),
    "heartbeat": (19, 412_312, 312_791, 532, 0.4742508),
    "healthy": (21, 585_388, 537_511, 1_100, 0.3565203),
}


@pytest.mark.parametrize("optimize", ["off", "safe", "max"])
def test_json(optimize: str) -> None:
    done = demo("--json", "--exit", "--optimize", optimize)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["calls"] == 61
    assert found["baseline_usd"] == pytest.approx(2.4126651, rel=0.01)
    assert found["cost_usd"] <= found["baseline_usd"]
    assert found["saved_usd"] == pytest.approx(found["baseline_usd"] - found["cost_usd"])
    assert found["ledger_equals_invoice"] is True
    assert 0 < found["added_ms_p50"] <= found["added_ms_p99"] < 1_000
    assert [session["session"] for session in found["sessions"]] == list(SESSIONS)
    for session in found["sessions"]:
        calls, tokens, cached, output, baseline = SESSIONS[session["session"]]
        assert session["calls"] == calls
        assert session["output_tokens"] == output
        assert session["baseline_usd"] == pytest.approx(baseline, rel=0.01)
        assert session["cost_usd"] <= session["baseline_usd"] * 1.001
        if optimize == "off":
            assert (session["input_tokens"], session["cached_tokens"]) == (tokens, cached)
            assert session["cost_usd"] == session["baseline_usd"]
    unmarked, heartbeat, healthy = (1 - s["cost_usd"] / s["baseline_usd"] for s in found["sessions"])
    if optimize != "off":
        assert unmarked > 0.74
        assert heartbeat > (0.45 if optimize == "max" else 0.17) * 0.98  # of all cost; the output is a fiftieth of it
        assert abs(healthy) < 0.01
    told = {code: group["sessions"] for group in found["findings"] for code in [group["code"]]}
    assert ["unmarked"] in told.values()
    assert ["heartbeat"] in told.values()
    assert not any("healthy" in sessions for sessions in told.values())


def test_table() -> None:
    done = demo("--exit", "--optimize", "off")
    assert done.returncode == 0, done.stderr
    for shown in (
        "585,388",
        "537,511",
        "1,100",
        "$0.3565203",
        "agree to the pico-dollar",
        "p99",
        "Heartbeats",
        *SESSIONS,
    ):
        assert shown in done.stdout


def test_it_leaves_a_gateway_running_until_told_to_end() -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"goes on at (http://127\.0\.0\.1:\d+/)", line):
                with urllib.request.urlopen(found[1], timeout=10) as page:
                    assert page.status == 200
                break
        else:
            pytest.fail("no address was told")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
