"""What must agree between two questions whatever experience says."""

from __future__ import annotations

import pytest

from pennyweight.optimizers.semantic_cache.facets import facets
from pennyweight.optimizers.semantic_cache.values import conflict


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("How do I send 5 dollars?", "How do I send 6 dollars?"),
        ("What happened on 2024-05-01?", "What happened on 2024-05-02?"),
        ("What is wrong with order D-7781?", "What is wrong with order D-7782?"),
        ("What does 'push' mean?", "What does 'pull' mean?"),
        ("Is the card working?", "Is the card not working?"),
        ("How do I enable alerts?", "How do I disable alerts?"),
        ("Who leads Germany?", "Who leads France?"),
        ("How do I fly from Paris to Rome?", "How do I fly from Rome to Paris?"),
    ],
)
def test_values_that_differ_forbid(stored: str, asked: str) -> None:
    assert conflict(facets(stored), facets(asked))
    assert conflict(facets(asked), facets(stored))


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Where is my new card?", "My new card has yet to come, where could it be"),
        ("How long does a transfer take?", "I made a transfer, when will it arrive?"),
        ("what is the fee", "Please tell me what the fee is"),
    ],
)
def test_other_words_for_the_same_do_not(stored: str, asked: str) -> None:
    assert not conflict(facets(stored), facets(asked))


def test_the_reason_shows_nothing_of_the_prompt() -> None:
    reason = conflict(facets("Call Bartholomew on 555123"), facets("Call Bartholomew on 555999"))
    assert reason
    assert not {"555123", "555999", "bartholomew"} & set(reason.lower().replace("(", " ").replace(")", " ").split())
