"""Editing JSON5 by its text: what is merged reads back, and nothing else moves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.cli.connect import json5

scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=12
)
objects = st.dictionaries(st.sampled_from("abcdef"), values, max_size=4)


@settings(max_examples=150, deadline=None)
@given(old=objects, new=objects, indent=st.sampled_from([None, 2, 4, "\t"]), ascii=st.booleans())
def test_a_merge_reads_back_and_is_idempotent(
    old: dict[str, Any], new: dict[str, Any], indent: Any, ascii: bool
) -> None:
    text = json.dumps(old, indent=indent, ensure_ascii=ascii)
    assert json5.load(text).value == old
    once = json5.merge(text, new)
    assert json5.load(once).value == json5.merged(old, new)
    assert json.loads(once) == json5.merged(old, new)  # plain JSON stays plain JSON
    assert json5.merge(once, new) == once


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: +.5, $b: 'x\\'y', _c: 0x1F, }", {"a": 0.5, "$b": "x'y", "_c": 31}),
        ("[-Infinity, 5., 1e3, -0x10]", [float("-inf"), 5.0, 1000.0, -16]),
        ("// c\n{/* d */ a /* e */ : /* f */ 1 // g\n}\n// h", {"a": 1}),
        ('{"a": "\\u00e9\\ud83d\\ude00\\x41\\\n."}', {"a": "é😀A."}),
        ('{"a": "http://x/*y*/"}', {"a": "http://x/*y*/"}),
        ("\ufeff{}", {}),
        ("[1, [2,], {},]", [1, [2], {}]),
        ("null", None),
    ],
)  # fmt: skip
def test_it_reads_json5(text: str, value: Any) -> None:
    assert json5.load(text).value == value


@pytest.mark.parametrize(
    "text", ["", "{", "{a:}", "{a:1 b:2}", "{1a: 2}", "{a:1}}", "[1", "'x", "{a:1,a:2}", "{a: 01}", "[,]", "{a: nullx}"]
)
def test_it_refuses_what_is_no_json5(text: str) -> None:
    with pytest.raises(ValueError):
        json5.load(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="nesting"):
        json5.load("[" * 10_000)


def test_an_error_names_its_line() -> None:
    with pytest.raises(ValueError, match="line 3"):
        json5.load('{\n"a": 1,\n"b" 2\n}')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n  "z": 1, // last\n}\n', '{\n  "z": 1, // last\n  "a": {\n    "b": 1\n  },\n}\n'),
        ('{\n  "z": 1 // last\n}\n', '{\n  "z": 1, // last\n  "a": {\n    "b": 1\n  }\n}\n'),
        ("{\n    a: {\n        c: 2\n    }\n}", '{\n    a: {\n        c: 2,\n        "b": 1\n    }\n}'),
        ('{"z": 1}', '{"z": 1, "a": {"b": 1}}'),
        ("{ a: { b: 0, c: 2 } }", "{ a: { b: 1, c: 2 } }"),
        ("{ a: {} }", '{ a: {\n  "b": 1\n} }'),
        ("{\r\n\t// c\r\n}", '{\r\n\t// c\r\n  "a": {\r\n    "b": 1\r\n  }\r\n}'),
        ("", '{\n  "a": {\n    "b": 1\n  }\n}\n'),
    ],
)  # fmt: skip
def test_it_writes_in_the_style_that_is_there(before: str, after: str) -> None:
    assert json5.merge(before, {"a": {"b": 1}}) == after


def test_lists_of_things_with_ids_are_merged_by_id() -> None:
    text = '{m: [\n  {id: "x", n: 1},\n  {id: "y", n: 2}, // mine\n]}'
    after = json5.merge(text, {"m": [{"id": "y", "n": 3}, {"id": "z"}]})
    assert json5.load(after).value == {"m": [{"id": "x", "n": 1}, {"id": "y", "n": 3}, {"id": "z"}]}
    assert "// mine" in after
