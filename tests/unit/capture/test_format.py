"""The capture file: what is written is what is read, deltas included, and only its owner may read it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.capture.format import Recorded, apply_delta, delta, write
from pennyweight.errors import ConfigError
from pennyweight.replay.readers import read
from pennyweight.request import Usage, Wire


def conversation(turns: int) -> list[Recorded]:
    messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n} " * 50} for n in range(turns * 2)]
    return [
        Recorded(
            session="s/1",
            wire=Wire.OPENAI_CHAT,
            body={"model": "gpt-5.5", "messages": messages[: 2 * n + 1], "temperature": 1.0 if n else 1},
            t=float(n),
            at=1_800_000_000.0 + n,
            path="/v1/chat/completions",
            headers={"x-session-id": "s/1"},
            answer={"choices": [{"message": messages[2 * n + 1]}]},
            usage=Usage(100 * n, 64, 0, 0, 7),
        )
        for n in range(turns)
    ]


@pytest.mark.parametrize("name", ["capture.jsonl", "capture.jsonl.gz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    calls = conversation(6)
    assert write(tmp_path / name, calls) == 6
    again = read(tmp_path / name)
    assert again == calls
    assert [json.dumps(call.body) for call in again] == [json.dumps(call.body) for call in calls]  # 1 is not 1.0


def test_a_growing_conversation_is_written_once(tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", conversation(30))
    assert (tmp_path / "c.jsonl").stat().st_size < 3 * len(json.dumps(conversation(30)[-1].body))


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.touch(mode=0o644)
    write(path, conversation(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, width=16) | st.text("aü", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aü", max_size=2), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON, max_size=4)


@settings(max_examples=150)
@given(BODIES, BODIES)
def test_a_delta_gives_the_body_again(before: dict[str, Any], body: dict[str, Any]) -> None:
    assert json.dumps(apply_delta(before, json.loads(json.dumps(delta(before, body))))) == json.dumps(body)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"pennyweight_capture": 7}', "version 7"),
        ('{"pennyweight_capture": 1, "session": "s", "wire": "telex", "body": {}}', "telex"),
        ('{"pennyweight_capture": 1, "session": "s", "wire": "openai_chat", "base": 9, "delta": {}}', "IndexError"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str, found: str) -> None:
    write(tmp_path / "c.jsonl", conversation(1))
    with (tmp_path / "c.jsonl").open("a") as file:
        file.write(line + "\n" + line + "\n")
    with pytest.raises(ConfigError, match=found) as error:
        read(tmp_path / "c.jsonl")
    assert "c.jsonl:2" in str(error.value)
