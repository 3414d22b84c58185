"""What is wrong with values by a JSON Schema, and that no schema makes it fail or run for ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.effort import within

from pennyweight.routing.confidence.schema import kind_of, wrong


@pytest.mark.parametrize(
    ("value", "schema", "said"),
    [
        ({}, {"required": ["a"]}, "a is missing"),
        ({"a": {"b": "x"}}, {"properties": {"a": {"properties": {"b": {"type": "integer"}}}}}, "a.b is no integer"),
        ({"a": 1}, {"properties": {}, "additionalProperties": False}, "not known"),
        ({"a": "x"}, {"additionalProperties": {"type": "number"}}, "*"),
        ([1, "x"], {"items": {"type": "number"}}, "[] is no number"),
        ([1], {"minItems": 2}, "too few"),
        ([1, 1], {"uniqueItems": True}, "twice"),
        (["a", 1], {"prefixItems": [{"type": "number"}]}, "no number"),
        ("c", {"enum": ["a", "b"]}, "none of the values"),
        ("c", {"const": "a"}, "not the value"),
        ("abc", {"maxLength": 2}, "too long"),
        ("abc", {"pattern": "^x"}, "pattern"),
        (5, {"maximum": 4}, "range"),
        (5, {"exclusiveMinimum": 5}, "range"),
        (True, {"type": "integer"}, "no integer"),
        (1.5, {"type": "integer"}, "no integer"),
        (None, {"type": ["string", "integer"]}, "no integer or string"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "none of the forms"),
        (1, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "exactly one"),
        (1, {"allOf": [{"minimum": 2}]}, "range"),
        (1, {"not": {"type": "integer"}}, "not allowed"),
        (
            {"a": "x"},
            {"$defs": {"n": {"type": "number"}}, "properties": {"a": {"$ref": "#/$defs/n"}}},
            "a is no number",
        ),
        (1, False, "must not be there"),
        ({"a": "x"}, {"type": "dict", "properties": {"a": {"type": "float"}}}, "a is no number"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(value: Any, schema: Any, said: str) -> None:
    found = list(wrong(value, schema))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 1, "b": 2}, {"required": ["a"], "properties": {"a": {"type": "integer"}}}),
        (2.0, {"type": "integer"}),
        (None, {"type": ["string", "null"]}),
        ({"a": [{"b": 1}]}, {"properties": {"a": {"items": {"required": ["b"]}}}}),
        ({"next": {"next": {}}}, {"$ref": "#", "properties": {"next": {"$ref": "#"}}}),
        ("x", {"type": "any"}),
        ("x", True),
        (1, {"type": "number", "minimum": 1, "maximum": 1}),
        ("x", {"pattern": "(a+)+$"}),
        ("x", {"pattern": "("}),
        ({"a": 1}, {"patternProperties": {"^a": {}}, "additionalProperties": False}),
    ],
)
def test_what_fits_or_cannot_be_told_is_not_complained_of(value: Any, schema: Any) -> None:
    assert list(wrong(value, schema)) == []


def test_the_words_of_a_complaint_hold_no_value() -> None:
    assert "secret" not in str(list(wrong({"k": "secret"}, {"properties": {"k": {"type": "integer", "enum": [1]}}})))


def test_a_schema_that_goes_in_circles_ends() -> None:
    circle = {"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}]}
    wide = {"$ref": "#/$defs/a", "$defs": {"a": circle | {"$ref": "#/$defs/b"}, "b": circle}}
    assert within(2.0, lambda: list(wrong({"a": 1}, wide)))
    deep = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}
    assert within(2.0, lambda: list(wrong(1, deep)))


def test_kinds_have_one_name() -> None:
    assert kind_of({"type": ["integer", "null"]}) == "integer"
    assert kind_of({"type": ["integer", "string"]}) == ""
    assert kind_of({"type": "dict"}) == "object"
    assert kind_of(None) == kind_of({"type": 7}) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["type", "enum", "const", "properties", "required", "items", "anyOf", "oneOf", "allOf", "not", "$ref", "pattern",
     "minimum", "maxLength", "minItems", "additionalProperties", "prefixItems", "uniqueItems"]
)  # fmt: skip


@settings(deadline=None)
@given(JSON, st.recursive(JSON, lambda inner: st.dictionaries(KEYS, inner | st.lists(inner, max_size=3)), max_leaves=8))
def test_no_schema_raises(value: Any, schema: Any) -> None:
    assert all(isinstance(what, str) for what in wrong(value, schema))
