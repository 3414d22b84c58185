from __future__ import annotations

import pytest

from pennyweight.text.templates.gaps import Gap, gap, through


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("flights from boston to rome", "flights from oslo to rome", Gap("flights from ", " to rome")),
        ("who teaches logic", "who teaches history of art", Gap("who teaches ", "")),
        ("which web design courses are there", "which theory courses are there", Gap("which ", " courses are there")),
    ],
)
def test_words_that_vary_are_found(one: str, other: str, expected: Gap) -> None:
    if len((expected.before + expected.after).split()) < 3:
        assert gap(one, other) is None, "too little is left of the question"
        return
    assert gap(one, other) == expected
    for text in (one, other):
        masked = through(expected, text)
        assert masked is not None
        assert masked.literals[0] + masked.values[0] + masked.literals[1] == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("flights from boston to rome", "flights from oslo to paris"),  # two places
        ("show me the cheapest flight", "show me the fastest flight"),
        ("is it in the city today", "is it not in the city today"),
        ("does he teach any logic", "does he teach no logic"),
        ("is it more than the sum", "is it less than the sum"),
        ("show me the best of all", "show me the x of all"),
        ("who is in room 12 now", "who is in room 13 now"),  # a slot of a known form
        ("who is in the same room", "who is in the same room"),
        ("who is in the room", "who is in the one that has windows on both sides and no door"),
        ("", ""),
    ],
)
def test_other_differences_are_none(one: str, other: str) -> None:
    assert gap(one, other) is None


@pytest.mark.parametrize("text", ["flights from 12 to rome", "flights from  to rome", "flights from the to rome", "x"])
def test_what_does_not_fit_is_none(text: str) -> None:
    assert through(Gap("flights from ", " to rome"), text) is None
