from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.embedders.prepare import prepare


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("How do I pay?", "How do I pay"),
        ("  How\tdo\n I  pay ?! ", "How do I pay"),
        ("Ｈow do I\u00a0pay。", "How do I pay"),
        ("pay\u200b ﬁve\u00ad euros…", "pay five euros"),
        ("???", "???"),
        ("", ""),
        ("a\ud800b", "a?b"),
        ("Is 3.5 > 2?", "Is 3.5 > 2"),
        ("NOT not", "NOT not"),
        ("don't (yet)", "don't (yet)"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_only_what_hardly_changes_the_meaning_goes(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@settings(max_examples=200)
@given(st.text())
def test_twice_is_once_and_the_rest_is_text(text: str) -> None:
    once = prepare(text)
    assert prepare(once) == once
    once.encode()


@settings(max_examples=100)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "S"]), min_size=1))
def test_letters_digits_and_symbols_stay(text: str) -> None:
    assert prepare(text) == text
