"""Texts as they are embedded: bounded in tokens, both ends kept, whatever stands in them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.learning.texts import shortenings

PIECE = re.compile(r"[A-Za-z]{1,6}|[0-9]{1,3}|[^\sA-Za-z0-9]")
TEXTS = st.one_of(
    st.text(max_size=5_000),
    st.lists(st.sampled_from(["word", "longerword", "12345", "漢字", "\n", " " * 700, "x=y;"]), max_size=900).map(
        " ".join
    ),
)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_shortenings_get_shorter_and_keep_both_ends(text: str) -> None:
    found = list(shortenings(text))
    assert found
    pieces = PIECE.findall(text)
    for one, most in zip(found, (64, 48, 24), strict=False):
        kept = PIECE.findall(one)
        assert len(kept) <= max(most, 0)
        if len(pieces) > most:
            assert kept[:12] == pieces[:12]
            assert kept[-5:] == pieces[-5:]
    counts = [len(PIECE.findall(one)) for one in found]
    assert all(later <= earlier for earlier, later in itertools.pairwise(counts))


@pytest.mark.parametrize("text", ["", "Why is the sky blue?", "word " * 60, "漢" * 64, "  two   spaces "])
def test_a_short_text_is_taken_as_it_is(text: str) -> None:
    assert next(shortenings(text)) == text


def test_of_a_long_text_the_beginning_counts_for_three_quarters() -> None:
    (first, *_) = shortenings(" ".join(f"w{number}" for number in range(100, 400)))
    words = first.split()
    assert words[:24] == [f"w{number}" for number in range(100, 124)]
    assert words[24:] == [f"w{number}" for number in range(392, 400)]


def test_what_stands_behind_much_space_is_read() -> None:
    assert next(shortenings(" " * 5_000 + "what is it")).split() == ["what", "is", "it"]
