from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression.digest import identifiers, missing

ROW = '{"user_id": "mia_li_3668", "flight": "HAT069", "date": "2024-05-20", "price": 1234.5, "file": "/usr/lib/x.py"}'


def test_ids_paths_numbers_and_dates_are_named_and_plain_words_are_not() -> None:
    named = set(identifiers(ROW + " and other plain words that say nothing"))
    assert {"mia_li_3668", "HAT069", "2024-05-20", "1234.5", "/usr/lib/x.py"} <= named
    assert not named & {"and", "plain", "words", "nothing"}


def test_what_is_shown_is_not_named_again() -> None:
    assert "HAT069" not in missing(ROW, "the flight is HAT069")
    assert missing(ROW, ROW) == ""


def test_what_tells_most_comes_first_when_room_is_short() -> None:
    text = "2024-05-20 12 34 " * 5 + "reservation_4821 " + ROW
    assert missing(text, "", most_chars=40).startswith("reservation_4821")


@given(st.text(max_size=2_000), st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_nothing_is_invented_and_the_room_is_kept(text: str, shown: str) -> None:
    named = missing(text, shown, most_chars=100)
    assert len(named) <= 100
    assert all(word in text for word in named.split(", ") if word)
