"""What is shown of a text."""

from __future__ import annotations

import re

from pennyweight.text.excerpts import excerpt

LOG = "\n".join(f"line {n} of the log" + (" error: disk full" if n % 500 == 7 else "") for n in range(1, 2001))


def count(text: str) -> int:
    return len(text.split())


def show(text: str, **asked: object) -> str:
    return excerpt(text, count=count, most_tokens=400, **asked)  # type: ignore[arg-type]


def test_a_short_text_is_shown_whole_whatever_is_asked() -> None:
    assert show("a b\nc", first=2, query="nothing") == "a b\nc"
    assert show("") == ""


def test_a_text_that_fits_is_whole_unless_less_is_asked() -> None:
    text = "\n".join(f"one two {n}" for n in range(100))
    assert show(text) == text
    assert show(text, first=5, last=6) == "5\tone two 4\n6\tone two 5\n[100 lines in all.]"


def test_lines_have_the_numbers_that_editors_give_them() -> None:
    shown = show(LOG, first=120, last=122)
    assert shown.startswith("120\tline 120 of the log\n121\t")
    assert "123\t" not in shown
    assert "2000 lines in all" in shown


def test_too_many_lines_end_with_how_to_go_on_and_going_on_gives_all() -> None:
    seen: list[int] = []
    first = 1
    for _ in range(100):
        shown = show(LOG, first=first)
        seen += [int(line.split("\t")[0]) for line in shown.splitlines() if "\t" in line]
        go_on = re.search(r'lines "(\d+)-2000"', shown)
        if go_on is None:
            break
        assert int(go_on[1]) == seen[-1] + 1
        first = int(go_on[1])
    assert seen == list(range(1, 2001))


def test_a_long_text_begins_where_nothing_is_asked() -> None:
    assert show(LOG).startswith("1\tline 1 of the log")
    assert count(show(LOG)) < 450


def test_a_query_finds_lines_with_what_stands_around_them() -> None:
    shown = show(LOG, query="disk FULL?")
    for number in (7, 507, 1007, 1507):
        assert f"{number}\tline {number} of the log error: disk full" in shown
        assert f"{number - 1}\t" in shown
    assert shown.count("…") == 4
    assert "more lines match" not in shown


def test_a_query_of_many_hits_says_that_there_are_more() -> None:
    shown = show(LOG, query="line")
    assert count(shown) < 500
    assert re.search(r"\d+ more lines match", shown)


def test_a_query_without_hits_says_so() -> None:
    assert "None of the 2000 lines matches" in show(LOG, query="zebra")


def test_a_minified_file_is_counted_in_pieces() -> None:
    text = "".join(f"word{n} " for n in range(5_000))
    shown = show(text, first=3, last=3)
    assert shown.startswith("3\t" + text[2_000:3_000])
    assert "in pieces of 1000" in shown


def test_lines_beyond_the_end_are_not_there() -> None:
    assert show(LOG, first=9_000) == "[There are 2000 lines.]"
