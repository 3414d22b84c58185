"""The bench of session costs on sessions made up here: what it counts as a turn, and that it finds what it should."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from bench.session_cost import FAR, NEAR, Task, pair, perform
from bench.session_plays import Play, easy_turns, kept_for_a_day, paced, plays, thoughtless, turns_of

from pennyweight.request import Wire

CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "t", "content": "word " * 900}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    messages = [{"role": "system", "content": "rule " * 1_500}]
    for number in range(4):
        messages += [user(f"question {number}"), CALL, RESULT, said("an answer of some words " * 5)]
    path = tmp_path / "made.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for number in range(4):
            out.write(json.dumps({"id": f"s{number}", "source": "made", "messages": messages}) + "\n")
    return path


def test_turns_are_what_users_say_and_the_loops_behind_it() -> None:
    note = user("<note of the client>")
    messages = [user("a"), CALL, RESULT, note, said("x"), user("b"), note]
    found = turns_of(messages)
    first, second = found[0][0], found[-1][0]
    assert first != second
    assert found == [
        (first, False),
        (first, True),
        (first, True),
        (first, True),
        (first, True),
        (second, False),
        (second, False),
    ]
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    assert turns_of([marked])[0][0] == first


def test_turns_of_a_model_that_does_not_think_leave_no_thoughts() -> None:
    thinking = {"type": "thinking", "thinking": "t", "signature": "s"}
    answer = {"role": "assistant", "content": [thinking, {"type": "text", "text": "x"}]}
    body = {"messages": [user("a"), answer, user("b"), answer]}
    turns = turns_of(body["messages"])
    found = thoughtless(body, {turns[0][0]})["messages"]
    assert [len(message["content"]) for message in found if message["role"] == "assistant"] == [1, 2]


def test_halves_are_halves(file: Path) -> None:
    sessions = plays([file], Wire.OPENAI_CHAT)
    assert [(len(play.calls), len(play.turns)) for play in sessions] == [(8, 4)] * 4
    one, other = easy_turns(sessions, 1), easy_turns(sessions, 1, other=True)
    assert (len(one), len(other), one & other) == (8, 8, set())
    assert one == easy_turns(sessions, 1) != easy_turns(sessions, 2)


def test_paces(file: Path) -> None:
    play: Play = plays([file], Wire.ANTHROPIC_MESSAGES)[0]
    assert [b - a for a, b in zip(paced(play, "steady_299s", 1), paced(play, "steady_299s", 1)[1:], strict=False)] == [
        299.0
    ] * 7
    assert len(set(paced(play, "recorded", 1))) == 8, "trajectories hold no times: the usual ones are made up"
    assert kept_for_a_day(play).calls[0].body["prompt_cache_retention"] == "24h"
    assert play.calls[0].body["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("name", [FAR[0], FAR[3], NEAR[0]])
def test_no_session_costs_more_and_easy_ones_cost_less(file: Path, name: str) -> None:
    found = [s for other in (False, True) for s in perform(Task(name, "recorded", 1, other, (str(file),)))]
    assert len(found) == 8
    assert max(session.ratio for session in found) <= 1.0
    assert min(session.ratio for session in found) < 0.9
    assert all((session.failed, session.in_loops) == (0, 0) for session in found)
    assert any(session.routed for session in found)


def test_pairs_that_cannot_be_priced_are_named(file: Path) -> None:
    assert pair(FAR[0]).kept
    with pytest.raises(ValueError, match="no price is known for openai/unheard-of"):
        perform(Task("openai/unheard-of>openai/gpt-5-nano", "recorded", 1, False, (str(file),)))
