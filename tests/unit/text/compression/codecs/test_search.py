from __future__ import annotations

import re

import pytest

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.search import CODEC, grouped, ungrouped

from .forms import note, own_lines, sure

FOUND = "\n".join(
    [
        *(f"src/reader/parse.py:{number}:    def step_{number}(self, width):" for number in range(10, 60, 2)),
        *(f"src/writer.py:{number}:width = {number}" for number in (3, 9, 27)),
        "tests/test_parse.py:7:def test_width_of_nothing():",
        "",
    ]
)
CONTEXT = "a/b.py-11-before\na/b.py:12:hit one\na/b.py-13-after\n--\na/b.py:40:hit two\na/b.py-41-after"


def test_a_path_is_said_once_over_its_lines() -> None:
    form = grouped(FOUND)
    assert form is not None
    assert form.count("src/reader/parse.py") == 1
    assert "12:    def step_12(self, width):" in form.split("\n")
    assert ungrouped(form) == FOUND


@pytest.mark.parametrize(
    "text",
    [
        CONTEXT,
        "src/a-1-b.py-3-x\nsrc/a-1-b.py:4:y: z\nsrc/a-1-b.py-5-w",
        "C:\\work\\a.cs:3:x\nC:\\work\\a.cs:9:y\nC:\\work\\b.cs:9:z",
        "docs/a b.md:3:x\ndocs/a b.md:4:y",
        "src/a.py:x = 1\nsrc/a.py:y = {\nsrc/b.py:z",
        "src/a.py:3:\nsrc/a.py:4:\nsrc/a.py:5:",
        "Output:\nsrc/a.py:3:x\nsrc/a.py:4:y\n\n3 matches",
        "src/a.py:3:漢字\r\nsrc/a.py:4:größe\r\n",
    ],
)
def test_the_form_without_loss_gives_the_text_back(text: str) -> None:
    form = grouped(text)
    assert form is not None
    assert len(form) < len(text)
    assert ungrouped(form) == text


@pytest.mark.parametrize(
    "text",
    [
        "12:x\n14:y\n19:z",
        "src/a.py:3:x\nsrc/b.py:3:x",
        "src/a.py\n3:x\nsrc/b.py:3:one\nsrc/b.py:4:two",  # reads as a form already
        "",
    ],
)
def test_what_cannot_be_given_back_or_is_not_shorter_has_no_such_form(text: str) -> None:
    form = grouped(text)
    assert form is None or ungrouped(form) == text


def test_lines_that_name_what_was_asked_about_come_first_and_counts_are_exact() -> None:
    shorter = CODEC.reduced(FOUND, Ask("why is step_48 slow?"), 700, note)
    assert shorter is not None
    assert "48:    def step_48(self, width):" in shorter.text.split("\n")
    for path, number in (("src/reader/parse.py", 25), ("src/writer.py", 3), ("tests/test_parse.py", 1)):
        part = shorter.text.split(f"{path}\n")[1]
        shown = 0
        for line in part.split("\n"):
            if not re.match(r"\d+:", line):
                break
            shown += 1
        left = re.match(r"(?:\d+:.*\n)*\[\.\.\. (\d+) more of (\d+) lines\]", part)
        assert shown + (int(left[1]) if left else 0) == number
    assert shorter.left_out.endswith("of 29 lines in 3 files")


def test_every_line_kept_is_verbatim() -> None:
    shorter = CODEC.reduced(FOUND, Ask(), 600, note)
    assert shorter is not None
    given = {line.split(":", 1)[1] for line in FOUND.split("\n") if line}
    paths = {line.split(":", 1)[0] for line in FOUND.split("\n") if line}
    assert set(own_lines(shorter.text)) <= given | paths


def test_what_says_the_same_is_shown_once_before_it_is_shown_twice() -> None:
    text = "\n".join([*(f"src/a{n}.py:{n}:import os" for n in range(1, 30)), "src/a1.py:99:unlike"])
    shorter = CODEC.reduced(text, Ask(), 1_500, note)
    assert shorter is not None
    assert "99:unlike" in shorter.text


def test_too_many_files_become_a_list_with_counts() -> None:
    text = "\n".join(f"src/some/long/folder/module_{n % 80}.py:{n}:value = {n}" for n in range(400))
    shorter = CODEC.reduced(text, Ask("look at module_7.py"), 900, note)
    assert shorter is not None
    assert "src/some/long/folder/module_7.py [... 5 found]" in shorter.text.split("\n")
    assert len(shorter.text) < 1_200


def test_a_line_too_long_is_cut_around_what_was_asked_about() -> None:
    long = "x" * 3_000 + "needle_7" + "y" * 3_000
    text = "\n".join(f"dist/a.min.js:{n}:{long}" for n in range(1, 8))
    shorter = CODEC.reduced(text, Ask("where is needle_7"), 1_500, note)
    assert shorter is not None
    assert "needle_7" in shorter.text
    assert "characters]" in shorter.text


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-09 07:29:10 install libonig5\n2026-05-09 07:29:11 status x\n2026-05-09 07:29:12 status y",
        "1: a\n2: b\n3: c\n4: d\n5: e",
        "key: value\nother: value\nthird: value\nfourth: x",
        "https://a.example/x\nhttps://b.example/y\nhttps://c.example/z\nhttps://d.example/q",
        "Nov 20 21:27:03 host a[1]: x\nNov 20 21:27:04 host a[1]: y\nNov 20 21:27:05 host a[1]: z",
    ],
)
def test_what_only_looks_like_a_search_is_none(text: str) -> None:
    assert sure(CODEC, text) == 0.0


def test_a_search_is_told_by_its_lines() -> None:
    assert detect(FOUND) == "search"
    assert detect(CONTEXT) == "search"
    assert detect("25-  a\n26:  width\n27-  b\n--\n90-  x\n91:  width\n92-  y") == "search"
