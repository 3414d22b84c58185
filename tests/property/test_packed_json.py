"""What packing promises for every JSON value: it comes back as it was written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask
from pennyweight.text.compression.codecs.json_ import packed, reduced, unpacked
from pennyweight.text.compression.records import Number, Value, compact, named, parse, parse_all, read, spelled, write
from pennyweight.text.compression.records.values import Style, dump, exactly_equal

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
    if not form.startswith("&"):  # a name of the writer's own would be taken for one of these; packed() looks
        assert spelled(named(form)) == form


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(values, min_size=1, max_size=5), st.dictionaries(keys, values, min_size=1, max_size=5)))
def test_any_value_comes_back_from_its_packed_form(value: Any) -> None:
    check(value)


@settings(max_examples=500, deadline=None)
@given(tables())
def test_any_table_comes_back_from_its_packed_form(value: Any) -> None:
    check(value)
    check([value] * 3)


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


def layouts(value: Any) -> st.SearchStrategy[str]:
    """A value as tools write it: JSON by Python, JavaScript, or pretty; numbers stay as they are."""
    return st.sampled_from(["c", "p", "pa", "2", "4a", "1"]).map(lambda name: dump(value, Style(name)))


@settings(max_examples=300, deadline=None)
@given(st.one_of(tables(), values).flatmap(layouts), st.sampled_from(["", "Exit code: 0\n", "Output:\n\n"]),
       st.sampled_from(["", "\n", "\n\n<system-reminder>10 left</system-reminder>"]), st.integers(1, 3))  # fmt: skip
def test_texts_come_back_with_what_stands_around_them(text: str, before: str, after: str, times: int) -> None:
    whole = before + "\n".join([text] * times) + after
    form = packed(whole)
    if form is None:
        return
    assert len(form) < len(whole)
    back = unpacked(form)
    if before or after.strip():
        assert times > 1 or back == before + compact(parse(text)) + after
    else:
        assert exactly_equal(list(parse_all(back)), [parse(text)] * times)


@settings(max_examples=150, deadline=None)
@given(st.lists(tables(), min_size=1, max_size=3), st.integers(1, 40), st.integers(40, 2_000), texts)
def test_json_stays_json_or_a_form_that_can_be_read_back(some: list[Any], times: int, room: int, query: str) -> None:
    text = compact(some * times)
    made = reduced(text, Ask(query), room, lambda what: f"[{what} left out: see above]")
    if made is None:
        return
    assert len(made.text) < len(text)
    back = parse(unpacked(made.text))
    assert isinstance(back, list)
    assert back[-1] == f"[{made.left_out} left out: see above]"


def test_pieces_said_often_are_said_once() -> None:
    leg = {"flight": "HAT039", "from": "ATL", "to": "SEA", "leaves": "22:00:00", "arrives": "03:00:00+1"}
    trips = [
        [{"flight": f"HAT{n}", "from": "JFK", "to": "ATL", "leaves": f"0{n}:00", "arrives": "x"}, leg] for n in range(9)
    ]
    form = named(write(parse(compact(json.loads(json.dumps(trips))))))
    assert form.startswith("&1 HAT039 ATL SEA 22:00:00 03:00:00+1\n")
    assert form.count("22:00:00") == 1
    assert compact(read(spelled(form))) == compact(json.loads(json.dumps(trips)))
    assert named('a "&1 and"\nb c') == 'a "&1 and"\nb c'
