"""Odd sessions against the gate: branches, retries, edits in the middle, clocks that jump, usage that lies.

Where a case was found by losing money, its figure from then is in the docstring.
"""

from __future__ import annotations

import pytest
from bench.adversaries import ADVERSARIES
from bench.cells import Cell, PriceClass, play
from bench.odd import CLIENTS, ODD, odd
from bench.sessions import START, Plan, calls_of

LIST_PRICE = PriceClass(0.1, 1.25)
CHEAP_READS = PriceClass(0.02, 1.25)


@pytest.mark.parametrize("kind", ODD)
def test_no_odd_session_raises_or_is_refused(kind: str) -> None:
    found = play(Cell(LIST_PRICE, "max"), odd(kind, 1))
    assert [session.name for session in found] == [f"{kind}-{client}" for client in CLIENTS]
    if kind != "lying_usage":
        assert not any(session.refused for session in found)


@pytest.mark.parametrize("kind", sorted(set(ODD) - {"lying_usage"}))
def test_a_session_that_caches_by_itself_never_costs_more(kind: str) -> None:
    for session in play(Cell(CHEAP_READS, "safe"), odd(kind, 2)):
        if "unmarked" not in session.name:
            assert session.ratio <= 1.001, session


@pytest.mark.parametrize("kind", ["lapsing", "edge_1h", "worse"])
def test_a_form_taken_when_the_cache_was_cold_is_kept_when_it_is_warm(kind: str) -> None:
    """`toggle_tool` after a pause: 1.47, when the second form of a tool list was not remembered."""
    for session in play(Cell(CHEAP_READS, "safe", "toggle_tool"), odd(kind, 1)):
        if session.name.endswith("-chat"):
            assert session.ratio <= 1.001, session


def test_prompts_are_not_shortened_below_what_is_cached() -> None:
    """`shorten` and `toggle_tool` about 1,024 tokens: 1.08. What is left is where the steps of 128 tokens fall."""
    for name in ("shorten", "toggle_tool", "drop_results"):
        for session in play(Cell(CHEAP_READS, "safe", name), odd("short_prompts", 1)):
            if session.name.endswith("-chat"):
                assert session.ratio <= 1.03, (name, session)


@pytest.mark.parametrize("name", sorted(ADVERSARIES))
def test_no_adversary_takes_anything_from_a_marked_session(name: str) -> None:
    for kind in ("branches", "retries", "subagents", "edge_5min"):
        for session in play(Cell(LIST_PRICE, "safe", name), odd(kind, 3)):
            if session.name.endswith("-messages_marked"):
                assert session.ratio <= 1.001, (kind, session)


def test_a_small_first_mark_is_read_and_pays_for_the_next() -> None:
    """Steady minutes, 30 tools, a message that is gone next time: nothing was saved in 42 calls, and the stake lost
    (1.0023), when only marks further on were tried after it."""
    plan = Plan(
        name="ladder",
        client="messages_unmarked_transient",
        gaps="steady_60s",
        calls=30,
        seed=4_180_796_121,
        start=START,
        head=5_500,
        tools=30,
        result=(405, 810),
        loop=3,
    )
    (session,) = play(Cell(LIST_PRICE, "safe"), calls_of(plan))
    assert session.ratio < 0.7, session


def test_what_is_less_than_a_step_of_the_cache_is_left_alone() -> None:
    """Recorded chat sessions with `shorten`, which took some forty tokens a turn: 1.0026."""
    plan = Plan("steps", "chat", "seconds", 20, 7, START, head=2_000, tools=4, result=(1_000, 3_000), loop=20)
    (session,) = play(Cell(CHEAP_READS, "safe", "shorten"), calls_of(plan))
    assert session.ratio <= 1.001, session
