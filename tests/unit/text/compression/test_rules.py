"""Rules for small models' prompts: what goes, what stays, and where a text may be cut."""

from __future__ import annotations

import pytest

from pennyweight.text.compression.outline import parts
from pennyweight.text.compression.phrases import ABBREVIATIONS, WORDY, replaced
from pennyweight.text.compression.rules import GAP, LENGTHS, Rules, apply, shortened, tidied, without_repeats
from pennyweight.text.tokenizers import BpeTokenizer

count = BpeTokenizer().count

PROMPT = """\
You are an agent that answers questions about the shop and its orders.

# Rules

- You must always check the order id before you change an order.
- Never tell a customer another customer's address.
- You must always check the order id before you change an order.
1. You must always check the order id before you change an order.

```sh
shop  orders   --id 17

# You must always check the order id before you change an order.
```

Please note that the shop is closed on 24 December. In order to change an order, call `change_order`.
"""


def test_blanks_that_say_nothing_go_and_code_keeps_its_own() -> None:
    text = "One.  Two,  three.   \n\n\n\n  indented  stays\n```py\nx  =  1   \n\n\n\ny = 2\n```\n| a  |  b |\n"
    assert tidied(text) == ("One. Two, three.\n\n  indented  stays\n```py\nx  =  1   \n\n\n\ny = 2\n```\n| a  |  b |\n")


def test_an_instruction_is_given_once() -> None:
    out = without_repeats(PROMPT)
    assert out.count("- You must always check") == 1
    assert "1. You must always check" in out  # numbers may be referred to
    assert "# You must always check" in out  # code
    assert out.index("- You must always check") < out.index("- Never tell")


def test_sentences_of_examples_and_data_may_be_said_twice() -> None:
    text = "Input: the cat sat on the mat.\n\nThe cat sat on the mat today.\n\nThe cat sat on the mat today.\n"
    assert without_repeats(text) == text


def test_a_repeated_instruction_with_a_value_in_code_stays() -> None:
    text = "You must always run `make a b c` first.\n\nYou must always run `make a b c` first.\n"
    assert without_repeats(text) == text


@pytest.mark.parametrize(
    ("line", "shorter"),
    [
        ("In order to change it, call us.", "To change it, call us."),
        ("We do this in order to win.", "We do this to win."),
        ("Please note that the shop is closed.", "The shop is closed."),
        ("It is closed due to the fact that it rains.", "It is closed because it rains."),
        ("A value is greater than or equal to 5 here.", "A value is >= 5 here."),
    ],
)
def test_wordy_phrases_become_short_ones(line: str, shorter: str) -> None:
    assert replaced(line, {**WORDY, **ABBREVIATIONS}, count) == shorter


@pytest.mark.parametrize(
    "line",
    [
        "The implementation of the application is in the repository.",  # each is one token, short or long
        "See in-order-to/file for more.",
        "IN ORDER TO is a phrase.",
        "the information-theoretic bound",
    ],
)
def test_what_saves_no_token_stays(line: str) -> None:
    assert replaced(line, {**WORDY, **ABBREVIATIONS}, count) == line


def test_no_phrase_of_the_tables_denies_anything() -> None:
    for phrase in (*WORDY, *ABBREVIATIONS):
        assert not {"no", "not", "never", "without", "none", "unless"} & set(phrase.split())


def test_abbreviations_of_your_own_count_too() -> None:
    rules = Rules(abbreviations={"pennyweight gateway service": "gateway"})
    out = apply("The Pennyweight Gateway Service and the pennyweight gateway service that we have.", rules, count=count)
    assert out.text == "The Pennyweight Gateway Service and the gateway that we have."
    assert out.done == ("abbreviations",)


def test_all_rules_together_save_and_say_which_did() -> None:
    out = apply(PROMPT, Rules(), count=count)
    assert out.after == count(out.text) < out.before == count(PROMPT)
    assert set(out.done) == {"repeats", "phrases"}
    assert not out.left_out
    assert "shop  orders   --id 17" in out.text
    assert "The shop is closed on 24 December. To change an order, call `change_order`." in out.text
    assert apply(out.text, Rules(), count=count).text == out.text


def test_a_text_that_nothing_saves_stays_what_it_is() -> None:
    text = "You are an agent."
    out = apply(text, Rules(most_tokens=500), count=count)
    assert out.text is text
    assert out.done == ()


