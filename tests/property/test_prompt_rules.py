"""Whatever a prompt is: never more tokens, the same each time, nothing left to do the second time, code stays whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression.importance import protected
from pennyweight.text.compression.outline import parts
from pennyweight.text.compression.rules import GAP, Rules, apply, shortened
from pennyweight.text.tokenizers import BpeTokenizer

count = BpeTokenizer().count

_LINES = st.sampled_from(
    (
        "You must always check the order id before you change it.",
        "- You must always check the order id before you change it.",
        "In order to do that, please note that the shop is closed on 24 December.  It is for you.",
        "Please note that you are able to do so, for example in the event that it is greater than 5.",
        "The house of the old man is not on the river, and we have it as it was.",
        "He said \"in order to\" twice, and 'please note that' once.",
        "# Please note that",
        "```\nin order to  x\n\n\n\nplease note that\n```",
        "`in order to` is code that we have for you",
        "<rules>",
        "</rules>",
        "| in order to  | b |",
        "1. You must always check the order id before you change it.",
        "    in order to  indented",
        "为了改变订单。 请调用。",
        "Der Fluss ist im Norden.  In order to.",
        "",
        "",
        "  ",
        '"',
        "```",
    )
)
_PROMPTS = st.lists(_LINES, max_size=40).map("\n".join) | st.text(max_size=300)


@settings(max_examples=150, deadline=None)
@given(_PROMPTS, st.sampled_from([None, 50, 100, 200]), st.sampled_from(["", "order id", "house"]))
def test_rules_shorten_once_and_keep_what_is_protected(text: str, most: int | None, query: str) -> None:
    rules = Rules(most)
    out = apply(text, rules, count=count, query=query)
    assert out.before == count(text)
    assert out.after == count(out.text) <= out.before
    assert out == apply(text, rules, count=count, query=query)
    assert apply(out.text, rules, count=count, query=query).text == out.text
    if not out.left_out:
        at = 0
        for start, end in protected(text):
            at = out.text.index(text[start:end], at) + end - start


@settings(max_examples=100, deadline=None)
@given(_PROMPTS, st.integers(20, 300))
def test_what_a_length_keeps_is_whole_pieces_of_the_text(text: str, most: int) -> None:
    out = shortened(text, most, count=count)
    if out == text:
        return
    assert count(out) <= most
    for piece in f"\n{out}\n".split(f"\n{GAP}\n"):
        assert piece.strip("\n") in text


@settings(max_examples=100, deadline=None)
@given(_PROMPTS)
def test_parts_put_together_are_the_text(text: str) -> None:
    assert "".join(part.text for part in parts(text)) == text
