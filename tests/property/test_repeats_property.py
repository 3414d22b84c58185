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
        "[again: line 1 of this result]",
        "[again: lines 2-3 of the same result]",
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
