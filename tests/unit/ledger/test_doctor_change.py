"""What changed between two texts, and whether it is of the kind that changes by itself."""

from __future__ import annotations

import pytest

from pennyweight.ledger.doctor.change import changed, likeness, volatile

LINES = "\n".join(f"line {n} of some instructions" for n in range(200))


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("Today is 2026-11-20.", "Today is 2026-11-21.", "a date"),
        ("Today is Friday, November 20, 2026.", "Today is Saturday, November 21, 2026.", "a date"),
        ("It is 9:05 PM", "It is 9:06 PM", "a time"),
        ("now 2026-11-20T21:31:07Z end", "now 2026-11-20T21:31:09Z end", "a time"),
        ("t=1795209539199", "t=1795209540007", "a time"),
        ("id 0f8fad5b-d9cb-469f-a165-70867728950e", "id 7c9e6679-7425-40de-944b-e07fc1f90ae7", "an id"),
        ("run 4f2a9c81b6e0d355aa", "run 77f0c2a9be41d09c13", "an id"),
        ("You have 12,345 tokens left", "You have 11,999 tokens left", "a counter"),
        (
            "x-anthropic-billing-header: cc_version=2.1.a; x",
            "x-anthropic-billing-header: cc_version=2.1.b; x",
            "a billing line",
        ),
        ("Use the old way.", "Use the new way.", ""),
        ("Today is 2026-11-20. Be brief.", "Today is 2026-11-21. Be thorough.", ""),
    ],
)
def test_text_that_changes_by_itself_is_told_from_an_edit(before: str, after: str, what: str) -> None:
    assert volatile(f"{LINES}\n{before}\n{LINES}", f"{LINES}\n{after}\n{LINES}") == what


def test_the_place_is_in_bytes_of_utf8() -> None:
    change = changed("grün: 1", "grün: 2")
    assert change.at_byte == len("grün: ".encode())
    assert (change.before, change.after) == ("grün: 1", "grün: 2")


def test_two_edits_far_apart_leave_most_of_a_text_alike() -> None:
    after = LINES.replace("line 3 ", "line three ").replace("line 190 ", "line one-ninety ")
    assert changed(LINES, after).same > 0.95
    assert likeness(LINES, "nothing\nof it") == 0.0


def test_a_quotation_is_cut() -> None:
    change = changed("a" * 1000 + "x" * 500, "a" * 1000 + "y" * 500)
    assert len(change.before) < 300
    assert change.before.startswith("…a")
