"""What shortening promises of any text: kept lines are the text's, in order; counts add up; no text grows."""

from __future__ import annotations

import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask, compress
from pennyweight.text.compression.again import said_once, written_out
from pennyweight.text.compression.codecs import CODECS
from pennyweight.text.compression.codecs.logs import lossless, restored
from pennyweight.text.compression.codecs.shell import collapsed, shown, uncollapsed
from pennyweight.text.compression.masks import masked
from pennyweight.text.compression.parts import parts_of
from pennyweight.text.compression.patterns import filled_in, said_by_pattern
from pennyweight.text.compression.repeats import is_note
from pennyweight.text.compression.wrappers import enveloped, numbered, renumbered, unwrapped

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LINE_KINDS = ("log", "shell", "tests", "trace")
MARK = re.compile(r"\[(?:\+(\d+)[^\n]*|[^\n]* left out[^\n]*)\]")

WORDS = st.sampled_from(
    [
        "INFO",
        "ERROR",
        "订单",
        "größe",
        "आदेश",
        "order",
        "4711",
        "/srv/a.py",
        "x=1",
        "10.0.0.1",
        "ok",
        "...",
        "[+3",
        "\ud800",
        "a\x00b",
    ]
)
STAMPS = st.sampled_from(
    ["2026-01-01 00:00:01 ", "2026-01-01 00:00:02 ", "", "test a::b PASSED", "    at a.b(c.js:1:2)", "\t"]
)
FEW = st.lists(
    st.one_of(
        st.builds(lambda stamp, words: stamp + " ".join(words), STAMPS, st.lists(WORDS, max_size=4)),
        st.sampled_from(
            [
                "test_a (tests.T.test_a) ... ok",
                "--- PASS: TestA (0.00s)",
                '  File "/usr/lib/python3.11/site-packages/a.py", line 3, in f',
                "    return 1",
                "Traceback (most recent call last):",
                "ValueError: no price",
                "Collecting a==1",
                "012345678901: Pulling fs layer",
                "10%|███ | 1/10",
                "",
            ]
        ),
    ),
    max_size=40,
)
RUN = st.builds(
    lambda row, count: [row.format(n) for n in range(count)],
    st.sampled_from(
        [
            "Collecting a==1.{}",
            "Get:{} http://deb.example.org lib",
            "test_{0} (tests.T.test_{0}) ... ok",
            "=== RUN   Test{0}\n--- PASS: Test{0} (0.00s)",
            "\tat org.apache.a.B{}.c(B.java:3)",
            "\tat com.acme.A{}.f(A.java:3)",
            "2026-01-01 00:00:01 INFO order {0} of 10.0.0.{0} is done",
            "FAIL: test_{0} (tests.T.test_{0})",
        ]
    ),
    st.integers(1, 12),
)
RUNS = st.lists(RUN | FEW.map(lambda lines: lines[:3]), max_size=6).map(
    lambda runs: [line for run in runs for text in run for line in text.split("\n")]
)
LINES = FEW | FEW.map(lambda lines: lines * 6) | RUNS


def note(what: str) -> str:
    return f"[{what} left out]"


@QUICK
@given(LINES, st.sampled_from(LINE_KINDS), st.sampled_from(["", "4711 /srv/a.py"]))
def test_kept_lines_are_the_texts_and_in_its_order(lines: list[str], kind: str, query: str) -> None:
    text = "\n".join(lines)
    form = CODECS[kind].reduced(text, Ask(query), 200, note)  # type: ignore[index]
    if form is None:
        return
    seen = uncollapsed(collapsed(shown(text))) if kind == "shell" else text
    rest = iter(collapsed(shown(text)).split("\n") if kind == "shell" else text.split("\n"))
    assert seen.count("4711") >= form.text.count("4711")
    for line in form.text.split("\n"):
        assert MARK.fullmatch(line) or line in rest


