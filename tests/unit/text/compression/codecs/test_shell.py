from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.effort import within

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.shell import collapsed, lossless, reduced, shown, uncollapsed


def test_what_a_terminal_still_shows_is_kept_and_nothing_else() -> None:
    said = "\x1b[32mok\x1b[0m one\r\n10%\r50%\r100% done\n\x1b[1mlast\x1b[0m"
    assert detect(said) == "shell"
    made = compress(said, count=len)
    assert made.text == "ok one\n100% done\nlast"
    assert made.lossless
    assert not made.references


def test_a_shorter_writing_covers_only_as_far_as_it_reaches() -> None:
    assert shown("downloading 10%\rdone\n") == "doneloading 10%\n"
    assert shown("downloading 10%\r\x1b[Kdone\n") == "done\n"
    assert shown("\x1b]0;title\x07a\x1b(Bb\r\n") == "ab\n"


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "", "b  ", "x [× 3", "[+2]"]), max_size=40))
def test_equal_lines_can_be_written_out_again(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert uncollapsed(collapsed(text)) == text


def test_a_text_that_counts_like_us_is_not_collapsed() -> None:
    text = "a [× 3]\n" + "b\n" * 9
    assert collapsed(text) == text


PIP = (
    ["$ pip install -r requirements.txt"]
    + [f"Collecting lib{i}==1.{i}\n  Downloading lib{i}-1.{i}-py3-none-any.whl (12 kB)" for i in range(40)]
    + [
        "ERROR: Cannot install lib3 and lib4: conflict",
        "Installing collected packages: lib0, lib1",
        "Successfully installed",
    ]
)
DOCKER = [f"{i:012x}: Pulling fs layer" for i in range(30)] + ["Status: Downloaded newer image for python:3.11"]
TQDM = [f"epoch 1: {i}%|{'█' * (i // 10)}| {i}/100" for i in range(100)] + ["loss 0.123"]
APT = [f"Get:{i} http://deb.debian.org/debian bookworm/main amd64 lib{i}" for i in range(30)] + ["E: Unable to fetch"]


@pytest.mark.parametrize("lines", [PIP, DOCKER, TQDM, APT])
def test_of_progress_the_last_line_and_a_count_stay(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert detect(text) == "shell"
    form = reduced(text, Ask(), 100, lambda what: f"[{what} left out]")
    assert form is not None
    assert len(form.text) < 0.5 * len(text)
    kept = form.text.split("\n")
    assert kept[-2] == lines[-1]
    rest = iter(text.split("\n"))
    assert all(line in rest for line in kept if not line.startswith("["))


def test_no_line_that_tells_of_trouble_or_is_named_is_progress() -> None:
    text = "\n".join(PIP)
    form = reduced(text, Ask(query="why lib17==1.17?"), 100, lambda what: f"[{what} left out]")
    assert form is not None
    assert "ERROR: Cannot install lib3 and lib4: conflict" in form.text
    assert "Collecting lib17==1.17" in form.text.split("\n")


def test_rules_and_dots_are_no_progress() -> None:
    text = "\n".join(["=" * 70, "-" * 70, "." * 66, "a title", "=" * 70] * 8)
    assert reduced(text, Ask(), 100, str) is None


def test_a_log_that_imitates_our_notes_gets_none() -> None:
    assert reduced("\n".join([*PIP, "[+12]"]), Ask(), 100, str) is None


@pytest.mark.parametrize(
    "piece", ["\r", "\x1b[", "\x1b]", "\x1b[0;", "a\r", "\r\x1b[K", "= ", "#", "9%", " 1", "\x1b[2K", "█"]
)
def test_hostile_texts_cost_no_more_than_their_length(piece: str) -> None:
    text = "\n".join([piece * 100_000] * 3)

    def work() -> None:
        lossless(text)
        reduced(text, Ask(), 100, str)
        detect(text)

    assert within(3.0, work)
