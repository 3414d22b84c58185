"""Keys of arguments: equal content, equal key; other content, another. For tools' JSON and for functions' values."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.functions.key import Files, encode
from pennyweight.functions.values import Unstorable, codec
from pennyweight.tool_results.arguments import canonical
from pennyweight.wire.tool_results import exact

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
python_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


def turned(value: Any) -> Any:
    """The same, with every object's members in the other order."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in reversed(value.items())}
    return [turned(item) for item in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """As `==` compares it, but with types: 1, 1.0 and True are three, and NaN is NaN."""
    if isinstance(value, dict):
        return ("dict", frozenset((typed(key), typed(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(typed(item) for item in value))
    return (type(value).__name__, repr(value))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_spelling_of_json_does_not_matter(value: dict[str, Any]) -> None:
    plain = canonical(json.dumps(value))
    assert canonical(json.dumps(turned(value), ensure_ascii=False, indent=3).encode("utf-8", "surrogatepass")) == plain
    assert canonical(json.dumps(json.dumps(value))) == plain
    assert exact(plain.decode("utf-8", "surrogatepass")) == exact(json.dumps(value))  # and nothing is lost


@settings(max_examples=150, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_fractions_are_equal_when_they_are(one: Decimal, other: Decimal) -> None:
    def spelled(number: Decimal) -> bytes:
        return canonical(f'{{"n": {number:f}}}' if "." in f"{number:f}" else f'{{"n": {number:f}.0}}')

    same = one == other and one.is_signed() == other.is_signed()
    assert (spelled(one) == spelled(other)) is same


@settings(max_examples=200, deadline=None)
@given(python_values, python_values)
def test_values_have_one_key_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    files = Files()
    same = typed(one) == typed(other)
    assert (encode(one, "x", files) == encode(other, "x", files)) is same


def anything() -> Any: ...


@settings(max_examples=200, deadline=None)
@given(python_values)
def test_what_is_stored_comes_back_the_same_or_is_not_stored(value: Any) -> None:
    made = codec(anything)
    try:
        body = made.encode(value)
    except Unstorable:
        return
    assert typed(made.decode(body)) == typed(value)
