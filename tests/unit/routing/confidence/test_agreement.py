"""What counts as the same answer: other spellings of one thing do, and other things that look alike do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.confidence.agreement import agree, parts_alike, repeats, same_text, same_value
from pennyweight.routing.confidence.said import Asked, Said, ToolUse

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "default": 1},
        "unit": {"type": "string", "description": "The unit. Defaults to 'celsius'."},
        "exact": {"type": "boolean", "description": "Default is false."},
        "kind": {"enum": ["rain", "Rain"]},
        "size": {"type": "array", "items": {"type": "number"}},
        "where": {"$ref": "#/$defs/place"},
    },
    "required": ["city"],
    "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}, "far": {"default": 5}}}},
}
ASKED = Asked(tools={"weather": SCHEMA, "other": {}})


def calls(*arguments: Any, name: str = "weather") -> Said:
    return Said("", tuple(ToolUse(name, each) for each in arguments))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"city": "Oslo"}, {"city": " oslo "}),
        ({"city": "Oslo"}, {"city": "Oslo", "days": 1}),
        ({"city": "Oslo"}, {"city": "Oslo", "unit": "Celsius"}),
        ({"city": "Oslo"}, {"city": "Oslo", "exact": False, "size": []}),
        ({"city": "Oslo", "days": 3}, {"days": "3", "city": "Oslo"}),
        ({"city": "Oslo", "days": 3}, {"city": "Oslo", "days": 3.0}),
        ({"city": "Oslo", "exact": True}, {"city": "Oslo", "exact": "true"}),
        ({"city": "A, B"}, {"city": "a b"}),
        ({"city": "Oslo", "size": [1, 2]}, {"city": "Oslo", "size": ["1", 2.0]}),
        ({"city": "Oslo", "where": {"lat": 1}}, {"city": "Oslo", "where": {"lat": "1", "far": 5}}),
    ],
)
def test_other_ways_to_write_the_same_call(a: Any, b: Any) -> None:
    assert agree(calls(a), calls(b), ASKED).same is True
    assert agree(calls(b), calls(a), ASKED).same is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"city": "Oslo"}, {"city": "Bergen"}),
        ({"city": "Oslo"}, {"city": "Oslo", "days": 2}),
        ({"city": "Oslo", "days": 5}, {"city": "Oslo", "days": -5}),
        ({"city": "Oslo", "days": 3}, {"city": "Oslo", "days": True}),
        ({"city": "Oslo", "kind": "rain"}, {"city": "Oslo", "kind": "Rain"}),
        ({"city": "/a_b"}, {"city": "/a b"}),
        ({"city": "f(x)"}, {"city": "f x"}),
        ({"city": "get_user"}, {"city": "get user"}),
        ({"city": "v1.2"}, {"city": "v12"}),
        ({"city": "C++"}, {"city": "C"}),
        ({"city": "10%"}, {"city": "10"}),
        ({"city": "€5"}, {"city": "£5"}),
        ({"city": "👍"}, {"city": "👎"}),
        ({"city": "?"}, {"city": "!"}),
        ({"city": "5:30"}, {"city": "530"}),
        ({"city": "Oslo", "size": [1, 2]}, {"city": "Oslo", "size": [2, 1]}),
        ({"city": "Oslo"}, {}),
        ({"city": "Oslo", "days": 0.05}, {"city": "Oslo", "days": 5}),
        ({"city": "Oslo"}, None),
    ],
)
def test_other_calls(a: Any, b: Any) -> None:
    found = agree(calls(a), calls(b), ASKED)
    assert found.same is False
    assert found.share < 1.0


def test_the_order_of_calls_does_not_count_and_their_number_does() -> None:
    oslo, bergen = {"city": "Oslo"}, {"city": "Bergen"}
    assert agree(calls(oslo, bergen), calls(bergen, oslo), ASKED).same is True
    assert agree(calls(oslo, bergen), calls(oslo), ASKED).same is False
    assert agree(calls(oslo), calls(oslo, name="other"), ASKED).same is False
    assert agree(calls(oslo), calls(oslo, {"city": "oslo"}), ASKED).same is True
    assert repeats(calls(oslo, {"city": "oslo"}).calls, ASKED)
    assert not repeats(calls(oslo, bergen).calls, ASKED)


def test_in_part_is_told_by_its_share() -> None:
    alike = parts_alike(calls({"city": "Oslo", "days": 2}).calls, calls({"city": "Oslo", "days": 3}).calls, ASKED)
    assert 0.5 < alike < 1.0
    assert parts_alike((), (), ASKED) == 1.0


def test_a_call_and_words_are_not_the_same() -> None:
    assert agree(calls({"city": "Oslo"}), Said("It rains."), ASKED).same is False
    both = agree(Said("I do not know where you are, sorry to say so."), Said("Which town do you mean by that?"), ASKED)
    assert (both.same, both.kind) == (None, "no call")


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("B", "(b)", "choice"),
        ("42", "42.0", "number"),
        ("$1,234.50", "1234.5", "number"),
        ("Answer: 42", "The final answer is **42**.", "number"),
        ("So we add and get \\boxed{7}" + " because" * 40, "7", "number"),
        ("Paris.", "paris", "short"),
        ("x" * 300 + "\n#### 12", "12", "number"),
    ],
)
def test_short_answers_that_are_the_same(a: str, b: str, kind: str) -> None:
    found = same_text(a, b)
    assert (found.same, found.kind) == (True, kind)


@pytest.mark.parametrize(
    ("a", "b"),
    [("B", "C"), ("42", "43"), ("42", "-42"), ("Paris", "Lyon"), ("f(x)", "f x"), ("1e400", "1"), ("0", "O")],
)
def test_short_answers_that_are_not(a: str, b: str) -> None:
    assert same_text(a, b).same is False


@pytest.mark.parametrize("text", ["", "   ", "word " * 30, "one\ntwo"])
def test_of_longer_texts_nothing_is_claimed(text: str) -> None:
    assert same_text(text, text).same is None


def test_json_is_compared_by_its_values() -> None:
    form = Asked(form={"type": "object", "properties": {"n": {"type": "integer"}, "t": {"default": "x"}}})
    assert agree(Said('{"n": 1}'), Said('```json\n{"t": "x", "n": 1.0}\n```'), form).same is True
    assert agree(Said('{"n": 1}'), Said('{"n": 2}'), form).same is False
    assert agree(Said('{"n": 1}'), Said("one"), form).same is False
    assert agree(Said('["a"]'), Said('["A"]'), Asked()).same is True


def test_what_was_cut_or_refused_agrees_with_nothing() -> None:
    assert agree(Said("42", end="cut"), Said("42"), Asked()).same is False
    assert agree(Said("42"), Said("42", end="refused"), Asked()).same is False


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_likeness_is_symmetric_and_holds_for_equals(a: Any, b: Any) -> None:
    assert same_value(a, a)
    assert same_value(a, json.loads(json.dumps(a)))
    assert same_value(a, b) == same_value(b, a)
    one, other = calls({"city": a}), calls({"city": b})
    assert agree(one, other, ASKED) == agree(other, one, ASKED)
    assert agree(one, one, ASKED).same is True


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=400))
def test_texts_too(a: str, b: str) -> None:
    assert same_text(a, b) == same_text(b, a)
    assert same_text(a, a).same is not False


@settings(deadline=None)
@given(VALUES, VALUES)
def test_no_schema_breaks_it(value: Any, schema: Any) -> None:
    asked = Asked(tools={"weather": schema})
    agree(calls({"city": value}), calls({"city": value, "days": 1}), asked)
    same_value(value, 1, {"properties": schema, "items": schema, "type": schema, "description": schema})
