"""What a text of a given length may cost, however it is made: work that grows as the text does."""

from __future__ import annotations

import pytest
from tests.effort import took_s, within

from pennyweight.text.compression import Ask
from pennyweight.text.compression.codecs import CODECS
from pennyweight.text.compression.detect import sample

from .forms import note

SIZE = 40_000
FLOOR_S = 0.25
"""CPU below which a ratio says nothing: five times what the slowest of them takes."""
KINDS = (
    "blob",
    "code",
    "diff",
    "html",
    "json",
    "listing",
    "log",
    "markdown",
    "search",
    "shell",
    "table",
    "tests",
    "trace",
)
TRAPS = {
    "one line": "a" * SIZE,
    "one line of code": "function f(){return{a:[1,2]}};" * (SIZE // 31),
    "colons": "a:1:" * (SIZE // 4),
    "dashes": ("a-1" * 90 + "\n") * (SIZE // 271),
    "quotes": "\"'" * (SIZE // 2),
    "triple quotes": "\"\"\"'''\n" * (SIZE // 7),
    "open braces": "{\n" * (SIZE // 2),
    "shut braces": "}\n" * (SIZE // 2),
    "brackets": "((((\n" * (SIZE // 5),
    "slashes": "/a" * (SIZE // 2),
    "short paths": "a/b\n" * (SIZE // 4),
    "spaces": " " * SIZE,
    "spaces and lines": "     \n" * (SIZE // 6),
    "comments": "/* a\n" * (SIZE // 5),
    "backslashes": "\\" * SIZE,
    "decorators": "@a\n" * (SIZE // 3),
    "heads": "def f():\n" * (SIZE // 9),
    "deep": "".join(" " * (n % 300) + "x:\n" for n in range(SIZE // 153)),
    "numbers": "".join(f"{n}:\n" for n in range(SIZE // 7)),
    "angle brackets": "<" * SIZE,
    "tags": "<a " * (SIZE // 3),
    "open tags": "<div><p>" * (SIZE // 8),
    "entities": "&amp" * (SIZE // 4),
    "hashes": "#" * SIZE,
    "heads of markdown": "# a\n" * (SIZE // 4),
    "fences": "```\n" * (SIZE // 4),
    "links": "[a](b" * (SIZE // 5),
    "pipes": "|a" * (SIZE // 2),
    "hunks": "@@ -1,1 +1,1 @@\n-a\n" * (SIZE // 19),
    "heads of files": "diff --git a/x b/x\n--- a/x\n+++ b/x\n" * (SIZE // 36),
    "minus": "-\n" * (SIZE // 2),
    "a date and spaces": "05/09/2026  07:29 AM  12 a" + " " * SIZE + "b",
    "rights and spaces": "-rw-r--r-- 1 a b 12 Nov 20 21:27 " + "a " * (SIZE // 2),
    "a path and colons": "src/a.py:12:" + "x:1:" * (SIZE // 4),
    "badges": "[![a](" + "badge.svg" * (SIZE // 9),
    "many badges": "![a](b.svg) " * (SIZE // 12) + "x",
    "boxes": "│   " * (SIZE // 4),
    "nested JSON": '{"a":' * (SIZE // 5),
    "strings of JSON": '["' * (SIZE // 2),
    "a string without end": '{"' + "\\" * SIZE,
    "heads of JSON": "[1,\n" * (SIZE // 4),
    "rows of JSON": "[" + '{"a":1,"b":"x y"},' * (SIZE // 18) + "{}]",
    "quoted cells": 'a,b,c\n"' * (SIZE // 7),
    "cells": "a,b,c\n" + "1,2,3\n" * (SIZE // 6),
    "rules": "| a\n" + "| - " * (SIZE // 4) + "x\n|a",
}


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_a_trap(kind: str, name: str) -> None:
    """Four times the text takes about four times as long, or no time at all."""
    text = TRAPS[name]
    if within(FLOOR_S, lambda: work(kind, text)):
        return
    small = max(took_s(lambda: work(kind, text[: len(text) // 4])) for _ in range(3))
    assert within(8 * small, lambda: work(kind, text))


def work(kind: str, text: str) -> None:
    codec = CODECS[kind]  # type: ignore[index]
    codec.sniff(sample(text))
    codec.lossless(text)
    codec.reduced(text, Ask("why does parse_args fail in a.py:12?"), 2_000, note)
