"""When one answer may serve another question: what is needed, and what forbids it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pennyweight.text.templates.family import Branch, Family, branch, learn
from pennyweight.text.templates.slots import mask

Answer = Callable[[str], str]


def told(pairs: list[tuple[str, str]]) -> Family:
    family = Family()
    for number, (question, answer) in enumerate(pairs):
        family = learn(family, mask(question), answer, f"c{number}")
    return family


def asked(answer: Answer, values: list[str], question: str = "Is course {} hard?") -> Family:
    return told([(question.format(value), answer(value)) for value in values])


def served(family: Family, question: str, **settings: int) -> str | None:
    made = branch(family, mask(question), **settings)
    return made.text if isinstance(made, Branch) else None


def plain(value: str) -> str:
    return f"We think that {value} is hard, and so is the course before {value}."


def test_two_answers_of_one_form_serve_a_third() -> None:
    family = asked(plain, ["281", "370"])
    assert served(family, "Is course 482 hard?") == plain("482")


def test_one_answer_serves_nobody() -> None:
    assert served(asked(plain, ["281"]), "Is course 482 hard?") is None


def test_more_witnesses_can_be_asked_for() -> None:
    assert served(asked(plain, ["281", "370"]), "Is course 482 hard?", witnesses=2) is None
    assert served(asked(plain, ["281", "370", "445"]), "Is course 482 hard?", witnesses=2) == plain("482")


def test_a_slot_that_never_changed_serves_nobody() -> None:
    family = told([(f"Is EECS {n} hard?", f"EECS {n} is hard indeed") for n in ("281", "370")])
    assert served(family, "Is EECS 482 hard?") == "EECS 482 is hard indeed"
    assert served(family, "Is MATH 482 hard?") is None


@pytest.mark.parametrize(
    "answer",
    [
        lambda v: f"{v}: {int(v) + 1}",
        lambda v: f"{v}: {v[::-1]}",
        lambda v: f"{v} has {len(v)} digits",
        lambda v: f"{v} is {'odd' if int(v) % 2 else 'even'}",
        lambda v: json.dumps({"course": v, "even": int(v) % 2 == 0}),
        lambda v: json.dumps({"course": v, "sum": sum(map(int, v))}),
        lambda v: json.dumps({"course": v, "level": "upper" if int(v) > 299 else "lower"}),
        lambda v: f"{v} belongs to {'Engineering' if int(v) % 2 else 'Arts'} here",
        lambda _v: "It is hard.",
        lambda v: f"course{v} is hard",
    ],
)
@pytest.mark.parametrize("values", [["281", "283"], ["282", "284"], ["281", "284"]])
def test_what_is_computed_is_asked_anew(answer: Answer, values: list[str]) -> None:
    family = asked(answer, values)
    for value in ("282", "299", "345", "1000", "7"):
        text = served(family, f"Is course {value} hard?")
        assert text is None or text == answer(value)


@pytest.mark.parametrize("values", [["0", "555"], ["343", "787"], ["11", "505", "7"]])
def test_values_that_are_the_same_backwards_do_not_show_that_nothing_is_turned(values: list[str]) -> None:
    family = asked(lambda v: f"Course {v} is hard; {v[::-1]} backwards.", values, "Is course {} hard backwards?")
    assert served(family, "Is course 482 hard backwards?") is None


def test_an_answer_not_as_foretold_closes_the_template() -> None:
    family = asked(plain, ["281", "370"])
    family = learn(family, mask("Is course 445 hard?"), "445 is not hard at all", "c9")
    assert family.closed
    assert served(family, "Is course 482 hard?") is None
    assert learn(family, mask("Is course 482 hard?"), plain("482")) == family


def test_two_answers_to_one_question_close_it_too() -> None:
    assert asked(plain, ["281", "281"]).closed == ""
    assert told([("Is course 281 hard?", "281: yes"), ("Is course 281 hard?", "281: no")]).closed


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("Is course {} harder than most, as 482 is?", "482"),  # the template has it
        ("Is course {} harder than course 101?", "101"),  # another slot has it
    ],
)
def test_a_value_that_stands_elsewhere_too_is_asked_anew(question: str, value: str) -> None:
    family = asked(plain, ["281", "370"], question)
    assert served(family, question.format("445")) == plain("445")
    assert served(family, question.format(value)) is None


def test_places_that_are_exchanged_are_asked_anew() -> None:
    def both(a: str, b: str) -> tuple[str, str]:
        return f"Is course {a} harder than course {b}?", f"We find {a} harder than {b} overall"

    family = told([both("281", "370"), both("445", "482")])
    assert served(family, both("555", "666")[0]) == both("555", "666")[1]
    assert served(family, both("482", "445")[0]) is None
    assert served(family, both("555", "555")[0]) is None


def test_more_and_unlike_examples_lift_the_doubt_about_numbers() -> None:
    def answer(value: str) -> str:
        return f"{value} has 4 credits"

    few = asked(answer, ["281", "370"])
    assert served(few, "Is course 482 hard?") is None
    many = asked(answer, ["281", "370", "515", "62", "907"])
    assert served(many, "Is course 482 hard?") == answer("482")


def test_words_that_all_values_begin_with_stay() -> None:
    def pair(city: str) -> tuple[str, str]:
        return f"Who lives in Upper {city}?", f"{city} is where few live"

    family = told([pair("Heyford"), pair("Slaughter")])
    assert served(family, pair("Tooting")[0]) == pair("Tooting")[1]
    assert served(family, "Who lives in Lower Heyford?") is None


@pytest.mark.parametrize("value", ['a "b" c', "x\\y", "{0}", "(.*)", "é😀", "</a>"])
def test_odd_values_come_out_whole(value: str) -> None:
    def pair(text: str) -> tuple[str, str]:
        return f"Translate «{text}» for me", json.dumps({"source of it": text})

    family = told([pair("good day"), pair("so long")])
    text = served(family, pair(value)[0])
    assert text is not None
    assert json.loads(text) == {"source of it": value}
