from __future__ import annotations

import json

import pytest

from pennyweight.text.templates.filling import Doubt, Filler, Swap, fill, is_json


@pytest.mark.parametrize(
    ("text", "swaps", "expected"),
    [
        ("EECS 281 is hard.", [("EECS", "MATH"), ("281", "9")], "MATH 9 is hard."),
        ("See EECS; EECS!", [("EECS", "MATH")], "See MATH; MATH!"),
        ("a b", [("a", "b"), ("b", "a")], "b a"),
        ("x.* costs 3", [("x.*", "y+$")], "y+$ costs 3"),
        ("naïve Zoë", [("Zoë", "Łukasz")], "naïve Łukasz"),
        ("from 1 to 10", [("1", "2"), ("10", "30")], "from 2 to 30"),
    ],
)
def test_values_are_exchanged_all_at_once(text: str, swaps: list[tuple[str, str]], expected: str) -> None:
    assert fill(text, [Swap(*swap) for swap in swaps]) == expected


@pytest.mark.parametrize(
    "value", ['say "hi"', "two\nlines", "back\\slash", "tab\tand é", "null", "a\u2028b", "emoji 😀", '","x":"', "${a}"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_in_json_values_are_written_as_json_has_them(value: str, ascii_only: bool) -> None:
    answer = json.dumps({"who": "Bob", "said": ["it was Bob", 3]}, ensure_ascii=ascii_only)
    filled = fill(answer, [Swap("Bob", value)])
    assert json.loads(filled) == {"who": value, "said": [f"it was {value}", 3]}
    assert json.loads(fill(json.dumps({"who": value}, ensure_ascii=ascii_only), [Swap(value, "Bob")])) == {"who": "Bob"}


def test_a_value_behind_an_escape_sequence_stands_by_itself() -> None:
    assert fill(json.dumps({"a": "x\nBob\tBob"}), [Swap("Bob", "Ann")]) == json.dumps({"a": "x\nAnn\tAnn"})
    assert fill(json.dumps({"a": "\u2014Bob"}), [Swap("Bob", "Ann")]) == json.dumps({"a": "\u2014Ann"})
    with pytest.raises(Doubt, match="longer word"):
        fill(json.dumps({"a": "éBob"}), [Swap("Bob", "Ann")])


def test_bare_numbers_of_json_stay_numbers() -> None:
    assert fill('{"n": 281}', [Swap("281", "9")]) == '{"n": 9}'
    for new in ("007", "9th", "1,000"):
        with pytest.raises(Doubt, match="outside the strings"):
            fill('{"n": 281}', [Swap("281", new)])


@pytest.mark.parametrize(
    ("text", "old", "why"),
    [
        ("EECSX is one", "EECS", "longer word"),
        ("the 1281 is one", "281", "longer word"),
        ("it is 281.5", "281", "longer word"),
        ("at 10:30", "10", "longer word"),
        ("nothing here", "EECS", "does not occur"),
        ("x", "", "empty"),
    ],
)
def test_what_may_be_something_else_is_a_doubt(text: str, old: str, why: str) -> None:
    with pytest.raises(Doubt, match=why):
        fill(text, [Swap(old, "Y")])


def test_one_value_of_two_slots_is_a_doubt() -> None:
    with pytest.raises(Doubt, match="two slots"):
        fill("a a", [Swap("a", "b"), Swap("a", "c")])


def test_quotes_do_not_go_where_json_is_within_other_text() -> None:
    mixed = 'Here it is:\n```json\n{"who": "Bob"}\n```'
    assert "Ann" in fill(mixed, [Swap("Bob", "Ann")])
    with pytest.raises(Doubt, match="JSON or code"):
        fill(mixed, [Swap("Bob", 'An"n')])


def test_streaming_holds_back_only_what_may_be_a_value() -> None:
    filler = Filler([Swap("EECS 281", "MATH 9")])
    assert filler.feed("Is it hard? ") == "Is it hard? "
    assert filler.feed("EE") == ""
    assert filler.feed("K! and EECS") == "EEK! and "
    assert filler.feed(" 281") == ""
    assert filler.feed(" is.") + filler.end() == "MATH 9 is."


def test_json_is_a_whole_object_or_list() -> None:
    assert is_json(' {"a": 1}')
    assert is_json("[1]")
    assert not is_json('"a"')
    assert not is_json('{"a": 1} and more')
    assert not is_json("[" * 100_000)


@pytest.mark.parametrize(("first", "then"), [("EECS", "X is"), ("EECS 281", "5 is"), ("EECS 281", ".5 is")])
def test_what_comes_in_the_next_piece_may_make_it_a_longer_word(first: str, then: str) -> None:
    filler = Filler([Swap(first.strip(), "MATH")])
    filler.feed(first)
    with pytest.raises(Doubt):
        _ = filler.feed(then) + filler.end()


def test_a_longer_value_that_began_earlier_goes_first() -> None:
    swaps = [Swap("York", "x"), Swap("New York City", "Oslo")]
    filler = Filler(swaps)
    given = "".join(map(filler.feed, ["in New York", " City and York", " too"])) + filler.end()
    assert given == "in Oslo and x too" == fill("in New York City and York too", swaps)