@QUICK
@given(LINES)
def test_of_a_log_every_template_and_every_count_is_there(lines: list[str]) -> None:
    form = CODECS["log"].reduced("\n".join(lines), Ask(), 200, note)
    if form is None:
        return
    kept = form.text.split("\n")[1:]
    hidden = sum(int(found[1]) for line in kept if (found := re.fullmatch(r"\[\+(\d+)\]", line)))
    shown_lines = [line for line in kept if not re.fullmatch(r"\[\+\d+\]", line)]
    assert hidden + len(shown_lines) == sum(bool(line.strip()) for line in lines)
    assert {masked(line) for line in lines if line.strip()} == {masked(line) for line in shown_lines}


@QUICK
@given(LINES)
def test_lossless_forms_give_back_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    form = lossless(text)
    assert form is None or restored(form) == text
    assert uncollapsed(collapsed(text)) == text
    again = said_once(text)
    assert again is None or written_out(again) == text


@QUICK
@given(st.text(max_size=400) | LINES.map("\n".join))
def test_what_is_taken_apart_is_put_together_again(text: str) -> None:
    assert "".join(unwrapped(text)) == text
    assert "".join(part.text for part in parts_of(text)) == text
    found = numbered(text.split("\n"))
    if found is not None:
        assert renumbered("\n".join(found.lines), found) is not None
        assert [a + b for a, b in zip(found.marks, found.lines, strict=True)] == text.split("\n")


@QUICK
@given(LINES, st.booleans())
def test_an_envelope_of_json_stays_one(lines: list[str], escaped: bool) -> None:
    body = "\n".join(lines)
    try:
        text = json.dumps({"status": "done", "text": body}, ensure_ascii=escaped)
        text.encode()
    except UnicodeEncodeError:
        return
    found = enveloped(text)
    if found is not None:
        assert found.sealed(found.body) == text
        shorter = found.sealed(found.body[:9] + '"\\')
        assert json.loads(shorter) == {"status": "done", "text": found.body[:9] + '"\\'}


@QUICK
@given(st.text(max_size=600) | LINES.map("\n".join), st.sampled_from([None, 10, 1_000]))
def test_no_text_grows_or_raises_and_what_is_left_out_is_named(text: str, room: int | None) -> None:
    made = compress(text, count=len, room_tokens=room, reference="rabc")
    assert made.tokens_after <= made.tokens_before
    assert made.changed or made.text == text
    assert made.lossless == (not made.references)
    assert made.lossless or "rabc" in made.text
    assert made == compress(text, count=len, room_tokens=room, reference="rabc")


ALIKE = st.builds(
    lambda row, words: [row.format(*word) for word in words],
    st.sampled_from(
        [
            "Requirement already satisfied: {} in /usr/lib/python3/dist-packages (from {}) ({})",
            '<li class="{}"> of this page, under the heading {}, says {}; that is all </li>',
            "{} is the first word of this line and {} is in its midst, before the last {}",
            "  2026-01-01 INFO order {}  of user={} is done in {}* ms, as it should be",
        ]
    ),
    st.lists(
        st.tuples(*[st.sampled_from(["a", "b>=1.2", "(x)", "", "(y", "größe", "[again:", "a b", "*", "…"])] * 3),
        max_size=9,
    ),
)


@QUICK
@given(st.lists(ALIKE | st.lists(st.text(max_size=30), max_size=3), max_size=5))
def test_lines_said_by_a_pattern_are_written_out_again(runs: list[list[str]]) -> None:
    text = "\n".join(line for run in runs for line in run)
    form = said_by_pattern(text)
    if form is not None:
        assert len(form) < len(text)
        assert filled_in(form) == text
        assert is_note(text) or not is_note(form)


@QUICK
@given(st.text(alphabet="ab -\\\b\r\n", max_size=60))
def test_backspaces_leave_what_a_terminal_shows(text: str) -> None:
    seen = shown(text)
    assert len(seen) <= len(text)
    if "\r" not in text:
        assert "\b" not in seen
        assert shown(seen) == seen
