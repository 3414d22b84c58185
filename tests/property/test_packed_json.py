"""What packing promises for every JSON value: it comes back as it was written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression.records import Number, Value, compact, parse, parse_all, read, write
from pennyweight.text.compression.records.values import exactly_equal

numbers = st.sampled_from(
    ["0", "-0", "1", "1.0", "1.00", "-0.0", "1e5", "1E+05", "12345678901234567890", "0.1", "7447", "NaN", "-Infinity"]
).map(Number)
ODD = """ |-|--|---|----|- a|=x|=|null|true|007|1.5|-1|a;b|a,b|a b|[]|{}|[1]|{"a":1}|"q"|key|key |it's|é|日本|x\ty|a\rb
    |\u2028|\x85| lead|trail |[{"type": "text", "text": "some longer text"}]|{"a":[1,2,3],"b":{"c":"dddddddd"}}
    |a:b|(x)|New York City    |{\n  "name": "someone",\n  "count": 12\n}|--flag|-5x|https://a.b/c?d=e&f=g|a\nb|a\n|\n\n
    |a long text of several lines, one\nafter the other,\n  to be read as they are""".replace("\n    |", "|").split("|")
odd = st.sampled_from(["", "|", "|2", "\ud800", *ODD])
texts = st.one_of(odd, st.text(max_size=12))
keys = st.one_of(st.sampled_from(["id", "key", "name", "a", "b", "c", "x y", "-", "", "a:b", "$ref", "1", "é"]), texts)
scalars = st.one_of(texts, numbers, st.booleans(), st.none())
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)


def row(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of a table: some members absent."""
    return st.lists(st.booleans(), min_size=len(members), max_size=len(members)).flatmap(
        lambda there: st.fixed_dictionaries({n: s for (n, s), t in zip(members.items(), there, strict=True) if t})
    )


@st.composite
def tables(draw: st.DrawFn) -> Any:
    inner = dict.fromkeys(draw(st.lists(keys, unique=True, min_size=1, max_size=3)), scalars)
    same = draw(scalars)
    kinds = st.sampled_from(
        [scalars, texts, numbers, st.just(same), row(inner), st.lists(row(inner), max_size=3),
         st.lists(scalars, max_size=3), st.dictionaries(keys, row(inner), max_size=3),
         st.lists(st.lists(row(inner), max_size=2), max_size=2)]
    )  # fmt: skip
    members = {name: draw(kinds) for name in draw(st.lists(keys, unique=True, min_size=1, max_size=5))}
    one = draw(st.sampled_from([st.fixed_dictionaries(members), row(members), st.one_of(row(members), values)]))
    if draw(st.booleans()):
        return draw(st.lists(one, min_size=1, max_size=6))
    mapped = draw(st.dictionaries(keys, one, min_size=2, max_size=5))
    if draw(st.booleans()):
        mapped = {key: {"id": key, **member} if isinstance(member, dict) else member for key, member in mapped.items()}
    return mapped


def check(value: Value) -> None:
    form = write(value)
    assert exactly_equal(read(form), value), form


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(values, min_size=1, max_size=5), st.dictionaries(keys, values, min_size=1, max_size=5)))
def test_any_value_comes_back_from_its_packed_form(value: Any) -> None:
    check(value)


@settings(max_examples=500, deadline=None)
@given(tables())
def test_any_table_comes_back_from_its_packed_form(value: Any) -> None:
    check(value)


@settings(max_examples=200, deadline=None)
@given(values)
def test_what_is_parsed_is_dumped_as_it_was_written(value: Any) -> None:
    text = compact(value)
    assert exactly_equal(parse(text), value)
    if "NaN" not in text and "Infinity" not in text:
        assert compact(parse(json.dumps(json.loads(text)))) == compact(
            parse(json.dumps(json.loads(compact(parse(text)))))
        )


def test_several_values_are_read_line_by_line() -> None:
    assert parse_all('{"a":1}\n{"a":2.0}\n') == [{"a": Number("1")}, {"a": Number("2.0")}]
