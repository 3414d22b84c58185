from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from bench.recordings import figures as recording_figures
from bench.saving import PLAYS, Played, play
from bench.trajectories import figures, part
from bench.turns import POLICIES, Session, judged, load, ours, values_of

from pennyweight.capture.format import Recorded
from pennyweight.request import Wire

PAGE = "\n".join(f"{n}: reservation R{n:05} of user_{n % 7} for flight HAT{n % 90:03}" for n in range(150))


def _call(number: int, name: str = "read") -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"path": f"a{number % 2}.txt"})}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": f"c{number}", "function": function}]}


def _messages(turns: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "user", "content": "Look into a0.txt. " + "Take care. " * 500}]
    for number in range(turns):
        text = PAGE.replace("R00007", f"R0{number}007")
        found += [_call(number), {"role": "tool", "tool_call_id": f"c{number}", "content": text}]
    return found


def _session() -> Session:
    return Session("1", "tau-bench", [*_messages(3), {"role": "assistant", "content": "done"}], ("read",))


def test_a_recording_is_played_and_its_lines_are_checked() -> None:
    tools = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]
    calls = [
        Recorded(
            session="s",
            wire=Wire.OPENAI_CHAT,
            body={"model": "fake-model", "messages": _messages(turns), "tools": tools},
            at=1_790_000_000.0 + 5 * turns,
        )
        for turns in range(4)
    ]
    played = asyncio.run(play("x/chat_debug20", calls, PLAYS["never"]))
    assert played.ratio < 0.8
    assert played.lines >= 450
    assert played.lost == 0
    assert played.kinds["notes"] > 1_000


def test_savings_of_recordings_are_means_over_sessions() -> None:
    def one(name: str, after: int, lost: int = 0) -> Played:
        return Played(name, 100, after, 50, lost, {}, 1, {}, {})

    found = recording_figures(
        [one("a/x_debug20", 60), one("b/debug20", 80), one("c/ops18", 50, 5), one("d/other", 101)]
    )
    assert found == pytest.approx(
        {"saving_coding": 0.3, "saving_ops": 0.5, "worst_ratio": 1.01, "lines_recoverable": 0.975}
    )


def test_a_trajectory_is_played_beside_other_policies() -> None:
    (told,) = asyncio.run(ours([_session()], {}))
    assert told.ratio < 0.9
    assert told.kept == told.values > 0
    assert told.broken == 0
    untouched = judged(_session(), POLICIES["pass-through"], 1)
    assert untouched.ratio == 1.0
    assert untouched.kept == untouched.values
    cut = judged(_session(), POLICIES["head and tail"], 1)
    assert cut.ratio < 1.0
    found = figures([told])
    assert found["saving_service"] == pytest.approx(1 - told.ratio, abs=1e-4)
    assert part([told], "other") == []


def test_values_are_those_that_were_said_before_the_call() -> None:
    turn = _call(0)
    assert values_of(turn, [{"role": "user", "content": "open a0.txt"}]) == ["a0.txt"]
    assert values_of(turn, [{"role": "system", "content": "open a0.txt"}]) == []


def test_trajectories_are_read_with_the_tools_that_their_class_calls(tmp_path: Path) -> None:
    rows = [{"id": 1, "source": "tau", "messages": _messages(1)}, {"id": 2, "source": "tau", "messages": []}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = load(tmp_path / "t.jsonl")
    assert first.tools == ("read",)
    assert second.tools == ()
