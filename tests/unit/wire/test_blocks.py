from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pennyweight.request import Edit, Request, Wire
from pennyweight.wire.blocks import Block, Reader


def _request(wire: Wire, body: Any) -> Request:
    return Request(wire, msgspec.json.encode(body))


CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is in a.txt?"}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "alpha"},
    ]
}
ANTHROPIC = {
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "What is in a.txt?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "alpha"}]}],
        },
    ],
}
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "What is in a.txt?"},
        {"type": "reasoning", "id": "r", "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": '{"path":"a"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "alpha"},
    ],
}
OLLAMA = {
    "messages": [
        {"role": "user", "content": "What is in a.txt?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "read", "arguments": {"path": "a"}}}]},
        {"role": "tool", "tool_name": "read", "content": "alpha"},
    ]
}


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (Wire.OPENAI_CHAT, CHAT),
        (Wire.ANTHROPIC_MESSAGES, ANTHROPIC),
        (Wire.OPENAI_RESPONSES, RESPONSES),
        (Wire.OLLAMA, OLLAMA),
    ],
)
def test_every_protocol_reads_alike_and_its_places_can_be_written(wire: Wire, body: Any) -> None:
    request = _request(wire, body)
    read = Reader().read(request)
    assert read.last_user == "What is in a.txt?"
    [(index, result)] = list(read.results())
    assert result.text == "alpha"
    assert index >= read.new
    if wire is not Wire.OLLAMA:
        call = read.call_of(result)
        assert call is not None
        assert (call.name, json.loads(call.text)) == ("read", {"path": "a"})
    changed = request.edit([Edit(read.place(index, result), "beta")])
    again = Reader().read(changed)
    assert [block.text for _, block in again.results()] == ["beta"]
    assert [m.role for m in again.messages] == [m.role for m in read.messages]


def test_every_text_of_a_conversation_can_be_changed_where_it_stands() -> None:
    for wire, body in (
        (Wire.OPENAI_CHAT, CHAT),
        (Wire.ANTHROPIC_MESSAGES, ANTHROPIC),
        (Wire.OPENAI_RESPONSES, RESPONSES),
    ):
        request = _request(wire, body)
        read = Reader().read(request)
        for index, message in enumerate(read.messages):
            for block in message.blocks:
                if block.place is not None and block.kind != "call":
                    after = request.edit([Edit(read.place(index, block), "new words")])
                    assert after.raw != request.raw
                    assert "new words" in Reader().read(after).messages[index].text


def test_an_input_that_is_a_text_is_one_message() -> None:
    request = _request(Wire.OPENAI_RESPONSES, {"input": "hello"})
    read = Reader().read(request)
    assert read.last_user == "hello"
    place = read.place(0, read.messages[0].blocks[0])
    assert request.edit([Edit(place, "bye")]).body == {"input": "bye"}


@pytest.mark.parametrize(
    "odd", [None, 5, [], [5, None, {}], {"role": 7, "content": {"a": 1}}, {"content": [{"text": 3}]}]
)
def test_what_has_an_unexpected_shape_is_no_error(odd: Any) -> None:
    for wire in Wire:
        read = Reader().read(_request(wire, {"messages": [odd, {"role": "user", "content": "x"}]}))
        assert len(read.messages) == 2
        assert read.last_user == "x"


def test_what_is_remembered_is_bounded_and_the_same() -> None:
    reader = Reader(messages=3, text_chars=100)
    for number in range(20):
        request = _request(Wire.OPENAI_CHAT, {"messages": [{"role": "user", "content": f"{number}" * 50}]})
        first = reader.read(request)
        assert reader.read(request) == first
        assert first.messages[0].blocks == (Block("text", f"{number}" * 50, ("content",)),)
    assert len(reader._known) <= 3
    assert reader._chars <= 200
