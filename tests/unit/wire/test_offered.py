"""Which tools a request offers, and which of them an answer calls, in every protocol."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pennyweight.request import Request, Wire
from pennyweight.wire.offered import Offer, calls_in, offered

CATALOGUE = "## Tools\n- read: Read files\n- automations (core): Later.\n- file_write (file-transfer): Write.\n"


def request(wire: Wire, body: dict[str, Any]) -> Request:
    return Request(wire, msgspec.json.encode({"model": "m", **body}))


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (
            Wire.ANTHROPIC_MESSAGES,
            {
                "system": [{"type": "text", "text": CATALOGUE}],
                "tools": [{"name": "read"}, {"name": "tool_call"}, {"type": "web_search_20260101", "name": "search"}],
                "messages": [],
            },
        ),
        (
            Wire.OPENAI_CHAT,
            {
                "messages": [{"role": "system", "content": CATALOGUE}],
                "tools": [
                    {"type": "function", "function": {"name": "read"}},
                    {"type": "function", "function": {"name": "tool_call"}},
                    {"type": "custom", "custom": {"name": "search"}},
                ],
            },
        ),
        (
            Wire.OPENAI_RESPONSES,
            {
                "input": [{"role": "developer", "content": CATALOGUE}],
                "tools": [
                    {"type": "function", "name": "read"},
                    {"type": "function", "name": "tool_call"},
                    {"type": "search"},
                ],
            },
        ),
    ],
)
def test_tools_and_those_behind_the_dispatcher(wire: Wire, body: dict[str, Any]) -> None:
    assert offered(request(wire, body)) == Offer(
        frozenset({"read", "tool_call", "search"}), frozenset({"automations", "file_write"})
    )


def test_without_a_dispatcher_a_list_is_only_text() -> None:
    found = offered(
        request(Wire.ANTHROPIC_MESSAGES, {"system": CATALOGUE, "tools": [{"name": "read"}], "messages": []})
    )
    assert found == Offer(frozenset({"read"}))


OWN = Offer(frozenset({"read", "tool_call"}), frozenset({"ask_user"}))
SENT = Offer(frozenset({"read", "tool_call", "openclaw"}), frozenset({"ask_user", "automations"}))


@pytest.mark.parametrize(
    ("name", "arguments", "refused"),
    [
        ("read", {"path": "openclaw automations"}, False),
        ("openclaw", {}, True),
        ("invented", {}, True),
        ("tool_call", {"id": "ask_user", "args": {"q": "automations?"}}, False),
        ("tool_call", {"id": "automations"}, True),
        ("tool_call", {"id": "core:automations"}, True),
        ("tool_call", {"id": "openclaw"}, True),
        ("tool_call", {"args": {}}, True),
        ("tool_call", {"id": 3}, True),
        ("tool_call", None, True),
        ("tool_call", {"id": "automations_list"}, False),
    ],
)
def test_what_is_refused(name: str, arguments: Any, refused: bool) -> None:
    assert OWN.refuses(name, arguments, SENT) is refused


def test_nothing_is_refused_where_nothing_was_added() -> None:
    assert not OWN.refuses("tool_call", None, OWN)


ANSWERS: list[tuple[Wire, dict[str, Any]]] = [
    (
        Wire.ANTHROPIC_MESSAGES,
        {
            "content": [
                {"type": "text", "text": "f"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"id": "x"}},
                {"type": "server_tool_use", "id": "u", "name": "web_search", "input": {}},
            ]
        },
    ),
    (
        Wire.OPENAI_CHAT,
        {"choices": [{"message": {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": '{"id":"x"}'}}]}}]},
    ),
    (
        Wire.OPENAI_RESPONSES,
        {"output": [{"type": "reasoning"}, {"type": "function_call", "name": "f", "arguments": '{"id":"x"}'}]},
    ),
    (Wire.OLLAMA, {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"id": "x"}}}]}}),
]


@pytest.mark.parametrize(("wire", "answer"), ANSWERS)
def test_calls_in_an_answer(wire: Wire, answer: dict[str, Any]) -> None:
    assert list(calls_in(wire, msgspec.json.encode(answer))) == [("f", {"id": "x"})]


def test_arguments_that_are_no_json() -> None:
    answer = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": '{"id":'}}]}}]}
    assert list(calls_in(Wire.OPENAI_CHAT, msgspec.json.encode(answer))) == [("f", None)]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"'])
@pytest.mark.parametrize("wire", list(Wire))
def test_what_cannot_be_read_is_told(wire: Wire, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(calls_in(wire, body))


@pytest.mark.parametrize("wire", list(Wire))
def test_odd_answers_hold_no_calls(wire: Wire) -> None:
    odd = {"content": [None, 3], "choices": [{"message": None}, 4], "output": "x", "message": {"tool_calls": [None]}}
    assert list(calls_in(wire, msgspec.json.encode(odd))) == []