@pytest.mark.parametrize(
    "text", ["Um das zu tun, ruft der Agent in order to an.", "为了改变订单，请调用。 in order to"]
)
def test_phrases_are_of_english_alone(text: str) -> None:
    assert apply(text, Rules(), count=count).text == text


def long_prompt(paragraphs: int) -> str:
    filler = "".join(
        f"The warehouse number {n} lies in the east of town {n}, and it was built in {1900 + n}. It has {n} doors.\n\n"
        for n in range(paragraphs)
    )
    return f"You are an agent of the shop.\n\n{filler}- You must never sell to minors.\n- You should always be kind.\n"


@pytest.mark.parametrize("size", ["small", "middle", "large"])
def test_a_length_is_kept_and_instructions_stay(size: str) -> None:
    most = LENGTHS[size]  # type: ignore[index]
    text = long_prompt(120)
    out = shortened(text, most, count=count)
    assert most * 0.8 < count(out) <= most
    assert out.startswith("You are an agent of the shop.\n")
    assert out.endswith("- You must never sell to minors.\n- You should always be kind.\n")
    assert GAP in out
    assert shortened(out, most, count=count) == out


def test_what_is_asked_stays_where_other_text_goes() -> None:
    out = shortened(long_prompt(120), 500, count=count, query="How many doors has warehouse number 87?")
    assert "It has 87 doors." in out


def test_cuts_fall_between_sentences_and_blocks() -> None:
    code = "```py\n" + "".join(f"line_{n} = {n}\n" for n in range(40)) + "```\n"
    item = "- An item that is wrapped\n  over two lines, number {}.\n"
    text = "You are an agent.\n\n" + "".join(f"{item.format(n)}{code if n % 9 == 0 else ''}" for n in range(60))
    out = shortened(text, 600, count=count)
    assert count(out) <= 600
    for piece in out.replace(f"{GAP}\n", "\0").split("\0"):
        assert piece in text
    for line, after in zip(out.splitlines(), [*out.splitlines()[1:], ""], strict=True):
        if line == "- An item that is wrapped":
            assert after.startswith("  over two lines")
    assert out.count("```py\n") * 2 == out.count("```")
    assert out.count("line_0 = 0\n") == out.count("line_39 = 39\n") == out.count("```py\n")


def test_tags_stay_whatever_goes() -> None:
    text = "You are an agent.\n<rules>\n" + long_prompt(60) + "</rules>\n<data>\n" + long_prompt(60) + "</data>\n"
    out = shortened(text, 500, count=count)
    assert count(out) <= 500
    assert [line for line in out.splitlines() if line.startswith("<")] == ["<rules>", "</rules>", "<data>", "</data>"]


def test_a_heading_goes_with_what_it_heads() -> None:
    text = "You are an agent.\n\n" + "".join(f"## Part {n}\n\n{long_prompt(3)}\n" for n in range(30))
    out = shortened(text, 700, count=count)
    lines = [line for line in out.splitlines() if line]
    for at, line in enumerate(lines):
        if line.startswith("## "):
            assert at + 1 < len(lines)
            assert not lines[at + 1].startswith(("## ", GAP))


def test_what_cannot_be_cut_is_left_whole() -> None:
    block = "```\n" + "x = 1\n" * 500 + "```\n"
    assert shortened(block, 100, count=count) == block


@pytest.mark.parametrize(
    "sentence",
    [
        "Der Fluss entspringt im Norden des Landes, Nummer {}. ",
        "नदी देश के उत्तर से निकलती है, संख्या {}। ",
        "这条河发源于该国北部，编号{}。",
    ],
)
def test_other_languages_are_cut_at_their_sentences(sentence: str) -> None:
    text = "".join(sentence.format(n) for n in range(100, 300)).strip()
    out = shortened(text, 500, count=count)
    assert count(out) <= 500
    pieces = out.replace(f"\n{GAP}\n", "\0").replace(f"\n{GAP}", "").split("\0")
    for piece in pieces:
        assert piece.strip() in text
        assert piece.strip()[-1] in ".।。"


def test_parts_are_the_text() -> None:
    text = PROMPT + "\n<a>\n</a>\n    indented\n| t | u |\n" + long_prompt(2)
    assert "".join(part.text for part in parts(text)) == text
    assert {part.kind for part in parts(text)} == {
        "paragraph",
        "blank",
        "heading",
        "item",
        "code",
        "tag",
        "table",
    }
