"""What a form of a text needs is looked for before the form: no text may be read otherwise for it."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing import reading
from pennyweight.routing.lexicon import CONSTRAINTS, SHAPES, URGENT

_PIECES = st.sampled_from(
    [
        *("How many ", "how long is it", "? ", "?", "\n", "A) x", "\nB) y ", "in english", "Into The ", "en français"),
        *(
            "Write me a ",
            "write a function",
            "create an",
            "story",
            "review one-liner",
            "in two short lines",
            "на русский",
        ),
        *("$5", "a$5", ".5", "5.5%", "1,000", "€3.", "3 = x", "x ** 2", "n = 4", "2×(3", "\\frac", "$x^2$", "\\["),
        *("foo()", "snake_case", "camelCase", "X_a_b", "McDonald", "API", "fooError", "Error", "a.py", ".sh", "x.c_"),
        *("Traceback (most recent", "def ", "\ndef f", "```", "@@ -1", "\n  from x", "redefine", "- item", "1. "),
        *("at least", "must", "and then", "after that", "support", "\u017fupport", "ex\u0131t", "\u0130n english"),
        *("\u212ain", "prod is down", "production is down", "right now", "URGENT", "as a, b or c", "is it x, or y"),
        *("return the json", "answer: csv", "step-by-step", "trade-offs", "tradeoff", "given that", "if and only if"),
        *("who is lying", "3how many", "know-how many", "ΟΔΟΣ", "é", "’", "_", "²", "i\u0307ncluding", "要約", " "),
    ]
)
_TEXTS = st.lists(st.tuples(_PIECES, st.sampled_from(["", " ", ", "])), max_size=16).map(
    lambda parts: "".join(piece + between for piece, between in parts)
) | st.text(max_size=60)

_PLAIN_FORMS = {
    ("code", 2.5): re.compile(
        r"Traceback \(most recent|\b\w+(?:Error|Exception)\b|\w\.(?:py|ts|js|rs|go|java|cpp|c|h|sh|rb|sql)\b"
    )
}
"""Of patterns that are written so that a search is fast: as one would write them."""
_PLAIN_NUMBER = re.compile(r"(?<![\w.])[$€£]?\d[\d,]*(?:\.\d+)?%?")


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
def test_a_form_is_found_where_its_pattern_is(text: str) -> None:
    runs = frozenset(reading._RUN.findall(reading._folded(text.lower())))
    asks = text.rstrip().endswith("?")
    for shape in (*SHAPES, URGENT, CONSTRAINTS):
        pattern = _PLAIN_FORMS.get((shape.kind, shape.weight), shape.pattern)
        assert shape.holds(text, runs, asks=asks) == (pattern.search(text) is not None), (shape.kind, pattern.pattern)


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
def test_numbers_are_found_where_they_stand(text: str) -> None:
    assert reading._NUMBER.findall(text) == _PLAIN_NUMBER.findall(text)


@settings(max_examples=100, deadline=None)
@given(_TEXTS)
def test_words_and_lengths_are_read_alike_in_any_script(text: str) -> None:
    """What is only letters of ASCII goes another way than what is not."""
    plain, marked = reading.read(text), reading.read(f"{text}\n\u4e00")
    said = reading._said_length(text)
    assert said is None or plain.output_tokens in (said, 40)
    if not text.isascii() or reading._SMALL_TALK.search(text) or not text or text[-1:].isalnum():
        return
    assert plain.expertise == marked.expertise
    assert plain.urgent == marked.urgent


def test_a_letter_that_search_without_case_takes_for_another_is_not_missed() -> None:
    for text in (
        "\u017fupport both",
        "thi\u017f is an \u0131mmediately needed fix, immed\u0131ately",
        "\u0130n english",
    ):
        runs = frozenset(reading._RUN.findall(reading._folded(text.lower())))
        found = [shape for shape in (*SHAPES, URGENT, CONSTRAINTS) if shape.pattern.search(text)]
        assert found
        assert all(shape.holds(text, runs, asks=False) for shape in found)
