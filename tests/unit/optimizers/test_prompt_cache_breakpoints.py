"""OpenAI from GPT-5.6 on: writes are billed, and found at breakpoints only. Ours stand where the end comes not back."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from tests.unit.optimizers.loops import House, count, words

from pennyweight.call import Target
from pennyweight.prefix import Blocks
from pennyweight.request import Request, Wire
from pennyweight.testing.prefix_cache import PrefixCache

SOL = "gpt-5.6-sol"
CHAT, RESPONSES = Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES
HERE = {"mode": "explicit"}


def sessions(wire: Wire, calls: int = 14, *, end: str = "", early: bool = False) -> list[dict[str, Any]]:
    """A tool loop. end: "transient" for a last message that is gone in the next call. early: message 1 is rewritten."""
    found = []
    for number in range(calls):
        said = [{"role": "user", "content": f"Look{f', it is call {number}' if early else ''}."}]
        items = [] if wire is RESPONSES else [{"role": "system", "content": words(900, "rule")}]
        items += said
        for turn in range(number):
            items += _turn(wire, turn)
        if end:
            items.append({"role": "user", "content": words(40, f"now{number}x")})
        body: dict[str, Any] = {"model": SOL, "input" if wire is RESPONSES else "messages": items}
        if wire is RESPONSES:
            body["instructions"] = words(900, "rule")
        found.append(body)
    return found


def _turn(wire: Wire, turn: int) -> list[dict[str, Any]]:
    result, name = words(300, f"r{turn}x"), f"c{turn}"
    if wire is RESPONSES:
        return [
            {"type": "function_call", "call_id": name, "name": "t", "arguments": "{}"},
            {"type": "function_call_output", "call_id": name, "output": result},
        ]
    call = {"id": name, "type": "function", "function": {"name": "t", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": name, "content": result},
    ]


def breakpoints(body: dict[str, Any]) -> list[int]:
    """The items of the conversation that have one."""
    items = body.get("messages") or body["input"]
    return [place for place, item in enumerate(items) if b"prompt_cache_breakpoint" in msgspec.json.encode(item)]


def plain(body: dict[str, Any]) -> Any:
    """As a model reads it."""
    value = copy.deepcopy(body)
    value.pop("prompt_cache_key", None)
    for item in value.get("messages") or value["input"]:
        for holder in ("content", "output"):
            for part in item[holder] if isinstance(item.get(holder), list) else ():
                part.pop("prompt_cache_breakpoint", None)
            if isinstance(item.get(holder), list) and len(item[holder]) == 1:
                item[holder] = item[holder][0]["text"]
    return value


@pytest.mark.parametrize("wire", [CHAT, RESPONSES])
def test_a_conversation_that_only_grows_needs_a_key_and_no_breakpoint(wire: Wire) -> None:
    house = House()
    for call in house.run(sessions(wire), wire=wire):
        assert breakpoints(call.request.body) == []
        assert "prompt_cache_key" in call.request.body
    assert house.paid == house.asked
    assert house.usages[-1].cache_read_tokens > 0.8 * house.usages[-1].input_tokens


@pytest.mark.parametrize("wire", [CHAT, RESPONSES])
def test_where_the_end_comes_not_again_the_block_before_it_is_marked(wire: Wire) -> None:
    house = House()
    sent = house.run(sessions(wire, end="transient"), wire=wire)
    assert house.paid < 0.5 * house.asked
    for call in sent:
        body = call.request.body
        assert len(breakpoints(body)) <= 3  # with the implicit one they are four
        assert len(body.get("messages") or body["input"]) - 1 not in breakpoints(body)
        assert plain(body) == plain(call.original.body)
    last = sent[-1].request.body
    assert breakpoints(last)[-1] == len(last.get("messages") or last["input"]) - 2
    assert last["prompt_cache_key"]


def test_where_an_early_message_is_rewritten_the_system_prompt_is_marked() -> None:
    house = House()
    sent = house.run(sessions(CHAT, early=True), wire=CHAT)
    assert all(0 in breakpoints(call.request.body) for call in sent[1:])
    assert house.paid < 0.8 * house.asked


@pytest.mark.parametrize("end", ["", "transient"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("gap_s", [5.0, 1_000.0, 2_000.0, 90_000.0])
@pytest.mark.parametrize("wire", [CHAT, RESPONSES])
def test_nothing_gets_dearer(wire: Wire, gap_s: float, early: bool, end: str) -> None:
    house = House()
    house.run(sessions(wire, end=end, early=early), wire=wire, gap_s=gap_s)
    assert house.paid <= 1.001 * house.asked


def test_the_callers_own_breakpoints_and_mode_are_left_alone() -> None:
    own = sessions(CHAT, end="transient")
    for body in own:
        body["messages"][0]["content"] = [
            {"type": "text", "text": body["messages"][0]["content"], "prompt_cache_breakpoint": HERE}
        ]
    for call in House().run(own, wire=CHAT):
        assert call.request.body["messages"][0] == call.original.body["messages"][0]
        assert len(breakpoints(call.request.body)) <= 3
    for mode in ("explicit", "implicit"):
        bodies = [{**body, "prompt_cache_options": {"mode": mode}} for body in own]
        for call in House().run(bodies, wire=CHAT):
            assert breakpoints(call.request.body) == [0]


@pytest.mark.parametrize(
    "target",
    [
        Target("openrouter", "openai/gpt-5.6-sol", CHAT),
        Target("azure", SOL, CHAT),
        Target("openai", SOL, RESPONSES),  # it crosses, and the field would be lost
        Target("openai", "gpt-5.5", CHAT),
    ],
)
def test_no_breakpoint_for_others(target: Target) -> None:
    bodies = [{**body, "model": target.model} for body in sessions(CHAT, end="transient")]
    for call in House().run(bodies, wire=CHAT, target=target):
        assert breakpoints(call.request.body) == []


@pytest.mark.parametrize("wire", [CHAT, RESPONSES])
def test_a_chain_sees_breakpoints_and_reads_the_same_without(wire: Wire) -> None:
    sent = House().run(sessions(wire, end="transient"), wire=wire)[-1]
    ours, theirs = (Blocks(count=count).chain(request) for request in (sent.request, sent.original))
    fresh = Blocks(count=count).chain(Request(wire, sent.request.raw))
    assert [segment.digest for segment in ours] == [segment.digest for segment in theirs]
    assert [segment.mark for segment in fresh] == [segment.mark for segment in ours]
    assert sum(segment.mark != "" for segment in fresh) == len(breakpoints(sent.request.body))


# --- the model of that cache --------------------------------------------------------------------------------------


def account(*bodies: dict[str, Any], gap_s: float = 5.0) -> list[tuple[int, int]]:
    """(read, written) of each call."""
    cache = PrefixCache(count)
    usages = [cache.account(CHAT, body, at=1e9 + gap_s * number) for number, body in enumerate(bodies)]
    return [(usage.cache_read_tokens, usage.cache_write_5m_tokens) for usage in usages]


def test_the_newest_message_is_written_and_found_again() -> None:
    first, second = sessions(CHAT, 2)
    (read, written), (again, more) = account(first, second)
    assert (read, again) == (0, written)
    assert written > 1_024
    assert more > 0


def test_nothing_is_found_where_no_breakpoint_stands() -> None:
    first, second = sessions(CHAT, 2, end="transient")
    (_, written), (again, more) = account(first, second)
    assert again == 0
    assert more > written


def test_a_mark_is_found_where_the_end_is_another() -> None:
    first, second = sessions(CHAT, 2, end="transient")
    unmarked = copy.deepcopy(second)
    for body in (first, second):
        text = body["messages"][0]["content"]
        body["messages"][0]["content"] = [{"type": "text", "text": text, "prompt_cache_breakpoint": HERE}]
    assert account(first, second)[1][0] == count(words(900, "rule"))
    assert account(first, unmarked)[1][0] == 0  # a shorter prefix is not fallen back to


def test_entries_live_for_half_an_hour_and_short_prompts_are_not_written() -> None:
    first, second = sessions(CHAT, 2)
    assert account(first, second, gap_s=1_799)[1][0] > 0
    assert account(first, second, gap_s=1_801)[1][0] == 0
    short = {"model": SOL, "messages": [{"role": "user", "content": "hi"}]}
    assert account(short, short) == [(0, 0), (0, 0)]


def test_older_models_find_any_prefix_and_are_billed_no_writes() -> None:
    first, second = ({**body, "model": "gpt-5.5"} for body in sessions(CHAT, 2, end="transient"))
    (_, written), (again, more) = account(first, second)
    assert again > 1_024
    assert (written, more) == (0, 0)


def test_explicit_mode_writes_at_marks_only() -> None:
    first, second = ({**body, "prompt_cache_options": HERE} for body in sessions(CHAT, 2))
    assert account(first, second) == [(0, 0), (0, 0)]
