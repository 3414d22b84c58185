from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.errors import BadRequest
from pennyweight.request import Operation, Request, Wire
from pennyweight.wire import View, codec


def view(wire: Wire, operation: Operation = Operation.GENERATE, **body: Any) -> View:
    return codec(wire).view(Request(wire, json.dumps(body).encode(), operation=operation))


def test_a_chat() -> None:
    tool = {"type": "function", "function": {"name": "read", "parameters": {}}}
    seen = view(
        Wire.OPENAI_CHAT,
        tools=[tool, {"type": "custom", "custom": {"name": "exec"}}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "In German."}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one"},
                    {"type": "image_url", "image_url": {"url": "data:,"}},
                    {"type": "text", "text": "two"},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "result"}]},
            {"role": "user", "content": "three"},
            {"role": "system", "content": "Later."},
        ],
    )
    assert seen.system == "Be brief.\n\nIn German.\n\nLater."
    assert (seen.first_user, seen.last_user) == ("one\ntwo", "three")
    assert seen.tool_names == ("read", "exec")
    assert seen.texts[:3] == ("Be brief.", "In German.", json.dumps(tool, separators=(",", ":")))
    assert seen.texts[4:] == ("one", "two", "hm", "read", "{}", "result", "three", "Later.")
    assert seen.has_tool_calls


def test_a_message_conversation() -> None:
    seen = view(
        Wire.ANTHROPIC_MESSAGES,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[{"name": "read", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        messages=[
            {"role": "user", "content": "one"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Reading."},
                    {"type": "tool_use", "id": "t", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "result"}]},
                    {"type": "tool_result", "tool_use_id": "u", "content": "plain"},
                ],
            },
            {"role": "system", "content": "Environment."},
        ],
    )
    assert seen.system == "Be brief.\n\nEnvironment."
    assert (seen.first_user, seen.last_user) == ("one", "one")
    assert seen.tool_names == ("read", "web_search")
    assert seen.texts[3:] == ("one", "hm", "Reading.", "read", '{"path":"a"}', "result", "plain", "Environment.")
    assert seen.has_tool_calls


def test_a_response() -> None:
    seen = view(
        Wire.OPENAI_RESPONSES,
        instructions="Be brief.",
        tools=[
            {"type": "function", "name": "read"},
            {"type": "namespace", "name": "mcp", "tools": [{"type": "function", "name": "list"}]},
            {"type": "web_search"},
        ],
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "In German."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}], "content": None},
            {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "result"},
            {"type": "custom_tool_call", "call_id": "d", "name": "exec", "input": "text(1)"},
            {"type": "custom_tool_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "1"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
            {"type": "item_reference", "id": "x"},
        ],
    )
    assert seen.system == "Be brief.\n\nIn German."
    assert (seen.first_user, seen.last_user) == ("one", "one")
    assert seen.tool_names == ("read", "list", "web_search")
    assert seen.texts[5:] == ("one", "hm", "read", "{}", "result", "exec", "text(1)", "1", "done")
    assert seen.has_tool_calls
    assert view(Wire.OPENAI_RESPONSES, input="Hi").first_user == "Hi"


def test_ollama_and_embeddings() -> None:
    seen = view(
        Wire.OLLAMA,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one", "images": ["aGk="]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "read", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "read", "content": "result"},
        ],
    )
    assert (seen.system, seen.first_user, seen.has_tool_calls) == ("Be brief.", "one", True)
    assert seen.texts == ("Be brief.", "one", "read", '{"a":1}', "result")
    generate = view(Wire.OLLAMA, system="S", prompt="P")
    assert (generate.system, generate.last_user) == ("S", "P")
    assert view(Wire.OLLAMA, Operation.EMBED, input=["a", "b"]).texts == ("a", "b")
    assert view(Wire.OPENAI_CHAT, Operation.EMBED, input=["a", "b"]).texts == ("a", "b")
    assert view(Wire.OPENAI_CHAT, Operation.EMBED, input="a").first_user == "a"
    assert view(Wire.OPENAI_CHAT, Operation.EMBED, input=[[1, 2]]).texts == ()


@pytest.mark.parametrize("wire", Wire)
def test_nothing_said_is_an_empty_view(wire: Wire) -> None:
    assert view(wire) == View("", "", "", (), (), False)
    empty = view(wire, messages=[{"role": "user", "content": None}], tools=None)
    assert not empty.has_tool_calls
    assert empty.texts == ()


@pytest.mark.parametrize(
    ("wire", "body", "words"),
    [
        (Wire.OPENAI_CHAT, {"messages": "hi"}, "messages must be a list, not a string"),
        (Wire.OPENAI_CHAT, {"messages": [1]}, r"messages\[0\] must be an object, not a number"),
        (Wire.OPENAI_CHAT, {"messages": [{"role": "user", "content": 1}]}, r"messages\[0\].content must be a string"),
        (Wire.OPENAI_CHAT, {"messages": [{"content": [{"text": 1}]}]}, r"content\[0\].text must be a string"),
        (Wire.OPENAI_CHAT, {"tools": {}}, "tools must be a list, not an object"),
        (Wire.OPENAI_CHAT, {"tools": [{"function": "f"}]}, r"tools\[0\].function must be an object"),
        (Wire.OPENAI_CHAT, {"input": True}, "input must be a string or a list, not a boolean"),
        (Wire.OPENAI_RESPONSES, {"input": 3}, "input must be a string or a list of items, not a number"),
        (Wire.OPENAI_RESPONSES, {"instructions": []}, "instructions must be a string, not a list"),
        (Wire.ANTHROPIC_MESSAGES, {"system": {}}, "system must be a string or a list of parts"),
        (Wire.ANTHROPIC_MESSAGES, {"messages": [{"content": ["a", 3]}]}, r"content\[1\] must be an object"),
        (Wire.OLLAMA, {"prompt": 3}, "prompt must be a string"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(wire: Wire, body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        view(wire, **body)
