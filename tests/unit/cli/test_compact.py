from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli import cli
from pennyweight.errors import ConfigError


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, ["compact", *arguments], input=given, catch_exceptions=False)


def session() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "user", "content": "Find the port."}]
    for number in range(8):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "read", "arguments": "{}"}}
        text = "\n".join(f"{number} has line {line} of words" for line in range(100))
        found += [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": text},
        ]
    return found


def test_a_body_comes_out_with_fewer_tokens_and_its_other_members(tmp_path: Path) -> None:
    kept = tmp_path / "references.json"
    body = json.dumps({"model": "m", "messages": session()})
    done = run("--budget", "5000", "--references", str(kept), given=body)
    out = json.loads(done.stdout)
    assert out["model"] == "m"
    assert len(json.dumps(out)) < len(body)
    assert "tokens: " in done.stderr
    assert set(json.loads(kept.read_text()).values()) <= {m["content"] for m in session() if m["role"] == "tool"}


def test_levels_are_told_message_by_message() -> None:
    done = run("--budget", "100", "--levels", given=json.dumps(session()))
    lines = done.stdout.splitlines()
    assert len(lines) == len(session())
    assert lines[0].startswith("verbatim   user: ")
    assert "above the budget of 100" in done.stderr


@pytest.mark.parametrize("given", ["{", '{"a": 1}', "3"])
def test_what_is_no_list_of_messages_is_refused(given: str) -> None:
    with pytest.raises(ConfigError):
        run("--budget", "10", given=given)


def test_signed_reasoning_is_named_as_what_must_stay() -> None:
    messages = session()
    thought = {"type": "thinking", "thinking": "Look.", "signature": "c2lnbmVk"}
    messages[-2] = {"role": "assistant", "content": [thought, {"type": "text", "text": "I looked."}]}
    told = run("--budget", "50", given=json.dumps(messages)).stderr
    assert "signed" in told
    assert "signed" not in run("--budget", "50", given=json.dumps(session())).stderr
