"""Requests and answers of all four protocols read the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.request import Operation, Request, Wire
from pennyweight.routing.confidence.said import Asked, Said, ToolUse, read_answer, read_request, unjudgeable

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USER = {"role": "user", "content": "Will it rain in Oslo?"}
FUNCTION = {"name": "weather", "description": "d", "parameters": SCHEMA}
FORM = {"type": "object", "required": ["rain"]}


def request(wire: Wire, **body: Any) -> Request:
    return Request(wire, json.dumps({"model": "m", **body}).encode())


CHAT = request(Wire.OPENAI_CHAT, messages=[USER], tools=[{"type": "function", "function": FUNCTION}])
RESPONSES = request(Wire.OPENAI_RESPONSES, input=[USER], tools=[{"type": "function", **FUNCTION}])
MESSAGES = request(
    Wire.ANTHROPIC_MESSAGES,
    max_tokens=9,
    messages=[USER],
    tools=[{"name": "weather", "description": "d", "input_schema": SCHEMA}],
)
OLLAMA = request(Wire.OLLAMA, messages=[USER], tools=[{"type": "function", "function": FUNCTION}])


@pytest.mark.parametrize("asking", [CHAT, RESPONSES, MESSAGES, OLLAMA], ids=lambda r: r.wire.value)
def test_what_is_asked(asking: Request) -> None:
    assert read_request(asking) == Asked("Will it rain in Oslo?", {"weather": SCHEMA})


@pytest.mark.parametrize(
    ("asking", "choice", "must", "may"),
    [
        (CHAT, "required", True, True),
        (CHAT, "none", False, False),
        (CHAT, {"type": "function", "function": {"name": "weather"}}, True, True),
        (RESPONSES, "required", True, True),
        (MESSAGES, {"type": "any"}, True, True),
        (MESSAGES, {"type": "none"}, False, False),
    ],
)
def test_whether_a_tool_has_to_be_called(asking: Request, choice: Any, must: bool, may: bool) -> None:
    found = read_request(Request(asking.wire, json.dumps({**asking.body, "tool_choice": choice}).encode()))
    assert found is not None
    assert (found.must_call, found.may_call) == (must, may)


@pytest.mark.parametrize(
    "asking",
    [
        request(
            Wire.OPENAI_CHAT,
            messages=[USER],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": FORM}},
        ),
        request(
            Wire.OPENAI_RESPONSES,
            input="hi",
            text={"format": {"type": "json_schema", "name": "x", "schema": FORM}},
        ),
        request(Wire.OLLAMA, messages=[USER], format=FORM),
    ],
    ids=lambda r: r.wire.value,
)
def test_the_form_that_is_wanted(asking: Request) -> None:
    found = read_request(asking)
    assert found is not None
    assert found.form == FORM


def test_any_json_is_a_form_too() -> None:
    found = read_request(request(Wire.OPENAI_CHAT, messages=[USER], response_format={"type": "json_object"}))
    assert found is not None
    assert found.form == "json"


def test_a_tool_loop_is_told_from_a_question() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    loop = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "wet"}]
    found = read_request(request(Wire.OPENAI_CHAT, messages=loop))
    assert found is not None
    assert found.in_loop
    assert "wet" in found.prompt
    assert not (read_request(CHAT) or found).in_loop


def test_what_cannot_be_read_is_nothing() -> None:
    assert read_request(request(Wire.OPENAI_CHAT, messages=7)) is None
    assert read_request(Request(Wire.OPENAI_CHAT, b"{")) is None
    assert read_request(Request(Wire.OPENAI_CHAT, CHAT.raw, operation=Operation.EMBED)) is None


ANSWERS = {
    Wire.OPENAI_CHAT: {
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ]
    },
    Wire.OPENAI_RESPONSES: {
        "status": "completed",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city":"Oslo"}'},
        ],
    },
    Wire.ANTHROPIC_MESSAGES: {
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "c", "name": "weather", "input": {"city": "Oslo"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    Wire.OLLAMA: {
        "message": {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
        },
        "done": True,
        "done_reason": "stop",
    },
}


@pytest.mark.parametrize("wire", list(ANSWERS), ids=str)
def test_what_is_said(wire: Wire) -> None:
    body = json.dumps({"id": "x", "model": "m", **ANSWERS[wire]}).encode()
    assert read_answer(wire, body) == Said("Let me see.", (ToolUse("weather", {"city": "Oslo"}),))


@pytest.mark.parametrize(("finish", "end"), [("length", "cut"), ("content_filter", "refused"), ("stop", "ended")])
def test_how_it_ended(finish: str, end: str) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": finish}]}
    assert read_answer(Wire.OPENAI_CHAT, json.dumps(body).encode()).end == end


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices":7}', b'{"choices":[7]}'])
def test_what_is_no_answer_is_told(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_answer(Wire.OPENAI_CHAT, body)


def test_of_a_long_conversation_the_end_is_read() -> None:
    turn = [{"role": "user", "content": "x" * 2_000}, {"role": "assistant", "content": "y"}]
    for wire, name in ((Wire.OPENAI_CHAT, "messages"), (Wire.OPENAI_RESPONSES, "input")):
        long = request(
            wire, **{name: [*turn * 200, USER]}, tools=CHAT.body["tools"] if wire is Wire.OPENAI_CHAT else []
        )
        found = read_request(long)
        assert found is not None
        assert found.prompt.startswith("Will it rain in Oslo?")
        assert bool(found.tools) == (wire is Wire.OPENAI_CHAT)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"n": "x"},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "function"}, {"type": "mcp", "server_url": "https://x"}]},
        {"web_search_options": {}},
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "c"}},
        {"background": True},
        {"model": "m:online"},
        {"tools": 7},
    ],
)
def test_what_cannot_be_judged(fields: dict[str, Any]) -> None:
    assert unjudgeable(request(Wire.OPENAI_CHAT, **{"messages": [USER], **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 1},
        {"n": None},
        {"background": False},
        {"plugins": []},
        {"tools": [{"type": "bash_20250124"}]},
        {"tools": None},
    ],
)
def test_what_can(fields: dict[str, Any]) -> None:
    assert unjudgeable(request(Wire.OPENAI_CHAT, **{"messages": [USER], **fields})) == ""
