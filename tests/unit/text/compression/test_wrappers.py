from __future__ import annotations

import json

import pytest
from tests.effort import within

from pennyweight.text.compression.wrappers import enveloped, numbered, unwrapped

BODY = "one line\n  another, indented\n\nthe last one"
CODEX = "Chunk ID: 8bb442\nWall time: 0.0000 seconds\nProcess exited with code 0\nOriginal token count: 83\nOutput:\n"
REMINDER = "\n\n<system-reminder>\nWhoever reads this has 1,204 tokens left.\n</system-reminder>\n"


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (CODEX, ""),
        ("Exit code: 1\nWall time: 0.2 seconds\nOutput:\n", "\n"),
        ("", REMINDER),
        ("<system-reminder>\nread the rules\n</system-reminder>\n\n", ""),
        (CODEX, "\n<system-reminder><total_tokens>9000 tokens left</total_tokens></system-reminder>"),
        ("<path>/w/a.py</path>\n<type>file</type>\n<content>\n", "\n\n(End of file - total 4 lines)\n</content>"),
        ("", "\n\n[901 more lines in file. Use offset=180 to continue.]"),
        ("", "[... 14102 more characters truncated; rerun with narrower args if needed]"),
        ("<returncode>0</returncode>\n<output>\n", "\n</output>"),
        ("```log\n", "\n```"),
        ("Here it is:\n\n```\n", "\n```\n"),
        (CODEX + "```\n", "\n```"),
        ("", "\n\nCommand exited with code 1"),
        ("OBSERVATION:\n", "\n(Open file: /a/b.py)\n(Current directory: /a)\nbash-$"),
        ("", ""),
    ],
)
def test_what_a_client_puts_around_a_text_is_told_from_it(head: str, tail: str) -> None:
    found = unwrapped(head + BODY + tail)
    assert found.body.rstrip("\n") == BODY
    assert "".join(found) == head + BODY + tail
    assert found.head == head
    assert found.body + found.tail == BODY + tail


def test_equal_bodies_in_unequal_wrappers_compare_equal() -> None:
    again = CODEX.replace("8bb442", "c0ffee").replace("0.0000", "12.3456")
    assert unwrapped(CODEX + BODY + REMINDER).body == unwrapped(again + BODY).body


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "```\nno end",
        "```\na\n```\ntext between\n```\nb\n```",
        "<system-reminder> never closed",
        "a text about Chunk ID: 8bb442\nOutput:\nnothing",
        "x\n</system-reminder>",
        "\ud800 lone",
        "```\n```",
        "Output:\n",
    ],
)
def test_head_body_and_tail_are_always_the_text(text: str) -> None:
    assert "".join(unwrapped(text)) == text


def test_what_is_no_wrapper_stays_in_the_body() -> None:
    for text in ("```\na\n```\ntext between\n```\nb\n```", "Note: Output:\nx", "a <system-reminder> b"):
        assert unwrapped(text).body == text


def test_an_envelope_of_json_is_opened_and_closed_again_exactly() -> None:
    whole = {"status": "completed", "output": [{"type": "text", "text": 'a\n"quoted"\ttab\nz' * 20}], "value": None}
    for escaped in (False, True):
        text = json.dumps(whole, ensure_ascii=escaped, separators=(",", ":"))
        found = enveloped(text)
        assert found is not None
        assert found.body == whole["output"][0]["text"]  # type: ignore[index]
        assert found.sealed(found.body) == text
        assert json.loads(found.sealed("short"))["output"][0]["text"] == "short"


def test_json_that_is_no_envelope_is_not_opened() -> None:
    assert enveloped(json.dumps({"a": ["x\ny"] * 50})) is None
    assert enveloped('{"a": "' + "line\\n" * 50 + '"') is None  # cut off
    assert enveloped("not json\n" * 20) is None


def test_line_numbers_of_reading_tools_are_taken_off() -> None:
    for mark in ("{:6d}\t", "{:6d}→", "{}: ", "{:05d}| ", "{}\t"):
        lines = [mark.format(i) + text for i, text in enumerate(["def f():", "    return 1", "", "x = 2"], 7)]
        found = numbered(lines)
        assert found is not None, mark
        assert list(found.lines) == ["def f():", "    return 1", "", "x = 2"]
        assert [a + b for a, b in zip(found.marks, found.lines, strict=True)] == lines


def test_numbers_that_do_not_count_up_are_text() -> None:
    assert numbered(["12: a", "40: b", "41: c"]) is None
    assert numbered(["1 a", "2 b"]) is None
    assert numbered(["1", "2", "3"]) is None
    assert numbered(["1: a", "2| b"]) is None
    assert numbered(["1: a"]) is None


@pytest.mark.parametrize("piece", ["<system-reminder>", "```\n", "Output:\n", '"\\', "</output>\n", " \n", "1: \n"])
def test_many_of_the_same_cost_no_more_than_their_length(piece: str) -> None:
    text = piece * (400_000 // len(piece))

    def work() -> None:
        unwrapped(text)
        enveloped("{" + text + "\\n" * 50)
        numbered(text.split("\n"))

    assert within(2.0, work)
