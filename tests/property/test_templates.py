"""Filling is exact however a text is cut, and what serves another question is what the model would have said."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.templates.family import Branch, Family, branch, learn
from pennyweight.text.templates.filling import Doubt, Filler, Swap, fill, is_json
from pennyweight.text.templates.slots import mask

values = st.text('ab 1é"\\\n', min_size=1, max_size=4)
swaps = st.lists(st.tuples(values, values).map(lambda pair: Swap(*pair)), min_size=1, max_size=2)


@st.composite
def texts(draw, changes: list[Swap]) -> str:  # type: ignore[no-untyped-def]
    """A text in which the values stand, by themselves and next to others; often as JSON has it."""
    pieces = st.sampled_from([*(swap.old for swap in changes), " ", " ", ". ", "a", "1", "\\", '"', "\n", "é"])
    text = "".join([*draw(st.lists(pieces, max_size=8)), *(f" {swap.old} " for swap in changes)])
    match draw(st.integers(0, 2)):
        case 0:
            return text
        case 1:
            return json.dumps([text, text], ensure_ascii=False)
        case _:
            return json.dumps({"x": text})


def filled(pieces: list[str], changes: list[Swap], *, as_json: bool) -> str | None:
    try:
        filler = Filler(changes, json=as_json)
        return "".join([*map(filler.feed, pieces), filler.end()])
    except Doubt:
        return None


@settings(max_examples=400, deadline=None)
@given(st.data(), swaps, st.lists(st.integers(0, 40), max_size=8))
def test_every_split_gives_the_same(data: st.DataObject, changes: list[Swap], cuts: list[int]) -> None:
    text = data.draw(texts(changes))
    as_json = is_json(text)
    at = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(at)]
    assert filled(pieces, changes, as_json=as_json) == filled([text], changes, as_json=as_json)


words = st.text('abcdefghij"\\\né ', min_size=2, max_size=8).filter(lambda text: text.strip() == text)


@settings(max_examples=150, deadline=None)
@given(st.lists(words, min_size=1, max_size=3, unique=True), st.lists(words, min_size=3, max_size=3, unique=True))
def test_filling_json_gives_the_json_of_the_other_value(others: list[str], news: list[str]) -> None:
    marks = [f"Q{number}Q" for number in range(len(others))]
    answer = json.dumps({"all": marks, "text": " and ".join(marks)})
    new = (others + news)[: len(marks)]
    expected = {"all": new, "text": " and ".join(new)}
    assert json.loads(fill(answer, [Swap(a, b) for a, b in zip(marks, new, strict=True)])) == expected


names = st.text("BCDFGHJKLMNPQRSTVWXZ", min_size=2, max_size=6)
numbers = st.integers(0, 99_999).map(str)
computed = st.sampled_from(
    [
        lambda name, number: "",
        lambda name, number: f" {len(name)}",
        lambda name, number: f" {int(number) % 2 == 0}".lower(),
        lambda name, number: f" {name.lower()}",
        lambda name, number: f" {name[0]}",
        lambda name, number: f" {sum(map(int, number))}",
        lambda name, number: f" {number[::-1]}",
        lambda name, number: f" {'Upper' if int(number) > 50_000 else 'Lower'}",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(names, numbers), min_size=2, max_size=5, unique=True), st.tuples(names, numbers), computed)
def test_a_branched_answer_is_the_models_own(asked, new, compute) -> None:  # type: ignore[no-untyped-def]
    def pair(name: str, number: str) -> tuple[str, str]:
        return f"is {name} {number} hard", f"we say {name} {number} is hard" + compute(name, number)

    family = Family()
    for values in asked:
        question, answer = pair(*values)
        family = learn(family, mask(question), answer)
    question, right = pair(*new)
    made = branch(family, mask(question))
    assert not isinstance(made, Branch) or made.text == right
