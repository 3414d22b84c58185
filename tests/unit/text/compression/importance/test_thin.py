"""Texts without their lesser words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pennyweight.text.compression.importance import LEAST, Word, context_of, thin

ENGLISH = (
    "The team looked at all of the logs that were written on that day, and they found that the server was slow. "
    "It answered the first of the requests after 300 milliseconds, which is not what Anna had asked for."
)


class Longest:
    """Longer words matter more."""

    languages = frozenset({"en"})

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        return [min(len(word.core), 20) / 20 for word in words]


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(c in rest for c in short)


def test_least_important_words_go_first_until_it_fits() -> None:
    out = thin(ENGLISH, share=0.8, scorer=Longest(), context="chatter")
    assert len(out) <= 0.8 * len(ENGLISH)
    assert is_subsequence(out, ENGLISH)
    for kept in ("300", "not what Anna", "Anna", "server", "requests", "milliseconds"):
        assert kept in out
    assert " of " not in out
    assert not out.startswith(" ")


def test_a_share_of_one_changes_nothing() -> None:
    assert thin(ENGLISH, share=1.0, scorer=Longest()) is ENGLISH


def test_what_fits_already_is_not_touched_again() -> None:
    out = thin(ENGLISH, share=0.8, scorer=Longest(), context="chatter")
    assert thin(out, share=min(len(ENGLISH) * 0.8 / len(out), 1.0), scorer=Longest(), context="chatter") == out


@pytest.mark.parametrize("context", ["instructions", "examples", "documents", "chatter"])
def test_a_kind_of_text_keeps_its_least_share_of_words(context: str) -> None:
    out = thin(ENGLISH, share=0.0, scorer=Longest(), context=context)  # type: ignore[arg-type]
    share = len(out.split()) / len(ENGLISH.split())
    assert share >= LEAST[context] - 0.001  # type: ignore[index]
    assert (out == ENGLISH) == (context == "instructions")


def test_instructions_stay_whole_beside_chatter() -> None:
    rule = "You must always check the id before the booking is made, and you should never skip that."
    talk = "Well, I think we had a lot of fun there and I mean it was okay for me and my friends, thanks."
    out = thin(f"{rule}\n\n{talk}", share=0.5, scorer=Longest())
    assert out.startswith(f"{rule}\n\n")
    assert len(out) < len(rule) + len(talk)


def test_contexts_are_told_by_their_words() -> None:
    assert context_of("You must never do that.") == "instructions"
    assert context_of("For example, the words of a line are counted.") == "examples"
    assert context_of("Yeah, I think we can, thanks.") == "chatter"
    assert context_of("The river rises in the north of the county.") == "documents"


def test_lines_and_sentence_ends_stay() -> None:
    text = "it was all of this and then that is it.\nand so on it was for the rest of it all.\n"
    out = thin(text, share=0.0, scorer=Longest(), context="chatter")
    assert out.count("\n") == 2
    assert out.count(".") == 2
    assert is_subsequence(out, text)


@pytest.mark.parametrize(
    "text",
    [
        "Das Team hat alle Protokolle gelesen, die an diesem Tag geschrieben wurden, und fand den Server langsam.",
        "टीम ने उस दिन लिखे गए सभी लॉग देखे और पाया कि सर्वर धीमा था और तीन सौ मिलीसेकंड लगे।",
        "团队查看了当天写入的所有日志，发现服务器很慢，第一个请求用了三百毫秒。",
    ],
)
def test_other_languages_are_left_alone(text: str) -> None:
    assert thin(text, share=0.3, scorer=Longest(), context="chatter") == text
    both = thin(f"{text}\n\n{ENGLISH}", share=0.3, scorer=Longest(), context="chatter")
    assert both.startswith(text)
    assert len(both) < len(text) + len(ENGLISH)


def test_a_scorer_of_other_languages_is_not_asked() -> None:
    class German(Longest):
        languages = frozenset({"de"})

    assert thin(ENGLISH, share=0.3, scorer=German()) == ENGLISH


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_beyond_its_bounds_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=str(share)):
        thin(ENGLISH, share=share, scorer=Longest())
