"""When a wake's marks pay, and that nothing but marks is taken off."""

from __future__ import annotations

import msgspec
import pytest

from pennyweight.optimizers.heartbeat.marks import Habits, ends_soon, places, ttl_of, unmarked


def after(*steps: str) -> Habits:
    habits = Habits()
    for step in steps:
        habits = habits.after(step)  # type: ignore[arg-type]
    return habits


def test_nothing_known_leaves_five_minute_marks_alone() -> None:
    assert not ends_soon(Habits(), "5m")


def test_one_wake_that_ended_at_once_is_enough() -> None:
    assert ends_soon(after("single"), "5m")


def test_wakes_that_call_tools_keep_their_marks() -> None:
    assert not ends_soon(after("several"), "5m")
    assert not ends_soon(after("single", "several"), "5m")
    assert not ends_soon(after("single", "single", "several"), "5m")
    assert ends_soon(after("single", "single", "single", "single", "single", "several"), "5m")


def test_an_hours_write_is_dearer_so_it_is_dropped_sooner() -> None:
    assert ends_soon(Habits(), "1h")
    assert ends_soon(after("single", "several"), "1h")
    assert not ends_soon(after("several", "several"), "1h")


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_the_rule_is_the_expectation(ttl: str) -> None:
    """Dropping a mark of N tokens: saves (w - 1) N if the wake ends, costs (1 - r) N if it goes on."""
    write = {"5m": 1.25, "1h": 2.0}[ttl]
    for several in range(8):
        habits = after(*["several"] * several, *["single"] * 8)
        p = habits.goes_on
        keep = (1 - p) * write + p * (write + 0.1)
        drop = (1 - p) * 1.0 + p * (1.0 + write)
        assert ends_soon(habits, ttl) == (drop < keep)


def test_old_habits_fade() -> None:
    habits = after(*["several"] * 200)
    assert habits.several + habits.single <= 33
    for _ in range(200):
        habits = habits.after("single")
    assert ends_soon(habits, "5m")


def test_only_marks_go() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    message = {
        "role": "user",
        "content": [
            {"type": "text", "text": 'say "cache_control": {}', "cache_control": mark},
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "text", "text": "x", "cache_control": mark}],
                "cache_control": mark,
            },
            {"type": "tool_use", "id": "u", "name": "f", "input": {"cache_control": "kept", "content": [1]}},
        ],
    }
    bare = msgspec.json.decode(unmarked(msgspec.json.encode(message)))
    assert bare["content"][0] == {"type": "text", "text": 'say "cache_control": {}'}
    assert bare["content"][1] == {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "text", "text": "x"}],
    }
    assert bare["content"][2] == message["content"][2]


def test_without_marks_bytes_stay() -> None:
    raw = b'{ "role" : "user", "content" : 1.50 }'
    assert unmarked(raw) is raw
    assert ttl_of(raw) is None
    assert places([raw, b'{"cache_control":{}}'], 0) == [1]


def test_ttl() -> None:
    assert ttl_of(b'{"cache_control":{"type":"ephemeral"}}') == "5m"
    assert ttl_of(b'{"cache_control":{"type":"ephemeral","ttl":"1h"}}') == "1h"
