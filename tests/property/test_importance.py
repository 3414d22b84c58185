"""Whatever a text is: what must stay stays, nothing is added, and the same text gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask
from pennyweight.text.compression.codecs.prose import GAP, codec, lossless
from pennyweight.text.compression.importance import Word, protected, thin, words

_FREE = "the of and to is that it for with you this are be have on as was by from they we can table walks house"
_KEPT = "not never Anna 300 a1 src/x.py it's don't I The Will Smith, end. so: https://x.org/a?b=c 你好 größer पुल"
_PIECES = st.sampled_from(
    (
        *_FREE.split(),
        *_KEPT.split(),
        '"quoted words here"',
        "`code of it`",
        "```\ncode and so on\n```",
        "<b>of the</b>",
        "\n",
        "\n\n",
        "# A heading of it\n",
        "  ",
        "'",
        '"',
        "…",
    )
)
_TEXTS = st.lists(_PIECES, max_size=80).map(" ".join) | st.text(max_size=200)


class Drawn:
    """Scores that mean nothing."""

    languages = frozenset({"en"})

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        return [
            crc32(f"{self._seed} {word.core} {at}".encode(errors="replace")) / 2**32 for at, word in enumerate(words)
        ]


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(c in rest for c in short)


@settings(max_examples=150, deadline=None)
@given(_TEXTS, st.floats(0, 1), st.integers(0, 9))
@example("the " * 14 + "end.", 0.0, 0)  # its last word goes, and the mark stays
def test_thinned_text_is_a_subsequence_with_all_that_is_protected(text: str, share: float, seed: int) -> None:
    out = thin(text, share=share, scorer=Drawn(seed), context="chatter")
    assert is_subsequence(out, text)
    assert out == thin(text, share=share, scorer=Drawn(seed), context="chatter")
    at = 0
    for start, end in protected(text):
        at = out.index(text[start:end], at) + end - start
    kept = out.split()
    for word in words(text):
        if not word.free:
            assert text[word.start : word.end] in kept or any(text[word.start : word.end] in one for one in kept)


@settings(max_examples=80, deadline=None)
@given(_TEXTS, st.integers(0, 400), st.sampled_from(["", "Anna house", "你好"]))
def test_reduced_prose_adds_nothing_but_marks_and_its_note(text: str, room: int, query: str) -> None:
    made = codec(Drawn(1)).reduced(text, Ask(query=query), room, lambda what: f"[{what}]")
    if made is None:
        return
    body, _, told = made.text.rpartition("\n")
    assert told == f"[{made.left_out}]"
    assert is_subsequence(body.replace(GAP, ""), text)


@settings(max_examples=80, deadline=None)
@given(_TEXTS)
def test_blanks_that_say_nothing_go_once(text: str) -> None:
    form = lossless(text)
    if form is not None:
        assert len(form) < len(text)
        assert form.split() == text.split()
        assert lossless(form) is None
