"""Cache marks on what crosses: into Messages they are kept, block by block; to plain OpenAI none gets through."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pennyweight.request import Request, Wire
from pennyweight.wire import translate

MARK = {"type": "ephemeral", "ttl": "1h"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def crossed(wire: Wire, target: Wire, body: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    out = translate.request(Request(wire, msgspec.json.encode(body)), target, model="claude-sonnet-4-6")
    return msgspec.json.decode(out.request.raw), {loss.path for loss in out.lost}


CHAT: dict[str, Any] = {
    "model": "m",
    "tools": [
        {"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}}, "cache_control": MARK},
    ],
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be careful.", "cache_control": MARK}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "List it."},
                {"type": "image_url", "image_url": {"url": PNG}, "cache_control": MARK},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "a b", "cache_control": MARK}]},
    ],
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": [{"type": "input_text", "text": "Be careful.", "cache_control": MARK}],
    "tools": [{"type": "function", "name": "ls", "parameters": {"type": "object"}, "cache_control": MARK}],
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "List it."}, {"type": "input_image", "image_url": PNG}],
            "cache_control": MARK,
        },
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a b", "cache_control": MARK},
    ],
}


@pytest.mark.parametrize(("wire", "body"), [(Wire.OPENAI_CHAT, CHAT), (Wire.OPENAI_RESPONSES, RESPONSES)])
def test_marks_are_carried_into_messages(wire: Wire, body: dict[str, Any]) -> None:
    out, lost = crossed(wire, Wire.ANTHROPIC_MESSAGES, body)
    assert out["tools"][-1]["cache_control"] == MARK
    assert out["system"] == [{"type": "text", "text": "Be careful.", "cache_control": MARK}]
    first, _, last = out["messages"]
    assert ["cache_control" in block for block in first["content"]] == [False, True]
    assert last["content"] == [{"type": "tool_result", "tool_use_id": "c1", "content": "a b", "cache_control": MARK}]
    assert not any("cache_control" in path for path in lost)


@pytest.mark.parametrize("target", [Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.OLLAMA])
def test_no_mark_gets_through_to_another_protocol(target: Wire) -> None:
    for wire, body in ((Wire.OPENAI_CHAT, CHAT), (Wire.OPENAI_RESPONSES, RESPONSES)):
        if wire is target:
            continue
        out, lost = crossed(wire, target, body)
        assert b"cache_control" not in msgspec.json.encode(out)
        assert any("cache_control" in path for path in lost)


def test_a_marked_string_is_a_marked_block() -> None:
    """Where the gateway marks a text that came as a string, Messages get a block of it."""
    body = {"model": "m", "input": [{"role": "user", "content": "List it.", "cache_control": MARK}]}
    out, _ = crossed(Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, body)
    assert out["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "List it.", "cache_control": MARK}]}
    ]


def test_the_mark_of_a_custom_tool_is_kept() -> None:
    tool = {"type": "custom", "custom": {"name": "patch"}, "cache_control": MARK}
    out, _ = crossed(Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, {**CHAT, "tools": [tool]})
    assert out["tools"][-1]["cache_control"] == MARK
