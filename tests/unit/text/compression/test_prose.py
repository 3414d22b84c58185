"""Prose: which sentences stay, and what of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.prose import CODEC, GAP, codec, lossless
from pennyweight.text.compression.importance import Word

FILLER = "The river rises in the hills of the north, and it flows through {} before it comes to the sea. "
TEXT = "".join(FILLER.format(f"the town of Place{number}") for number in range(40))
ASKED = "The bridge at Kelso was not opened to traffic until 1803, as the toll house had been built by then. "


class Longest:
    languages = frozenset({"en"})

    def scores(self, text: str, words: Sequence[Word], asked: str) -> Sequence[float]:
        return [min(len(word.core), 20) / 20 for word in words]


def note(what: str) -> str:
    return f"[{what} left out]"


def test_sentences_kept_are_whole_and_in_order() -> None:
    text = TEXT + ASKED + TEXT
    out = CODEC.reduced(text, Ask(query="When was the bridge at Kelso opened?"), 1_500, note)
    assert out is not None
    assert len(out.text) <= 1_500
    assert ASKED.strip() in out.text
    body = out.text.rsplit("\n", 1)[0]
    at = 0
    for piece in body.split(GAP):
        at = text.index(piece.strip(), at)
    assert re.fullmatch(r"\d+ of 81 sentences", out.left_out)
    assert out.text.endswith(note(out.left_out))


def test_what_fits_is_left_alone() -> None:
    assert CODEC.reduced(ASKED, Ask(), 500, note) is None


def test_without_a_question_beginning_and_end_stay() -> None:
    out = CODEC.reduced(f"First of all. {TEXT}Last of all.", Ask(), 1_500, note)
    assert out is not None
    assert out.text.startswith("First of all.")


def test_words_go_only_where_whole_sentences_do_not_fit() -> None:
    text = TEXT + "".join(ASKED.replace("1803", str(1803 + n)) for n in range(12)) + TEXT
    ask = Ask(query="When was the bridge at Kelso opened to traffic, and the toll house built?")
    whole = CODEC.reduced(text, ask, 1_200, note)
    thinned = codec(Longest()).reduced(text, ask, 1_200, note)
    assert whole is not None
    assert thinned is not None
    assert len(re.findall(r"\b18\d\d\b", thinned.text)) > len(re.findall(r"\b18\d\d\b", whole.text))
    assert thinned.left_out.endswith("lesser words")
    assert (
        thinned.text.count("Kelso")
        == thinned.text.count("not opened to traffic")
        == len(re.findall(r"\b18\d\d\b", thinned.text))
    )
    roomy = codec(Longest()).reduced(text, ask, 4_000, note)
    assert roomy is not None
    assert "words" not in roomy.left_out


@pytest.mark.parametrize(
    ("sentence", "query"),
    [
        ("Die Brücke von Kelso wurde erst im Jahr 1803 für den Verkehr geöffnet. ", "Wann wurde die Brücke geöffnet?"),
        ("केल्सो का पुल 1803 तक यातायात के लिए नहीं खोला गया था। ", "पुल कब खोला गया था?"),
        ("凯尔索的桥直到1803年才通车。", "桥什么时候通车？"),
    ],
)
def test_other_languages_lose_whole_sentences_only(sentence: str, query: str) -> None:
    other = {"D": "Der Fluss entspringt im Norden. ", "क": "नदी उत्तर से निकलती है। ", "凯": "这条河发源于北方。"}[
        sentence[0]
    ]
    text = other * 60 + sentence + other * 60
    out = codec(Longest()).reduced(text, Ask(query=query), 600, note)
    assert out is not None
    assert sentence.strip() in out.text
    assert "words" not in out.left_out


def test_lossless_takes_only_blanks_that_say_nothing() -> None:
    text = "One.  \n\n\n\nTwo two.\n```\na  \n\n\n\nb\n```\n"
    assert lossless(text) == "One.\n\nTwo two.\n```\na  \n\n\n\nb\n```\n"
    assert lossless("One.\n\nTwo.") is None


def test_prose_is_what_is_left() -> None:
    assert detect(TEXT) == "prose"
    made = compress(TEXT + ASKED + TEXT, count=len, ask=Ask(query="Kelso bridge"), room_tokens=400, reference="r1")
    assert made.kind == "prose"
    assert made.references == ("r1",)
    assert ASKED.strip() in made.text
    assert made.tokens_after < 2_000


def test_a_program_asks_for_words_to_go() -> None:
    import pennyweight

    text = TEXT + "".join(ASKED.replace("1803", str(1803 + n)) for n in range(12)) + TEXT
    query = "When was the bridge at Kelso opened to traffic, and the toll house built?"
    whole = pennyweight.compress(text, query=query, room_tokens=300)
    made = pennyweight.compress(text, query=query, room_tokens=300, words=True)
    assert whole.kind == made.kind == "prose"
    assert made.references == whole.references
    assert "lesser words" in made.left_out
    assert len(re.findall(r"\b18\d\d\b", made.text)) > len(re.findall(r"\b18\d\d\b", whole.text))
    assert made.text.count("not opened to traffic") == len(re.findall(r"\b18\d\d\b", made.text))
