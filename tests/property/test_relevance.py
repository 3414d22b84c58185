from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.relevance import Shape, select, sentences, words

TEXT = st.text(st.sampled_from("ab cdE.!?\n `~-1_。は की्ß\u200b\ud800*"), max_size=200)


@settings(max_examples=200)
@given(TEXT)
def test_sentences_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


@settings(max_examples=100)
@given(TEXT)
def test_words_are_found_again_in_a_longer_text(text: str) -> None:
    found = words(text)
    again = words(f"{text} and more")
    assert again[: len(found)] == found


def vectors(texts: Sequence[str]) -> list[list[float] | None]:
    """Two axes by what a text holds; none for empty ones."""
    return [[float("a" in text), float("a" not in text)] if text else None for text in texts]


@settings(max_examples=100)
@given(
    st.lists(TEXT, max_size=20),
    TEXT,
    st.integers(0, 60),
    st.sampled_from(["talk", "passages"]),
    st.booleans(),
    st.integers(0, 400),
)
def test_a_selection_fits_and_keeps_the_order(
    texts: list[str], query: str, budget: int, shape: Shape, near: bool, room: int
) -> None:
    found = select(
        texts,
        query,
        budget_tokens=budget,
        count=len,
        shape=shape,
        embed=vectors if near else None,
        embed_tokens=room,
        speakers=["a"] * len(texts),
    )
    assert found.tokens == sum(len(texts[at]) for at in found.kept) <= budget
    assert list(found.kept) == sorted(set(found.kept))
    assert len(found.scores) == len(texts)
    assert all(0 <= score <= 1 for score in found.scores)
