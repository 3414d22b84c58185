from __future__ import annotations

import json

import pytest

from pennyweight.text.compression import Ask
from pennyweight.text.compression.asked import wanted, words_in
from pennyweight.text.compression.gaps import mark, marked, render


def test_names_that_are_no_plain_words_tell() -> None:
    want = wanted(Ask("Why does fill() in TextWrapper or `shorten` break on the width, see textwrap.py and x_2?"))
    assert want.telling == {"fill", "textwrapper", "shorten", "textwrap.py", "x_2"}
    assert {"break", "width", "textwrap"} <= want.plain
    assert "does" not in want.plain | want.telling


def test_keys_of_arguments_say_nothing_and_what_a_search_was_for_tells() -> None:
    want = wanted(Ask("", json.dumps({"pattern": "budget|ledger", "path": "src/money.py", "limit": 2000})))
    assert want.telling == {"budget", "ledger", "money.py"}
    assert "pattern" not in want.plain
    assert not want.narrow


@pytest.mark.parametrize(
    ("query", "arguments", "ranges", "narrow"),
    [
        ("", '{"path": "a.py", "offset": 40, "limit": 140}', {(40, 179)}, True),
        ("", '{"file": "a.py", "view_range": [10, 40]}', {(10, 40)}, True),
        ("", '{"path": "a.py", "start_line": 3, "end_line": 9}', {(3, 9)}, True),
        ("", '{"path": "a.py", "line_number": 1474}', {(1474, 1474)}, False),
        ("", '{"path": "a.py", "offset": 1, "limit": 2000}', set(), False),
        ("", "sed -n '40,179p' a.py", {(40, 179)}, True),
        ("", "sed -n '1,2000p' a.py", set(), False),
        ("", "open src/fields.py 1474", {(1474, 1474)}, False),
        ("", "edit 287:296\nx", {(287, 296)}, False),
        ("", "python a.py 2>/dev/null", set(), False),
        ("it fails at a.py:12, lines 30-34 and L7", "", {(12, 12), (30, 34), (7, 7)}, False),
        ("", '{"path": "a.py", "offset": true, "limit": null}', {(1, 1)}, False),
        ("", '{"broken', set(), False),
        ("", "[1, 2]", set(), False),
    ],
)
def test_lines_asked_for_by_number(query: str, arguments: str, ranges: set[tuple[int, int]], narrow: bool) -> None:
    want = wanted(Ask(query, arguments))
    assert set(want.ranges) - {(1, 1)} == ranges - {(1, 1)}
    assert want.narrow == narrow


def test_lines_are_weighed_by_the_names_in_them() -> None:
    want = wanted(Ask("mend parse_args, the reader and its width"))
    assert want.weight("def parse_args(reader):") == 4
    assert want.weight("the width of the Reader") == 2
    assert want.weight("nothing") == 0
    assert wanted(Ask()).weight("anything") == 0


def test_scripts_without_spaces_are_compared_by_pairs() -> None:
    assert {"缓存", "存的", "的价", "价格"} <= words_in("缓存的价格")
    assert wanted(Ask("价格是多少")).weight("## 缓存的价格") >= 1
    assert wanted(Ask("größe des Zeilenumbruchs")).weight("def größe(wert):") == 1


def test_a_call_that_writes_a_file_does_not_ask_for_all_of_it() -> None:
    want = wanted(Ask("", json.dumps({"path": "a.py", "content": "x_1 = 2\n" * 50_000})))
    assert len(want.telling) < 10


def test_runs_left_out_leave_one_mark_each_where_that_is_shorter() -> None:
    lines = [f"line number {n} of the text" for n in range(12)]
    keep = [n in {0, 5, 11} for n in range(12)]
    form, missing = render(lines, keep, lambda first, last: f"lines {first + 1}-{last + 1}")
    assert form.split("\n") == [lines[0], "[... lines 2-5]", lines[5], "[... lines 7-11]", lines[11]]
    assert missing == 9
    assert render(["a", "b", "c"], [True, False, True], lambda first, last: f"line {first + 1}") == ("a\nb\nc", 0)
    assert marked("  " + mark("line 3"))
    assert not marked("[...] is an ellipsis")
