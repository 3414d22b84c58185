from __future__ import annotations

import pytest

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.markdown import CODEC, tightened

from .forms import NOTE, note, own_lines, sure

SECTION = """\
## {name}

{name} is the first thing to know about it. It has {number} parts. They are described in what follows here, at
some length, so that there is something that can be left out.

- one part of {name}, with `option_{number}`
- another part

```toml
[{name}]
# not a heading
value = {number}
```

| key | value |
| --- | --- |
| {name} | {number} |

More words about {name}, which nobody asked for, but which are there all the same and have their own place.
"""
NAMES = ("install", "streams", "pricing", "storage", "limits")
DOCUMENT = """\
# The document

[![Build](https://img.shields.io/badge/build-passing-green.svg)](https://ci.example/x)
<!-- a comment
that goes on -->

- [install](#install)
- [streams](#streams)

It says what there is. It says it twice.

""" + "\n".join(SECTION.format(name=name, number=number * 7) for number, name in enumerate(NAMES, 1))
HINDI = "# दस्तावेज़\n\n" + "\n".join(
    f"## भाग {n}\n\nयह भाग {n} का पहला वाक्य है, जो लंबा है। यह दूसरा वाक्य है, जो छोड़ा जा सकता है।\n" for n in range(30)
)
CHINESE = "# 文档\n\n" + "\n".join(
    f"## 第 {n} 节 {'缓存的价格' if n == 17 else '其他'}\n\n"
    f"这是第 {n} 节的第一句话，写得足够长，可以单独保留下来。这是可以省略的第二句话，它写得也长。"
    "第三句没有新的内容，所以也可以省略，只是为了让这一段更长。\n\n- 要点\n"
    for n in range(30)
)
GERMAN = "# Das Dokument\n\n" + "\n".join(
    f"## Abschnitt {n}\n\nDies ist der erste Satz von Abschnitt {n}. Der zweite über Größe und Maß darf fehlen.\n"
    for n in range(30)
)


def shorter(text: str, ask: Ask = Ask(), room: int = 900) -> str:  # noqa: B008 - frozen
    made = CODEC.reduced(text, ask, room, note)
    assert made is not None
    return made.text


def test_lines_kept_are_the_documents_own_and_in_order() -> None:
    for text in (DOCUMENT, HINDI, CHINESE, GERMAN):
        form = shorter(text, room=len(text) // 2)
        at = 0
        for line in own_lines(form):
            found = text.find(line, at)
            assert found >= 0, line
            at = found + len(line)
        assert form.endswith(NOTE)
        assert form == shorter(text, room=len(text) // 2)


@pytest.mark.parametrize("room", [300, 700, 1_100, 1_500])
def test_fences_and_tables_are_whole_or_left_out(room: int) -> None:
    form = shorter(DOCUMENT, room=room)
    lines = form.split("\n")
    assert lines.count("```toml") == lines.count("```")
    for number, name in enumerate(NAMES, 1):
        fence = f"```toml\n[{name}]\n# not a heading\nvalue = {number * 7}\n```"
        assert (f"[{name}]" in form) == (fence in form)
        table = f"| key | value |\n| --- | --- |\n| {name} | {number * 7} |"
        assert (f"| {name} |" in form) == (table in form)


def test_a_section_asked_about_is_whole() -> None:
    form = shorter(DOCUMENT, Ask("how do streams work?"))
    section = SECTION.format(name="streams", number=14)
    assert section.rstrip("\n") in form
    assert "Of all the others" not in form
    assert SECTION.format(name="storage", number=28).rstrip("\n") not in form


def test_what_names_an_option_is_kept() -> None:
    assert "- one part of pricing, with `option_21`" in shorter(DOCUMENT, Ask("what is option_21 for?")).split("\n")


def test_badges_comments_and_contents_go_first() -> None:
    form = shorter(DOCUMENT, room=2_000)
    assert "badge" not in form
    assert "a comment" not in form
    assert "(#install)" not in form
    assert "[... lines 3-8]" in form
    for name in NAMES:
        assert f"## {name}" in form


def test_marks_name_lines_of_the_text() -> None:
    lines = DOCUMENT.split("\n")
    form = shorter(DOCUMENT, room=600)
    shown = set(own_lines(form))
    missing: set[int] = set()
    for line in form.split("\n"):
        if line.startswith("[... line"):
            first, _, last = line.strip("[].").split(" ")[-1].partition("-")
            missing |= set(range(int(first), int(last or first) + 1))
    for number, line in enumerate(lines, 1):
        assert number in missing or not line or line in shown


def test_a_sentence_may_stand_for_a_paragraph_in_any_script() -> None:
    assert "यह भाग 3 का पहला वाक्य है, जो लंबा है।" in shorter(HINDI, room=2_400).split("\n")
    assert "这是第 3 节的第一句话，写得足够长，可以单独保留下来。" in shorter(CHINESE, room=1_900).split("\n")
    assert "Dies ist der erste Satz von Abschnitt 3." in shorter(GERMAN, room=2_600).split("\n")


def test_a_question_without_spaces_finds_its_section() -> None:
    form = shorter(CHINESE, Ask("缓存的价格是多少"), room=800)
    assert "这是第 17 节的第一句话，写得足够长，可以单独保留下来。这是可以省略的第二句话，它写得也长。" in form


def test_tables_lose_the_blanks_that_align_them_and_nothing_else() -> None:
    rows = "\n".join(f"| {name:<40} | {number:>20} |" for number, name in enumerate(NAMES * 5))
    table = f"| {'name':<40} | {'number':>20} |\n|{'-' * 42}|{'-' * 22}|\n{rows}"
    text = f"# Head\n\n{table}\n\n```\n{table}\n```\n"
    form = tightened(text)
    assert form is not None
    assert form.split("\n")[2] == "| name | number |"
    assert form.count(table) == 1, "what stands in a fence is as it was"
    assert form.replace(" ", "").replace("-", "") == text.replace(" ", "").replace("-", "")
    assert tightened(DOCUMENT) is None, "not for a few characters"


@pytest.mark.parametrize("text", ["```\n" * 41, "<!-- \n" * 40, "# a\n" * 50, "|a|\n" * 50, "#\n\n" * 90, "- \n" * 99])
def test_broken_documents_cost_nothing(text: str) -> None:
    made = CODEC.reduced(text, Ask("a"), 100, note)
    assert made is None or len(made.text) < len(text)


def test_documents_are_told_by_their_marks() -> None:
    for text in (DOCUMENT, CHINESE):
        assert detect(text) == "markdown"
    for text in (
        "# a comment\n\nx = 1\n" * 9,
        "# comment\n\nimport os\n\n\ndef f(x):\n    # - item\n    return `x`\n" * 5,
        "one\ntwo\n- three\n- four\n- five\nsix\n",
    ):
        assert sure(CODEC, text) == 0.0
