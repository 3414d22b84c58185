from __future__ import annotations

import pytest

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.listing import (
    CODEC,
    columns_once,
    columns_restored,
    drawn,
    foldered,
    undrawn,
    unfoldered,
)

from .forms import note, sure

FIND = "\n".join([*(f"./src/deep/module_{n}.py" for n in range(40)), "./src/deep/schema.sql", "./README.md", ""])
LONG = """\
total 28
drwxr-xr-x 12 user staff   4096 Nov 20 21:27 .
drwxr-xr-x  4 user staff   4096 Nov  1  2025 ..
-rw-r--r--  1 user staff 173138 Nov 20 21:27 NOTES.md
-rw-r--r--  1 user staff     39 Nov 20 21:27 a file
lrwxrwxrwx  1 user staff      9 Nov 20 21:27 here -> ../there
"""
TREE = "src\n├── a.py\n├── sub\n│   ├── b.py\n│   └── deep\n│       └── c.py\n└── z.py\n\n2 directories, 4 files"


def test_a_folder_is_said_once_over_its_names() -> None:
    form = foldered(FIND)
    assert form is not None
    assert form.split("\n")[:2] == ["./src/deep/", " module_0.py"]
    assert unfoldered(form) == FIND
    assert len(form) < 0.7 * len(FIND)


@pytest.mark.parametrize(
    "text",
    [
        "/a/b\n/a/c\n /odd\n/a/d\n/a/e",
        "/a/b/\n/a/c/\n",
        "C:\\x\\y\\a\nC:\\x\\y\\b",
        "/größe/a\n/größe/b\n/数据/c\n/数据/d",
    ],
)
def test_odd_paths_come_back(text: str) -> None:
    form = foldered(text)
    assert form is None or unfoldered(form) == text


def test_columns_that_are_the_same_are_said_once() -> None:
    form = columns_once(LONG)
    assert form is not None
    assert "[every entry: owner user, group staff]" in form
    assert "-rw-r--r-- 1 39 Nov 20 21:27 a file" in form.split("\n")
    assert columns_restored(form) == LONG


def test_sections_of_ls_r_align_on_their_own() -> None:
    text = f"./a:\n{LONG}\n./b:\n{LONG.replace('173138', '  1731').replace('  4096', '4096').replace('    39', '  39')}"
    form = columns_once(text)
    assert form is None or columns_restored(form) == text


@pytest.mark.parametrize("way", ["│   ", "│\xa0\xa0 "])
def test_a_tree_is_drawn_again_from_its_depths(way: str) -> None:
    text = TREE.replace("│   ", way)
    form = undrawn(text)
    assert form is not None
    assert "  deep" in form.split("\n")
    assert drawn(form, (way, "├── ", "└── ")) == text


def test_what_is_left_out_is_counted_by_extension_and_asked_and_rare_names_stay() -> None:
    shorter = CODEC.reduced(FIND, Ask("what is in module_31.py?"), 420, note)
    assert shorter is not None
    lines = shorter.text.split("\n")
    assert " module_31.py" in lines
    assert " schema.sql" in lines
    assert "./README.md" in lines
    shown = sum(line.startswith(" module_") for line in lines)
    assert f"[... {40 - shown} more .py]" in lines
    assert shorter.left_out == f"{40 - shown} of 42 names"
    assert len(shorter.text) <= 600


def test_far_too_many_folders_are_counted() -> None:
    text = "\n".join(f"/srv/app_{n % 300}/data/file_{n}.json" for n in range(3_000))
    shorter = CODEC.reduced(text, Ask("read file_2718.json"), 1_000, note)
    assert shorter is not None
    assert "file_2718.json" in shorter.text
    assert len(shorter.text) < 2_200


def test_a_list_of_dos_is_read_too() -> None:
    rows = "".join(f"05/09/2026  07:{n % 60:02} AM    {n * 37:>14,} module_{n}.cs\r\n" for n in range(90))
    folder = "05/09/2026  07:29 AM    <DIR>          bin"
    text = f" Volume in drive C has no label.\r\n\r\n Directory of C:\\work\\src\r\n\r\n{folder}\r\n{rows}"
    assert detect(text) == "listing"
    made = CODEC.reduced(text, Ask("open module_77.cs"), 500, note)
    assert made is not None
    lines = made.text.split("\n")
    assert "C:\\work\\src\\" in lines
    assert " module_77.cs" in lines
    assert " bin\\" in lines
    shown = sum(line.startswith(" module_") for line in lines)
    assert f"[... {90 - shown} more .cs]" in lines


def test_names_alone_are_a_list_if_they_are_many() -> None:
    names = "\n".join(f"tool-{word}" for word in "abcdefghijklmnopqrstuvwxyz")
    assert detect(names) == "listing"
    assert sure(CODEC, "one\ntwo\nthree\nfour\n") == 0.0
    assert sure(CODEC, "\n".join(str(n) for n in range(99))) == 0.0
    assert sure(CODEC, "same\n" * 40) == 0.0


def test_lists_are_told_by_their_lines_and_sentences_are_not_lists() -> None:
    for text in (FIND, LONG, TREE, "src/a.py\nsrc/b.py\nsrc/c.py\nsrc/d.py"):
        assert detect(text) == "listing"
    for text in (
        "He said and/or she said.\n" * 9,
        "a: 1\nb: 2\nc: 3\nd: 4\n",
        "https://a.b/c\n" * 6,
        "#include <a/b.h>\n" * 6,
    ):
        assert sure(CODEC, text) == 0.0
