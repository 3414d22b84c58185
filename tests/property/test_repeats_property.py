"""What a form with notes stands for is the text, byte for byte, whatever the texts are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression.repeats import Earlier, expanded, folded, is_note, whole

LINES = st.sampled_from(
    [
        "",
        "}",
        "a line that is long enough to be worth something, whatever comes after it",
        "another line, quite as long as the one before, with numbers 12 and 3,400 in it",
        "ein längerer Satz mit Umlauten: äöüß, und noch einige Wörter mehr davon",
        "一行足够长的中文文字，用来检查不同语言的文本是否也能完整地还原出来。" * 2,
        "\\n\\n escaped \\\\n line feeds and \\ lone ones that are no line feeds at all",
        "     7\tnumbered as some tools do, with a tab behind the number of the line",
        "   999\tnumbered as some tools do, with a tab behind the number of the line",
        "12: numbered in the way of another tool that many clients have",
        '{"a": "b", "text": "one\\ntwo\\nthree',
        '"}]',
        "[again: line 1 of this text]",
        "[again: lines 2-3]",
        "\ud800 half a pair, which is no text that could be encoded",
    ]
)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\\n", ""])), max_size=40).map(
    lambda pairs: "".join(line + end for line, end in pairs)
)


@given(st.lists(TEXTS, max_size=4), TEXTS, st.data())
@settings(max_examples=200, deadline=None)
def test_round_trip(sources: list[str], fresh: str, data: st.DataObject) -> None:
    earlier = [Earlier(f"tool {n}", text) for n, text in enumerate(sources)]
    parts = data.draw(st.lists(st.sampled_from([fresh, *sources]), min_size=1, max_size=4))
    text = data.draw(st.sampled_from(["", "head\n"])) + "".join(parts)
    form = folded(text, earlier)
    if form is not None:
        assert len(form.text) < len(text)
        assert expanded(form.text, earlier) == text
        assert not is_note(text)
    note = whole(text, earlier)
    if note is not None:
        assert expanded(note, earlier) == text


CODE = st.lists(
    st.sampled_from(
        [
            "",
            "    return value",
            "        return value  # indented more deeply, and long enough to be worth something",
            "def function_with_a_name(argument, other_argument):",
            " one blank before it, which could be taken for the blank behind a number",
            "12:30 it says at the beginning of this line, which is no number of a line",
            "}",
        ]
    ),
    min_size=3,
    max_size=25,
)
MARKS = st.sampled_from(["", "{}:", "{}: ", "{:6}\t", "{:5}→", "{}| ", "  {}-"])


@given(st.lists(st.tuples(CODE, MARKS, st.integers(0, 1_200)), min_size=1, max_size=3), st.data())
@settings(max_examples=200, deadline=None)
def test_numbers_before_lines_may_come_go_and_move(
    parts: list[tuple[list[str], str, int]], data: st.DataObject
) -> None:
    def shown(lines: list[str], mark: str, start: int) -> str:
        return "\n".join(mark.format(number) + line for number, line in enumerate(lines, start))

    earlier = [Earlier(f"tool {n}", shown(*part)) for n, part in enumerate(parts)]
    lines = data.draw(st.sampled_from([lines for lines, _, _ in parts]))
    text = "\n".join(["head", shown(lines, data.draw(MARKS), data.draw(st.integers(0, 1_200))), shown(*parts[0])])
    stops = data.draw(st.none() | st.lists(st.integers(0, text.count("\n") + 1), min_size=2, max_size=6, unique=True))
    within = None if stops is None else list(zip(*[iter(sorted(stops))] * 2, strict=False))
    form = folded(text, earlier, within=within)
    if form is None:
        return
    assert len(form.text) < len(text)
    assert expanded(form.text, earlier) == text
    if within is not None:
        outside = [line for at, line in enumerate(text.split("\n")) if not any(a <= at < b for a, b in within)]
        kept = iter(form.text.split("\n"))
        assert all(line in kept for line in outside)
