"""`replay`, `explain` and `capture` as a user types them, over the real App."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.capture import Recorded, read_rule, write
from pennyweight.cli import cli
from pennyweight.errors import ConfigError
from pennyweight.replay.demo import demo_session
from pennyweight.replay.readers import read
from pennyweight.request import Usage, Wire

ENV = {"PENNYWEIGHT_CONFIG": None, "PENNYWEIGHT_OPTIMIZE": None, "COLUMNS": "100"}
ASKED = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Four."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010},
}


def run(data: Path, *arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--data", str(data)], env=ENV, catch_exceptions=False, **more)


def call(question: str, *, t: float = 0.0, model: str = "gpt-4o", usage: Usage | None = None, **more: Any) -> Recorded:
    body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": question}], **more}
    return Recorded(
        session="s", wire=Wire.OPENAI_CHAT, body=body, t=t, at=1_790_000_000.0 + t, answer=ANSWER, usage=usage
    )


REPORTED = Usage(input_tokens=1_000, output_tokens=10)
PICO = 1_000 * 2_500_000 + 10 * 10_000_000  # gpt-4o: $2.50 in, $10 out per million tokens


def test_a_repeated_question_is_answered_from_the_cache(tmp_path: Path) -> None:
    calls = [call("2+2?", usage=REPORTED), call("3+3?", t=1, usage=REPORTED), call("2+2?", t=2, usage=REPORTED)]
    write(tmp_path / "c.jsonl", calls)
    for optimize, paid in (("safe", 2), ("off", 3)):
        done = run(tmp_path / "data", "replay", str(tmp_path / "c.jsonl"), "--json", "--optimize", optimize)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found["calls"] == 3
        assert round(found["baseline_usd"] * 1e12) == 3 * PICO
        assert round(found["cost_usd"] * 1e12) == paid * PICO
        assert round(found["saved_usd"] * 1e12) == (3 - paid) * PICO
        assert found["answered_calls"] == 3 - paid
        assert found["counted_calls"] == 0
        assert found["accepted"] == ({"exact_cache": 1} if paid == 2 else {})


def test_calls_without_usage_are_counted_and_said_so(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", demo_session())
    found = json.loads(run(tmp_path, "replay", str(tmp_path / "c.jsonl"), "--json").stdout)
    assert found["counted_calls"] == 21
    assert found["baseline_usd"] == found["cost_usd"] == pytest.approx(0.3565203, rel=0.01)
    assert [session["session"] for session in found["sessions"]] == ["rc1"]
    assert "counted" in run(tmp_path, "replay", str(tmp_path / "c.jsonl")).stdout


def test_an_unknown_model_is_loud_and_never_free(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", [call("?", model="mystery-9000", usage=REPORTED)])
    done = run(tmp_path, "replay", str(tmp_path / "c.jsonl"))
    assert "unpriced" in done.stdout
    assert "mystery-9000" in done.stdout
    assert "$0.00" not in done.stdout
    found = json.loads(run(tmp_path, "replay", str(tmp_path / "c.jsonl"), "--json").stdout)
    assert found["cost_usd"] is None
    assert found["unpriced_calls"] == 1


def test_failed_calls_are_left_out_and_said(tmp_path: Path) -> None:
    failed = Recorded(session="s", wire=Wire.OPENAI_CHAT, body={"model": "gpt-4o", "messages": []}, status=429)
    write(tmp_path / "c.jsonl", [failed, call("2+2?", usage=REPORTED)])
    found = json.loads(run(tmp_path, "replay", str(tmp_path / "c.jsonl"), "--json").stdout)
    assert (found["calls"], found["skipped"]) == (1, 1)


def test_replay_leaves_the_data_folder_alone(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", [call("2+2?")])
    run(tmp_path / "data", "replay", str(tmp_path / "c.jsonl"))
    assert not (tmp_path / "data").exists()


def test_explain_tells_what_would_happen(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({**demo_session()[0].body}))
    done = run(tmp_path / "data", "explain", str(tmp_path / "r.json"), "--json", "--header", "x-pennyweight-task: fix")
    found = json.loads(done.stdout)
    assert found["wire"] == "anthropic_messages"
    assert found["target"]["provider"] == "anthropic"
    assert found["identity"]["session"] == "rc1"
    assert found["identity"]["agent"] == "main"
    assert found["identity"]["task"] == "fix"
    assert found["input_tokens"] == pytest.approx(10_366, rel=0.01)
    assert found["input_usd"] == pytest.approx(found["input_tokens"] * 3e-6)
    assert found["max_output_usd"] == pytest.approx(8_192 * 15e-6)
    asked = [step["name"] for step in found["optimizers"]]
    assert asked == ["exact_cache", "billing_header", "heartbeat", "prompt_cache"]
    assert not found["rewritten"]
    assert not (tmp_path / "data").exists()
    assert "exact_cache" in run(tmp_path / "data", "explain", str(tmp_path / "r.json")).stdout
    assert "No optimizer" in run(tmp_path / "data", "explain", str(tmp_path / "r.json"), "--optimize", "off").stdout


def test_what_explain_says_does_not_depend_on_how_busy_the_machine_is(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"model": "gpt-4o", "temperature": 0, "messages": [ASKED]}))
    (tmp_path / "c.toml").write_text("[pipeline]\npropose_s = 0.0000001\n")
    done = run(tmp_path / "data", "explain", str(tmp_path / "r.json"), "--json", "--config", str(tmp_path / "c.toml"))
    assert [step for step in json.loads(done.stdout)["optimizers"] if step["verdict"] == "failed"] == []


def test_explain_looks_for_the_model_where_the_gateway_does(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"model": "gpt-4o", "temperature": 0, "messages": [ASKED]}))
    settings = '[[optimizers]]\nuse = "semantic_cache"\nmode = "on"\nlevel = "safe"\n'
    (tmp_path / "c.toml").write_text(settings + '[optimizers.settings]\nmodels = ["gpt-*"]\n')
    done = run(tmp_path / "data", "explain", str(tmp_path / "r.json"), "--json", "--config", str(tmp_path / "c.toml"))
    (step,) = json.loads(done.stdout)["optimizers"]
    assert str(tmp_path / "data" / "models") in step["why"]


def test_explain_reads_stdin(tmp_path: Path) -> None:
    done = run(tmp_path, "explain", "-", "--json", input='{"model": "gpt-4o", "input": "hello"}')
    assert json.loads(done.stdout)["wire"] == "openai_responses"


@pytest.mark.parametrize(("content", "found"), [("[1]", "object"), ("{", "JSON"), ('{"a": 1}', "no request body")])
def test_explain_says_what_is_no_request(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ConfigError, match=found):
        run(tmp_path, "explain", str(tmp_path / "r.json"))


def test_capture_on_status_off(tmp_path: Path) -> None:
    assert run(tmp_path, "capture", "on").exit_code == 2
    assert "session s1, agent main, redacted" in run(
        tmp_path, "capture", "on", "--session", "s1", "--agent", "main", "--redact"
    ).stdout.replace("\n", " ")
    rule = read_rule(tmp_path)
    assert rule is not None
    assert (rule.sessions, rule.agents, rule.redact) == (("s1",), ("main",), True)
    assert "session s1" in run(tmp_path, "capture", "status").stdout
    assert "off" in run(tmp_path, "capture", "off").stdout
    assert read_rule(tmp_path) is None
    assert "off" in run(tmp_path, "capture", "status").stdout


def test_capture_redact(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [call("A confidential question?", usage=REPORTED)])
    invoke = CliRunner().invoke
    arguments = ["capture", "redact", str(tmp_path / "in.jsonl")]
    for name in ("one", "two"):
        done = invoke(cli, [*arguments, str(tmp_path / name), "--salt", "x"], catch_exceptions=False)
        assert done.exit_code == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert b"confidential" not in (tmp_path / "one").read_bytes()
    assert read(tmp_path / "one")[0].usage == REPORTED
    invoke(cli, [*arguments, str(tmp_path / "three")], catch_exceptions=False)
    assert (tmp_path / "three").read_bytes() != (tmp_path / "one").read_bytes()
    with pytest.raises(ConfigError, match="SOURCE itself"):
        invoke(cli, [*arguments, str(tmp_path / "in.jsonl")], catch_exceptions=False)
