"""Tokens by words are the tokenizer's own, whether the words were seen before or not."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from pennyweight.text.embedders.prepare import prepare
from pennyweight.text.embedders.words import _MOST, Words

from .tiny import VOCABULARY, tokenizer

PIECES = [
    *VOCABULARY,
    "[SEP]",
    "[MASK]",
    "[",
    "don't",
    "A-B_c",
    "x" * 40,
    "x" * 120,
    "\x00",
    "\x7f",
    "ß",
    "漢字",
    "e\u0301",
]
TEXTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(string.printable, max_size=8), st.text(max_size=4)), max_size=12
)


def special() -> Tokenizer:
    made = tokenizer()
    made.no_padding()
    made.no_truncation()
    made.add_special_tokens(["[CLS]", "[SEP]", "[MASK]"])
    return made


SHARED = Words(special())
PLAIN = special()


def plain(text: str) -> list[int]:
    return list(PLAIN.encode(text, add_special_tokens=False).ids)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from([" ", "", ", ", "\n"]))
def test_the_tokens_are_the_tokenizers(pieces: list[str], between: str) -> None:
    text = between.join(pieces).encode("utf-8", "replace").decode()
    for given_text in (text, prepare(text)):
        assert SHARED.of(given_text) == plain(given_text), "the first time, or with words of other texts"
        assert SHARED.of(given_text) == plain(given_text), "again"


class Counting:
    """A tokenizer that counts what it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.asked = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, text: str, **more: Any) -> Any:
        self.asked += 1
        return self._inner.encode(text, **more)


def test_known_words_need_no_tokenizer() -> None:
    counting = Counting(special())
    words = Words(counting)
    one, other = f"{VOCABULARY[-1]} {VOCABULARY[-2]}?", f"{VOCABULARY[-2]}? {VOCABULARY[-1].upper()}"
    assert words.of(one) == plain(one)
    assert counting.asked == 1
    assert words.of(other) == plain(other)
    assert counting.asked == 1


def test_what_is_remembered_is_bounded() -> None:
    words = Words(special())
    for start in range(0, 3 * _MOST, 500):
        words.of(" ".join(f"w{number}" for number in range(start, start + 500)))
        assert len(words._known) <= _MOST
    words.of(" ".join(f"v{number}" for number in range(2 * _MOST)))
    assert len(words._known) <= _MOST


def test_another_kind_of_tokenizer_is_asked_every_time() -> None:
    made = special()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    counting = Counting(made)
    words = Words(counting)
    for _ in range(2):
        assert words.of("a_b") == made.encode("a_b", add_special_tokens=False).ids
    assert counting.asked == 2
