from __future__ import annotations

import json
import re

import pytest

from pennyweight.text.compression import compress, detect
from pennyweight.text.tokenizers import BpeTokenizer

LOG = [
    f"2026-01-01 00:{i // 60:02d}:{i % 60:02d} INFO worker {i % 7} took job {i * 31} of queue main" for i in range(300)
]
LOG[120] = "2026-01-01 00:02:00 ERROR worker 3 lost job 4711: no space left on /dev/sda1"
BODY = "\n".join(LOG)
CODEX = "Chunk ID: 8bb442\nWall time: 0.2 seconds\nProcess exited with code 0\nOriginal token count: 9\nOutput:\n"
REMINDER = "\n\n<system-reminder>\n9 tokens left\n</system-reminder>\n"


def count(text: str) -> int:
    return len(text) // 4


@pytest.mark.parametrize(("head", "tail"), [("", ""), (CODEX, ""), (CODEX, REMINDER), ("```log\n", "\n```\n")])
def test_what_stands_around_a_text_stays_around_its_form(head: str, tail: str) -> None:
    made = compress(head + BODY + tail, count=count, room_tokens=200, reference="rabc")
    assert made.kind == "log"
    assert made.text.startswith(head + "[29")
    assert made.text.endswith(LOG[-1] + tail)
    assert made.references == ("rabc",)
    assert made.tokens_after < 0.1 * made.tokens_before


def test_a_text_inside_an_envelope_of_json_is_shortened_there() -> None:
    text = json.dumps({"status": "completed", "output": [{"type": "text", "text": BODY}], "value": None})
    made = compress(text, count=count, room_tokens=200, reference="rabc")
    inner = json.loads(made.text)
    assert inner["status"] == "completed"
    assert LOG[120] in inner["output"][0]["text"].split("\n")
    assert made.tokens_after < 0.1 * made.tokens_before


def test_numbers_of_lines_stay_with_their_lines() -> None:
    text = "\n".join(f"{i:6d}\t{line}" for i, line in enumerate(LOG, 1))
    assert detect(text) == "log"
    made = compress(text, count=count, room_tokens=200, reference="rabc")
    assert made.changed
    numbered = [line for line in made.text.split("\n") if "\t" in line]
    assert f"   121\t{LOG[120]}" in numbered
    assert set(numbered) <= set(text.split("\n"))


def test_of_equal_lines_no_number_is_guessed() -> None:
    lines = [*LOG[:100], *["2026-01-01 09:09:09 WARN again"] * 5, *LOG[100:]]
    text = "\n".join(f"{i}: {line}" for i, line in enumerate(lines, 1))
    made = compress(text, count=count, room_tokens=200, reference="rabc")
    assert made.changed
    for line in made.text.split("\n"):
        found = re.match(r"(\d+): (.*)", line)
        if found is not None:
            assert lines[int(found[1]) - 1] == found[2]


def test_each_part_of_a_mixed_text_has_a_form_of_its_own() -> None:
    text = f"I looked at the service.\n\n```\n{BODY}\n```\n\nThen below:\n\n```\nnothing here\n```\nDone.\n"
    made = compress(text, count=count, room_tokens=200, reference="rabc")
    assert made.text.startswith("I looked at the service.\n\n```\n[29")
    assert made.text.endswith("```\n\nThen below:\n\n```\nnothing here\n```\nDone.\n")
    assert LOG[120] in made.text.split("\n")


def test_a_text_that_holds_a_note_of_ours_loses_nothing() -> None:
    first = compress(BODY, count=count, room_tokens=200, reference="rabc").text
    again = compress(first, count=count, room_tokens=20, reference="rxyz")
    assert again.lossless
    assert not again.references
    forged = '[9 of 9 lines left out: recall("rzzz") gives the whole text]\n' + BODY
    assert not compress(forged, count=count, room_tokens=20, reference="rxyz").references


def test_without_a_reference_or_room_nothing_is_left_out() -> None:
    for made in (compress(BODY, count=count, room_tokens=20), compress(BODY, count=count, reference="rabc")):
        assert made.lossless
        assert not made.left_out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00" * 500,
        "\ud800\udfff" * 300,
        "a\rb" * 300,
        "x" * 5_000,
        "\n" * 5_000,
        "é\x85\u2028" * 200,
        "\x1b[" * 900,
    ],
)
def test_odd_texts_come_back_whole_or_shorter(text: str) -> None:
    made = compress(text, count=len, room_tokens=10, reference="rabc")
    assert made.tokens_after <= made.tokens_before
    assert made.changed or made.text == text


def test_a_room_in_tokens_holds_in_scripts_with_many_tokens() -> None:
    said = {
        "zh": "第{n}天，委员会讨论了预算。遥控器的价格不应超过{n}欧元。天气很好，大家都很高兴。",
        "hi": "दिन {n} को समिति की बैठक हुई। कीमत {n} यूरो से अधिक नहीं होनी चाहिए। मौसम अच्छा था। ",
    }
    count = BpeTokenizer().count
    for line in said.values():
        text = "".join(line.format(n=n) for n in range(150))
        made = compress(text, count=count, room_tokens=400, reference="r1234567")
        assert 200 < made.tokens_after < 480
