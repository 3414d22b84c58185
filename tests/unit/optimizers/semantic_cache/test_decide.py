"""The hit decision on single pairs: which meaning changes are refused and with what reason, what may pass."""

from __future__ import annotations

import pytest

from pennyweight.optimizers.semantic_cache.facets import facets
from pennyweight.optimizers.semantic_cache.vetoes import compare


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ("How do I move 5 files?", "How do I move 6 files?", "number"),
        ("How do I move five files?", "How do I move 6 files?", "number"),
        ("Is it open at 5 p.m.?", "Is it open at 6 pm?", "time"),
        ("What is due on 2024-05-01?", "What is due on 2024-05-02?", "date"),
        ("Why was order D-7781 late?", "Why was order D-7782 late?", "id"),
        ('Who wrote "Emma"?', 'Who wrote "Persuasion"?', "quote"),
        ("Is it safe to swim here?", "Is it not safe to swim here?", "negation"),
        ("Is it safe to swim here?", "Is it dangerous to swim here?", "antonym"),
        ("Is the plan taxable?", "Is the plan tax-free?", "a"),
        ("Is Sean faithful to Steven?", "Is Steven faithful to Sean?", "order"),
        ("Flights from Boston to Denver", "Flights from Denver to Boston", "role"),
        ("Is it fine to eat before the test?", "Is it fine to eat after the test?", "relation"),
        ("Is Mary a nurse?", "Is Mary becoming a nurse?", "added"),
        ("Who runs the shop?", "When does the shop run?", "question"),
    ],
)
def test_a_change_of_meaning_is_refused_with_its_reason(a: str, b: str, reason: str) -> None:
    assert compare(facets(a), facets(b)).veto.startswith(reason)
    assert compare(facets(b), facets(a)).veto


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I move 5 files?", "Could you please tell me how I can move five files?"),
        ("Where is order #D-7781?", "Where is order D7781?"),
        ("Is it open at 5 p.m.?", "Is it open at 17:00?"),
        ("Did Adam need the boat?", "Was the boat needed by Adam?"),
        ("How can I become an impatient person?", "How can I become a person who is not patient?"),
        ("What's the number of courses in Fall 2011?", "How many classes are there in Fall 2011?"),
    ],
)
def test_another_wording_is_not_refused(a: str, b: str) -> None:
    assert compare(facets(a), facets(b)).veto == ""
