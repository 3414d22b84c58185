"""Where conversations are, what they owe, and which models count alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.gate_rig import RATES, count

from pennyweight.call import Target
from pennyweight.economy import apart
from pennyweight.economy.foreseen import Rates
from pennyweight.economy.journeys import Journey, Journeys, is_open
from pennyweight.economy.switching import owed, same_tokens
from pennyweight.money import Price
from pennyweight.prefix import Blocks, Chain
from pennyweight.request import DELETE, Edit, Request, Wire
from pennyweight.warmth import Forecast

HERE, THERE = Target("p", "strong", Wire.OPENAI_CHAT), Target("p", "cheap", Wire.OPENAI_CHAT)
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "t", "content": "r"}


def user(text: str = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


def chain(*messages: dict[str, Any], wire: Wire = Wire.OPENAI_CHAT) -> Chain:
    name = "input" if wire is Wire.OPENAI_RESPONSES else "messages"
    return Blocks(count=count).chain(Request(wire, json.dumps({"model": "auto", name: messages}).encode()))


@pytest.mark.parametrize(
    ("messages", "open_"),
    [
        ([user()], False),
        ([user(), CALL, RESULT], True),
        ([user(), CALL, RESULT, user("<note of the client>")], True),
        ([user(), CALL, RESULT, {"role": "assistant", "content": "done"}, user()], False),
        ([user(), {"role": "assistant", "content": "I will"}], True),
        ([user(), CALL], True),
        ([{"role": "system", "content": "s"}, user()], False),
    ],
)
def test_a_tool_loop_is_open_until_the_model_has_said_more(messages: list[dict[str, Any]], open_: bool) -> None:
    assert is_open(chain(*messages)) is open_


def test_items_of_responses() -> None:
    called = {"type": "function_call", "call_id": "t", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "t", "output": "r"}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]}
    wire = Wire.OPENAI_RESPONSES
    assert not is_open(chain(user(), wire=wire))
    assert is_open(chain(user(), called, wire=wire))
    assert is_open(chain(user(), called, result, wire=wire))
    assert not is_open(chain(user(), called, result, said, user(), wire=wire))
    text = Blocks(count=count).chain(Request(wire, b'{"model":"auto","input":"hi"}'))
    assert not is_open(text)
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    assert chain(user(), reasoning, said, user(), wire=wire).bound
    assert not chain(user(), {**reasoning, "encrypted_content": None}, said, user(), wire=wire).bound


def test_a_conversation_is_found_by_what_it_goes_on_with() -> None:
    journey = Journey()
    first = chain(user("a"))
    journey.went(first, b"k", THERE, 5.0, 300.0, chore=False)
    other = chain(user("b"))
    journey.went(other, b"sub", HERE, 0.0, 0.0, chore=False)
    answered = {"role": "assistant", "content": "x"}
    assert journey.at(chain(user("a"), answered, user("c")), b"k") == (THERE, True)
    assert journey.at(chain(user("b"), answered, user("c")), b"sub") == (HERE, True)
    assert journey.at(chain(user("changed"), answered, user("c")), b"k") == (THERE, False)
    assert journey.at(chain(user("new")), b"nobody") == (None, False)


def test_a_wake_leaves_the_conversation_where_it_is() -> None:
    journey = Journey()
    journey.went(chain(user("a")), b"k", HERE, 0.0, 0.0, chore=False)
    journey.went(chain(user("a"), user("wake")), b"k", THERE, 5.0, 300.0, chore=True)
    assert journey.at(chain(user("a"), {"role": "assistant", "content": "x"}, user("b")), b"k") == (HERE, True)
    assert journey.at(chain(user("trimmed")), b"k") == (HERE, False)


def test_what_is_owed_lapses_with_the_cache() -> None:
    journey = Journey()
    for number in range(3):
        journey.went(chain(user(str(number))), b"%d" % number, THERE, 5.0, 100.0 * number, chore=False)
    assert journey.owed_beside(b"2", 50.0) == 5.0
    assert journey.owed_beside(b"0", 50.0) == 10.0
    assert journey.owed_beside(b"0", 250.0) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    journey = Journey()
    for number in range(200):
        journey.went(chain(user(str(number))), b"%d" % number, THERE, 1.0, 1e9, chore=False)
    assert (len(journey.tips), len(journey.last), len(journey.owed)) == (64, 32, 32)
    journeys = Journeys(sessions=2)
    for name in ("a", "b", "a", "c"):
        journeys.begin(name)
    assert [journeys.of(name) is not None for name in ("a", "b", "c")] == [True, False, True]


def test_what_is_owed_is_what_would_be_written_and_not_read() -> None:
    rates = Rates(Price(RATES), 1.0)
    would_be = Forecast(2_000.0, 0.0, 2_000.0, 0.0, 0.0, 0.0, 0, 2_000.0, 300.0)
    gone = Forecast(2_000.0, 0.0, 2_000.0, 0.0, 0.0, 0.0, 0, 2_000.0, 300.0)
    kept = Forecast(2_000.0, 1_500.0, 0.0, 0.0, 0.99, 1_500.0, 3, 2_000.0, 300.0, ttl_s=300.0)
    day = Forecast(2_000.0, 1_500.0, 0.0, 0.0, 0.99, 1_500.0, 3, 2_000.0, 86_400.0, ttl_s=86_400.0)
    write, read, plain = 3_750_000, 300_000, 3_000_000
    assert owed(would_be, gone, "explicit", rates) == 2_000 * (write - read)
    assert owed(would_be, kept, "explicit", rates) == 2_000 * (write - read), "it may lapse before the next call"
    assert owed(would_be, day, "automatic", rates) == 500 * (plain - read)
    assert owed(would_be, gone, "explicit", None) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("claude-opus-4-6", "anthropic/claude-haiku-4-5-20251001", True),
        ("claude-sonnet-4-20250514", "claude-haiku-4-5", True),
        ("claude-opus-4-7", "claude-haiku-4-5", False),
        ("claude-opus-4.8", "claude-opus-5", True),
        ("gpt-5", "gpt-5-nano", True),
        ("gpt-4o", "o3-mini", True),
        ("gpt-4", "gpt-5", False),
        ("gpt-4-turbo", "gpt-3.5-turbo", True),
        ("MiniMax-M2", "MiniMax-M2", True),
        ("MiniMax-M2", "MiniMax-M3", False),
        ("claude-opus-4-6", "gpt-5", False),
    ],
)
def test_models_that_count_the_same_tokens(one: str, other: str, alike: bool) -> None:
    assert same_tokens(one, other) is same_tokens(other, one) is alike


def test_what_goes_with_thinking_is_left_out_elsewhere() -> None:
    def edits(wire: Wire = Wire.ANTHROPIC_MESSAGES, **fields: Any) -> list[Edit]:
        return list(apart(Request(wire, json.dumps({"model": "auto", "messages": [user()], **fields}).encode())))

    assert edits() == edits(thinking={"type": "disabled"}) == []
    assert edits(thinking={"type": "adaptive"}) == [Edit(("thinking",), DELETE)]
    assert edits(output_config={"effort": "low"}) == [Edit(("output_config", "effort"), DELETE)]
    assert edits(Wire.OPENAI_CHAT, thinking={"type": "enabled"}) == []
    assert edits(output_config="odd") == []
