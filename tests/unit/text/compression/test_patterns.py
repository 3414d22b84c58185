from __future__ import annotations

import pytest

from pennyweight.text.compression import compress
from pennyweight.text.compression.patterns import filled_in, said_by_pattern

PLACE = "in /opt/conda/envs/testbed/lib/python3.9/site-packages"
PIP = "\n".join(
    [
        "Obtaining file:///testbed",
        *(
            f"Requirement already satisfied: {name} {PLACE} ({version})"
            for name, version in [("a>=1", "1.2"), ("b", "3")]
        ),
        *(
            f"Requirement already satisfied: dep{n}<{n + 2} {PLACE} (from pkg{n % 3}==1.{n}) (0.{n}.1)"
            for n in range(9)
        ),
        "Successfully installed testbed-0.1",
    ]
)


def test_lines_that_are_alike_are_said_once_with_what_changes_below() -> None:
    form = said_by_pattern(PIP)
    assert form is not None
    lines = form.split("\n")
    assert lines[0] == "Obtaining file:///testbed"
    assert lines[3] == (
        f"[9 lines, below only what stands for each *: Requirement already satisfied: * {PLACE} (from *) (*)]"
    )
    assert lines[4:6] == ["dep0<2 pkg0==1.0 0.0.1", "dep1<3 pkg1==1.1 0.1.1"]
    assert lines[-1] == "Successfully installed testbed-0.1"
    assert filled_in(form) == PIP


def test_numbers_versions_and_paths_are_never_cut() -> None:
    text = "\n".join(f"copied /srv/data/part-{n}.bin in size=10{n} version 1.2.{n} to the other host" for n in range(6))
    form = said_by_pattern(text)
    assert form is not None
    assert form.split("\n")[1] == "/srv/data/part-0.bin 100 1.2.0"
    assert filled_in(form) == text


def test_equal_lines_few_lines_and_lines_that_share_little_are_left_alone() -> None:
    assert said_by_pattern("\n".join(["the same line, again and again, word for word"] * 9)) is None
    assert said_by_pattern("\n".join(f"Requirement already satisfied: {n} {PLACE}" for n in range(3))) is None
    assert said_by_pattern("\n".join(f"Pass {n}" for n in range(99))) is None


def test_a_sign_that_stands_in_a_line_is_not_used() -> None:
    text = "\n".join(f"warning: glob *.py matched nothing below directory number {n}" for n in range(6))
    form = said_by_pattern(text)
    assert form is not None
    assert "for each …:" in form
    assert filled_in(form) == text
    assert said_by_pattern(text.replace("nothing", "… ¤")) is None


def test_a_text_that_imitates_a_head_is_left_alone() -> None:
    assert said_by_pattern(PIP + "\n[2 lines, below only what stands for each *: a * c]\nb\nd") is None


@pytest.mark.parametrize(
    "form",
    [
        "[9999999 lines, below only what stands for each *: a *]\nb",
        "[1 lines, below only what stands for each *: a]\nb",
        "[1 lines, below only what stands for each *: a *]\nb c",
    ],
)
def test_a_head_without_its_rows_is_an_error(form: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        filled_in(form)


def test_what_a_package_manager_prints_gets_such_a_form() -> None:
    made = compress(PIP, count=lambda text: len(text) // 4)
    assert made.kind == "shell"
    assert made.lossless
    assert filled_in(made.text) == PIP
