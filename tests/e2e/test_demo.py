"""The demo as a user runs it: its own process, a real gateway, HTTP, and books that balance to the pico-dollar."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from functools import partial

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
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300, env=ENV, check=False)


# input, cached, output tokens and the cost as the client sent it, of each session (see replay/data/README.md)
SESSIONS = {
    "unmarked": (21, 522_148, 0, 1_030, 1.581894),
    "heartbeat": (19, 412_312, 312_791, 532, 0.4742508),
    "healthy": (21, 585_388, 537_511, 1_100, 0.3565203),
}


@pytest.mark.parametrize("optimize", ["off", "safe", "max"])
def test_json(optimize: str) -> None:
    done = demo("--json", "--exit", "--act", "1", "--optimize", optimize)
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
    done = demo("--exit", "--act", "1", "--optimize", "off")
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


def test_the_second_act_runs_out_of_its_budget_step_by_step() -> None:
    done = demo("--json", "--exit")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["calls"] == 61
    act = found["second_act"]
    assert act["ledger_equals_invoice"] is True
    assert act["cost_usd"] == pytest.approx(act["invoice_usd"], abs=1e-12)
    assert act["over_limit_usd"] == 0
    assert 0.93 * act["limit_usd"] < act["cost_usd"] <= act["limit_usd"]
    assert act["limit_usd"] == pytest.approx(act["session_without_limit_usd"] * 8.9, abs=0.006)
    calls, steps = act["calls"], act["steps"]
    assert sum(call["cost_usd"] for call in calls) == pytest.approx(act["cost_usd"])
    events = [call["event"] for call in calls]
    assert list(dict.fromkeys(events)) == ["ok", "warn", "force", "halt"]
    for call in calls[:-1]:
        assert call["status"] == 200
        assert call["event"] == ("ok" if call["spent"] < 0.8 else "warn" if call["spent"] < 0.9 else "force")
    assert (calls[-1]["status"], calls[-1]["model"], calls[-1]["cost_usd"]) == (402, "", 0)
    assert calls[-1]["said"].startswith("Daily limit reached for key local: $")
    # A session that begins when 90% are spent begins a tier lower than the first one did.
    tiers = ["local", "middle", "frontier"]
    saving = next(c for c in calls if c["number"] == 1 and c["event"] == "force")
    assert tiers.index(saving["tier"]) < tiers.index(calls[0]["tier"])
    assert [step["event"] for step in steps][-1] == "halt"
    assert sum(last - first + 1 for first, last in (step["calls"] for step in steps)) == len(calls)


def test_the_second_act_as_a_table() -> None:
    done = demo("--exit", "--act", "2")
    assert done.returncode == 0, done.stderr
    for shown in (
        "An agent's day through auto",
        "warned",
        "saving",
        "halted",
        "nobody: 402",
        "The limit holds",
        "agree to the pico-dollar",
    ):
        assert shown in done.stdout
    assert "Recorded sessions through this gateway" not in done.stdout


def test_it_leaves_a_gateway_running_until_told_to_end() -> None:
    """Even where the tests are run in the background, which hears no SIGINT, or behind a proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with subprocess.Popen(
        [*COMMAND, "--act", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"goes on at (http://127\.0\.0\.1:\d+/)", line):
                    with direct.open(found[1], timeout=60) as page:
                        assert page.status == 200
                    break
            else:
                pytest.fail("no address was told")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()  # or leaving it would wait for it
