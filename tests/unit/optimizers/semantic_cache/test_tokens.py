"""Questions in one form: a form is looked for only where a word of it stands, and found all the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.optimizers.semantic_cache.tokens import _FRAME, _ONE_FORM, unframed

TEXT = """how what which who is are was were the a best easiest way ways method steps procedure technique
approach to of for do does can could should i you we one people come reason reasons why behind
largest fewest number count total quantity amount time date year place spot many much citizens live
in duration please all tall high big old far miles it long required necessary obliged needed
possible there any able am must would be instead HOW What Number some correct most effective need
have order if want 5"""
WORDS = st.sampled_from(TEXT.split())


def whole(text: str) -> str:
    """As `unframed`, with every form looked for."""
    for _ in range(4):
        shorter = _FRAME.sub("", text, count=1)
        if shorter == text or len(shorter) < 4:
            break
        text = shorter
    for pattern, plain in _ONE_FORM:
        text = pattern.sub(plain, text)
    return text


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=14).map(" ".join))
def test_no_form_is_missed(text: str) -> None:
    assert unframed(text) == whole(text)


def test_every_form_is_found() -> None:
    for text, plain in (
        ("How do I pay", "how to pay"),
        ("what should i do to pay", "how to pay"),
        ("WHAT IS THE BEST WAY TO pay", "how to pay"),
        ("the easiest method to pay", "how to pay"),
        ("is it possible to pay", "can i pay"),
        ("how come it fell", "why  it fell"),
        ("the smallest number of steps", "the fewest steps"),
        ("in what year did it fall", "when is  did it fall"),
        ("how far is it", "what is the distance of it"),
        ("am i obliged to pay", "am i obliged to pay"),
        ("is payment needed", "is payment needed"),
        ("it is necessary for me to pay", "it must pay"),
    ):
        assert unframed(text) == plain
