from __future__ import annotations

from typing import Any

import pytest
from bench.histories import trial
from hypothesis import given, settings
from hypothesis import strategies as st

import pennyweight
from pennyweight import compact
from pennyweight.errors import BadRequest
from pennyweight.request import Wire


def words(text: str) -> int:
    return len(text.split())


LONG = ".\n".join(f"The server {n} listens on port {8000 + n} of host h{n}" for n in range(60))


def chat(turns: int = 10) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "On which port does server 7 of log 2 listen?"},
    ]
    for number in range(turns):
        function = {"name": "read", "arguments": f'{{"path":"logs/{number}.txt"}}'}
        calls = [{"id": f"c{number}", "type": "function", "function": function}]
        found.append({"role": "assistant", "content": None, "tool_calls": calls})
        text = LONG.replace("server", f"server of log {number}:")
        found.append({"role": "tool", "tool_call_id": f"c{number}", "content": text})
    return found


def test_a_budget_is_kept_and_what_matters_stays() -> None:
    messages = chat()
    done = compact(messages, 4_500, count=words)
    assert done.tokens_after <= 4_500 < done.tokens_before
    assert done.messages[:2] == messages[:2]
    assert done.messages[-8:] == messages[-8:]
    assert len(done.levels) == len(messages)


def test_what_is_missing_can_be_had_back_by_its_name() -> None:
    messages = chat()
    done = compact(messages, 3_800, count=words)
    shortened = [m for m in done.messages if m["role"] == "tool" and "recall(" in m["content"]]
    assert shortened
    for message in shortened:
        name = message["content"].split('recall("')[1].split('"')[0]
        whole = next(m["content"] for m in messages if m.get("tool_call_id") == message["tool_call_id"])
        assert done.references[name] == whole


def test_without_references_nothing_is_promised() -> None:
    done = compact(chat(), 4_500, references=False, count=words)
    assert "recall(" not in str(done.messages)
    assert done.references == {}


def test_messages_that_fit_are_the_very_objects() -> None:
    messages = chat(2)
    done = compact(messages, 100_000, count=words)
    assert all(a is b for a, b in zip(messages, done.messages, strict=True))
    assert set(done.levels) == {"verbatim"}


def test_small_talk_goes_first() -> None:
    talk = [
        {"role": "user", "content": "Thanks!"},
        {"role": "assistant", "content": "You're welcome! Have a great day!"},
    ]
    whole = chat()
    said = {"role": "assistant", "content": "Server 7 listens on 8007."}
    messages = [*whole[:10], said, *talk, {"role": "user", "content": "Go on with server 8."}, *whole[10:]]
    done = compact(messages, done_budget(messages), count=words)
    assert [done.levels[11], done.levels[12]] == ["dropped", "dropped"]
    assert "dropped" not in done.levels[:11]


def done_budget(messages: list[dict[str, Any]]) -> int:
    return sum(words(str(m.get("content") or "")) for m in messages) - 5


def test_signed_reasoning_and_what_stands_before_it_stay() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Find the port."}]
    for number in range(10):
        use = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"path": str(number)}}
        thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
        messages.append({"role": "assistant", "content": [thought, use] if number == 6 else [use]})
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": f"{number} {LONG}"}
        messages.append({"role": "user", "content": [result]})
    done = compact(messages, 100, keep_turns=1, count=words)
    assert done.messages[:14] == messages[:14]
    assert "verbatim" not in done.levels[15:17:2]


def test_a_call_without_a_result_is_passed_as_it_is() -> None:
    messages = chat()
    del messages[5]
    done = compact(messages, 10, count=words)
    assert messages[4] in done.messages


@pytest.mark.parametrize("wire", [None, "anthropic_messages"])
def test_what_is_no_json_is_refused_with_words(wire: str | None) -> None:
    with pytest.raises(BadRequest):
        compact([{"role": "user", "content": object()}], 10, wire=wire)


def test_protocols_are_told_by_their_messages() -> None:
    items = [
        {"role": "user", "content": "Go."},
        *(
            item
            for n in range(8)
            for item in (
                {"type": "function_call", "call_id": f"c{n}", "name": "read", "arguments": "{}"},
                {"type": "function_call_output", "call_id": f"c{n}", "output": f"{n} {LONG}"},
            )
        ),
    ]
    done = compact(items, 3_200, count=words)
    assert done.tokens_after <= 3_200
    assert compact(items, 3_200, wire=Wire.OPENAI_RESPONSES, count=words).messages == done.messages


def test_it_is_offered_to_programs() -> None:
    assert pennyweight.compact is compact
    assert pennyweight.Compacted.__name__ == "Compacted"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**12))
def test_whatever_the_history_nothing_breaks(seed: int) -> None:
    found = trial(seed)
    assert {name for name in found if name not in ("histories", "changed", "before", "after")} == set()
