from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.effort import within

from pennyweight.text.compression.again import said_once, written_out

FRAMES = '  File "/w/tests/test_text.py", line 31, in check\n    self.assertEqual(result, expect, "they differ")'
FAILURES = "\n".join(f"FAIL: test_{n}\n{'-' * 70}\n{FRAMES}\nAssertionError: {n} != {n + 1}\n" for n in range(12))


def test_lines_that_always_stand_together_are_said_once() -> None:
    form = said_once(FAILURES)
    assert form is not None
    assert form.count(FRAMES) == 1
    assert form.count("\n[#1]\n") == 11
    assert all(f"AssertionError: {n} != {n + 1}" in form for n in range(12))
    assert written_out(form) == FAILURES


def test_rules_and_short_lines_are_not_named_by_themselves() -> None:
    assert said_once("\n".join(f"{'=' * 70}\ntitle {n}" for n in range(50))) is None
    assert said_once("a\nb\n" * 50) is None


def test_a_text_that_names_lines_like_us_stays() -> None:
    assert said_once(FAILURES + "\n[#1]") is None
    assert said_once("[#1: 2 lines]\n" + FAILURES) is None


LINES = st.sampled_from(
    [FRAMES, "x" * 50 + "y", "z" * 9 + " and so on for forty characters at least", "", "a", "[# 1]"]
)


@settings(max_examples=80)
@given(st.lists(LINES, max_size=40))
def test_the_text_comes_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    form = said_once(text)
    assert form is None or written_out(form) == text


@pytest.mark.parametrize("piece", ["a", "ab\n", FRAMES + "\n", "\n", "[#"])
def test_it_costs_no_more_than_its_length(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    assert within(3.0, lambda: said_once(text))
