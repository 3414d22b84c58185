"""The tool's definition, where it has a place, and what its calls ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.request import Operation, Request, Wire
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire.recall_tool import Wanted, definition, has_tool, wanted, with_tool

READ: dict[Wire, dict[str, Any]] = {
    Wire.ANTHROPIC_MESSAGES: {"name": "read", "input_schema": {"type": "object"}},
    Wire.OPENAI_CHAT: {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}},
    Wire.OPENAI_RESPONSES: {"type": "function", "name": "read", "parameters": {"type": "object"}},
    Wire.OLLAMA: {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}},
}


def request(wire: Wire, **fields: Any) -> Request:
    return Request(wire, json.dumps({"model": "m", "messages": [], "tools": [READ[wire]], **fields}).encode())


@pytest.mark.parametrize("wire", list(Wire))
def test_the_definition_is_short(wire: Wire) -> None:
    assert BpeTokenizer().count(json.dumps(definition(wire), separators=(",", ":"))) <= 60


@pytest.mark.parametrize("wire", list(Wire))
def test_it_is_put_behind_the_clients_tools_once(wire: Wire) -> None:
    asked = request(wire)
    assert not has_tool(asked)
    edits = with_tool(asked)
    assert edits is not None
    sent = asked.edit(edits)
    assert has_tool(sent)
    assert sent.body["tools"] == [READ[wire], definition(wire)]
    assert with_tool(sent) == ()


def test_a_mark_on_it_changes_nothing_and_marks_of_the_caller_stay() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    marked = {**READ[wire], "cache_control": {"type": "ephemeral"}}
    sent = request(wire, tools=[marked]).edit(with_tool(request(wire, tools=[marked])) or ())
    assert sent.body["tools"][0] == marked
    ours = {**definition(wire), "cache_control": {"type": "ephemeral"}}
    assert has_tool(request(wire, tools=[READ[wire], ours]))


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (Wire.OPENAI_CHAT, {"tools": []}),
        (Wire.OPENAI_CHAT, {"tools": None}),
        (Wire.OPENAI_CHAT, {"tools": [READ[Wire.OPENAI_CHAT]] * 128}),
        (Wire.OPENAI_CHAT, {"tool_choice": "none"}),
        (Wire.OPENAI_CHAT, {"tool_choice": "required"}),
        (Wire.OPENAI_CHAT, {"tool_choice": {"type": "function", "function": {"name": "read"}}}),
        (Wire.OPENAI_CHAT, {"response_format": {"type": "json_object"}}),
        (Wire.OPENAI_CHAT, {"n": 2}),
        (Wire.OPENAI_CHAT, {"tools": [{"type": "function", "function": {"name": "recall"}}]}),
        (Wire.ANTHROPIC_MESSAGES, {"tool_choice": {"type": "any"}}),
        (Wire.ANTHROPIC_MESSAGES, {"tool_choice": {"type": "none"}}),
        (Wire.ANTHROPIC_MESSAGES, {"output_config": {"format": {"type": "json_schema"}}}),
        (Wire.OPENAI_RESPONSES, {"text": {"format": {"type": "json_schema"}}}),
        (Wire.OPENAI_RESPONSES, {"previous_response_id": "resp_1"}),
        (Wire.OPENAI_RESPONSES, {"conversation": "conv_1"}),
        (Wire.OPENAI_RESPONSES, {"background": True}),
        (Wire.OLLAMA, {"format": "json"}),
        (Wire.OPENAI_CHAT, {"tools": "no list"}),
    ],
)
def test_it_has_no_place_where_it_could_not_be_called_or_answered(wire: Wire, fields: dict[str, Any]) -> None:
    assert with_tool(request(wire, **fields)) is None


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (Wire.OPENAI_CHAT, {"tool_choice": "auto", "response_format": {"type": "text"}, "n": 1}),
        (Wire.ANTHROPIC_MESSAGES, {"tool_choice": {"type": "auto"}, "output_config": {"effort": "high"}}),
        (Wire.OPENAI_RESPONSES, {"text": {"format": {"type": "text"}, "verbosity": "low"}}),
        (Wire.OPENAI_RESPONSES, {"text": {"verbosity": "low"}}),
    ],
)
def test_what_is_as_usual_does_not_keep_it_out(wire: Wire, fields: dict[str, Any]) -> None:
    assert with_tool(request(wire, **fields))


def test_only_our_own_definition_counts() -> None:
    theirs = {"name": "recall", "description": "Recalls a product", "input_schema": {"type": "object"}}
    assert not has_tool(request(Wire.ANTHROPIC_MESSAGES, tools=[theirs]))


def test_counts_and_embeddings_get_no_tool() -> None:
    asked = Request(Wire.ANTHROPIC_MESSAGES, request(Wire.ANTHROPIC_MESSAGES).raw, operation=Operation.COUNT)
    assert with_tool(asked) is None


REF = "rabcdefghij"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({"ref": REF}, Wanted(REF)),
        ('{"ref": "rabcdefghij", "lines": "3-7"}', Wanted(REF, 3, 7)),
        ({"ref": "[rabcdefghij]", "lines": "7-3", "query": "error"}, Wanted(REF, 3, 7, "error")),
        ({"ref": 'recall("RABCDEFGHIJ")', "lines": 12}, Wanted(REF, 12, 12)),
        ({"ref": REF, "lines": "120-"}, Wanted(REF, 120, 0)),
        ({"ref": REF, "lines": "lines 5 to 9"}, Wanted(REF, 5, 9)),
        ({"ref": REF, "lines": [5, 9]}, Wanted(REF, 5, 9)),
        ({"ref": REF, "lines": True, "query": 3}, Wanted(REF)),
        ({"ref": REF, "lines": "9" * 50}, Wanted(REF, 999_999_999, 0)),
        (REF, Wanted(REF)),
        ('"rabcdefghij"', Wanted(REF)),
        ({"ref": "../../etc/passwd"}, Wanted()),
        ({"ref": "xrabcdefghijk"}, Wanted()),
        ({}, Wanted()),
        ([], Wanted()),
        (None, Wanted()),
        ("{" * 5_000, Wanted()),
    ],
)
def test_what_models_write_is_read_as_they_mean_it(arguments: Any, asked: Wanted) -> None:
    got = wanted(arguments)
    assert got == asked or (asked.first == 999_999_999 and got.first == 999_999_999)
