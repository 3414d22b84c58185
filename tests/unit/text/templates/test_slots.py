from __future__ import annotations

import pytest

from pennyweight.text.templates.slots import mask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is EECS 281 hard?", [("name", "EECS"), ("number", "281")]),
        ("Which Core classes are offered?", [("name", "Core")]),
        ("Who teaches The History of World Film?", [("name", "The History of World Film")]),
        ("Ask Prof. You about it", [("name", "Ask Prof. You")]),
        ("mail bob@x.io now", [("email", "bob@x.io")]),
        ("see https://a.b/c?d=1, or /var/log/x.txt", [("url", "https://a.b/c?d=1"), ("path", "/var/log/x.txt")]),
        ("and/or nothing", []),
        ("order D-7781 of #12", [("id", "D-7781"), ("id", "#12")]),
        ("at 18:45 on 2024-03-01", [("time", "18:45"), ("date", "2024-03-01")]),
        ("due March 3, 2024", [("date", "March 3, 2024")]),
        ("since 2024-01-02T10:11:12Z", [("timestamp", "2024-01-02T10:11:12Z")]),
        ("costs $4,000.50 or 20 EUR", [("amount", "$4,000.50"), ("amount", "20 EUR")]),
        ('translate "good \\ morning" please', [("quote", "good \\ morning")]),
        ("what is 3.5 and 1,000", [("number", "3.5"), ("number", "1,000")]),
        ("grüße an Jörg Müller", [("name", "Jörg Müller")]),
        ("flights from ST. LOUIS to NEW YORK", [("name", "ST. LOUIS"), ("name", "NEW YORK")]),
        ("I met him at the Bar. Then I left", [("name", "Bar")]),
        ("", []),
    ],
)
def test_slots_are_typed(text: str, expected: list[tuple[str, str]]) -> None:
    masked = mask(text)
    assert list(zip(masked.kinds, masked.values, strict=True)) == expected


def test_a_text_is_its_literals_and_values() -> None:
    text = "Is EECS 281 at 10:00 harder than /usr/bin?"
    masked = mask(text)
    pieces = [masked.literals[0]]
    for value, literal in zip(masked.values, masked.literals[1:], strict=True):
        pieces += [value, literal]
    assert "".join(pieces) == text


def test_equal_templates_have_equal_keys_and_others_do_not() -> None:
    assert mask("Is EECS 281 hard?").key == mask("Is MATH 9 hard?").key
    others = ["Is EECS 281 easy?", "Is EECS hard?", "Is 281 EECS hard?", "Is EECS 10:00 hard?", "is EECS 281 hard?"]
    assert len({mask(text).key for text in ["Is EECS 281 hard?", *others]}) == len(others) + 1


@pytest.mark.parametrize("imitation", ["Is name number hard?", "Is \0 \0 hard?", "Is {name} {number} hard?"])
def test_nothing_in_a_prompt_is_taken_for_a_slot(imitation: str) -> None:
    assert mask(imitation).key != mask("Is EECS 281 hard?").key
