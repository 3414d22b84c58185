from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from pennyweight.request import Request, Wire
from pennyweight.wire.tool_results import exact, new_results

ANTHROPIC = {
    "messages": [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t0", "name": "read", "input": {"p": 0}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": "old result"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "two at once"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"p": 9007199254740993}},
                {"type": "tool_use", "id": "t2", "name": "search", "input": {"q": "é", "n": 1.50}},
                {"type": "tool_use", "id": "t3", "name": "read", "input": {"p": 3}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "found"}]},
                {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "t3", "content": "gone", "is_error": True},
                {"type": "tool_result", "tool_use_id": "t9", "content": "of no call"},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
}
CHAT = {
    "messages": [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "read", "arguments": '{"p": 9007199254740993}'}},
                {"id": "t2", "type": "function", "function": {"name": "search", "arguments": '{"q":"é","n":1.50}'}},
                {"id": "t3", "type": "function", "function": {"name": "now", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": [{"type": "text", "text": "found"}]},
        {"role": "tool", "tool_call_id": "t3", "content": "Error: no clock"},
        {"role": "user", "content": "and now?"},
    ]
}
RESPONSES = {
    "input": [
        {"role": "user", "content": "x"},
        {"type": "function_call", "call_id": "t0", "name": "read", "arguments": '{"p": 0}'},
        {"type": "function_call_output", "call_id": "t0", "output": "old result"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "t1", "name": "read", "arguments": '{"p": 9007199254740993}'},
        {"type": "function_call", "call_id": "t2", "name": "search", "arguments": '{"q":"é","n":1.50}'},
        {"type": "function_call_output", "call_id": "t1", "output": "one"},
        {"type": "function_call_output", "call_id": "t2", "output": "found"},
    ]
}


def request(wire: Wire, body: dict[str, Any]) -> Request:
    return Request(wire, json.dumps({"model": "m", **body}).encode())


@pytest.mark.parametrize(
    ("wire", "body"),
    [(Wire.ANTHROPIC_MESSAGES, ANTHROPIC), (Wire.OPENAI_CHAT, CHAT), (Wire.OPENAI_RESPONSES, RESPONSES)],
    ids=["anthropic", "chat", "responses"],
)
def test_the_newest_results_come_with_their_calls(wire: Wire, body: dict[str, Any]) -> None:
    found = new_results(request(wire, body))
    assert [(one.call_id, one.name, one.arguments, one.text) for one in found] == [
        ("t1", "read", {"p": 9007199254740993}, "one"),
        ("t2", "search", {"q": "é", "n": Decimal("1.5")}, "found"),
    ]


@pytest.mark.parametrize("wire", list(Wire))
def test_what_the_model_has_answered_already_is_not_new(wire: Wire) -> None:
    for body in (ANTHROPIC, CHAT):
        later = {
            "messages": [*body["messages"], {"role": "assistant", "content": "done"}, {"role": "user", "content": "x"}]
        }
        assert new_results(request(wire, later)) == []
    later = {"input": [*RESPONSES["input"], {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]}
    assert new_results(request(wire, later)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Error: nothing",
        "ValueError: x",
        "[ERROR] x",
        "Traceback (most recent call last):",
        "failed to open",
        "Timed out",
        '{"error": "no such file"}',
        '{"isError": true}',
        "",
    ],
)
def test_what_looks_like_a_failure_is_left_out(text: str) -> None:
    messages = [CHAT["messages"][1], {"role": "tool", "tool_call_id": "t1", "content": text}]
    assert new_results(request(Wire.OPENAI_CHAT, {"messages": messages})) == []


def test_a_result_about_errors_is_a_result() -> None:
    messages = [CHAT["messages"][1], {"role": "tool", "tool_call_id": "t1", "content": "Three errors were fixed."}]
    assert len(new_results(request(Wire.OPENAI_CHAT, {"messages": messages}))) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": "x"},
        {"messages": [None, 3, "x"]},
        {"messages": [{"role": "tool", "tool_call_id": 7, "content": {}}]},
        {"messages": [{"role": "assistant", "tool_calls": "x"}, {"role": "tool", "tool_call_id": "t", "content": "r"}]},
        {"messages": [{"role": "assistant", "content": 7}, {"role": "user", "content": [{"type": "tool_result"}]}]},
        {"input": "text"},
        {"input": [{"type": "function_call_output"}, 7]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("wire", list(Wire))
def test_odd_bodies_have_no_results(wire: Wire, body: dict[str, Any]) -> None:
    assert new_results(request(wire, body)) == []


def test_json_is_read_without_loss() -> None:
    assert exact('{"a": 123456789012345678901234567890, "b": 0.1000000000000000055511151231257827}') == {
        "a": 123456789012345678901234567890,
        "b": Decimal("0.1000000000000000055511151231257827"),
    }
    for broken in ('{"a": 1, "a": 2}', "NaN", "[Infinity]", "{", "", "[" * 100_000):
        with pytest.raises(ValueError):
            exact(broken)
