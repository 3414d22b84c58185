"""What may never be cut out of a text."""

from __future__ import annotations

import itertools

import pytest
from tests.effort import within

from pennyweight.text.compression.importance import is_english, protected, words


def free(text: str) -> list[str]:
    return [text[word.start : word.end] for word in words(text) if word.free]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("it costs 300 dollars a month", "300"),
        ("it costs three hundred dollars", "three"),
        ("we met anna and then Berta came", "Berta"),
        ("see the page https://example.org/a for more", "https://example.org/a"),
        ("it lies in src/main.py or so", "src/main.py"),
        ("the id was a1b2c3 as said", "a1b2c3"),
        ("the field user_name is there", "user_name"),
        ("call getUserId and go on", "getUserId"),
        ("write to me@example.org now and then", "me@example.org"),
        ("they will never do that", "never"),
        ("they won't do that", "won't"),
        ("they won’t do that", "won’t"),
        ("only if it rains", "if"),
        ("the flag --force is there", "--force"),
        ("he gave 5% of it", "5%"),
        ("der größte Baum steht dort", "größte"),
        ("他说 the word 你好 again", "你好"),
    ],
)
def test_numbers_names_negations_paths_and_ids_stay(text: str, kept: str) -> None:
    assert kept in text.split()
    assert kept not in free(text)


@pytest.mark.parametrize(
    "inside",
    [
        "```\nsome plain words\n```",
        "```python\nsome plain words",  # never closed
        "~~~\nsome plain words\n~~~",
        "`some plain words`",
        "    some plain words",
        '"some plain words"',
        '"some plain\nwords"',
        '"some plain words without an end',
        "“some plain words”",
        "«some plain words»",
        "„some plain words“",
        "'some plain words'",
        "'they're some plain words'",
        "‘some plain words’",
        '<a href="x">some</a> <b class="some plain words">',
        "<!-- some plain words -->",
        "[some plain words](there)",
        "# some plain words",
        "> some plain words",
        "| some | plain words |",
        "return some plain words;",
        "for some plain words:\n{\n",
    ],
)
def test_code_markup_and_quotations_stay(inside: str) -> None:
    text = f"we think that\n{inside}\n"
    begin = text.index(inside)
    assert free("we think that it is so\n") == ["we", "think", "that", "it", "is", "so"]
    kept = [w for w in words(text) if w.start >= begin and text[w.start : w.end] in ("some", "plain", "words")]
    if "for some" not in inside:
        assert kept
        assert not any(word.free for word in kept)


def test_what_a_negation_denies_stays_with_it() -> None:
    assert free("they were not very helpful at all today") == ["they", "were", "all", "today"]
    assert free("it is not. they went home today") == ["it", "is", "they", "went", "home", "today"]


def test_a_capital_may_go_only_where_it_is_no_name() -> None:
    assert "The" in free("The house is old.")
    assert "Anna" not in free("Anna lives in the house.")
    assert "Will" not in free("Will Smith lives in the house.")
    assert "House" in free("House after house was old.")  # it is known in small letters
    assert "I" in free("and then I went there")


def test_an_apostrophe_opens_no_quotation() -> None:
    assert "friends" in free("the dogs' owner and his friends' house is where friends meet")


def test_spans_are_in_order_and_do_not_overlap() -> None:
    spans = protected('a "b `c" d` e\n# f "g\nh" i\n')
    assert all(start < end for start, end in spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_english_is_told_from_other_languages() -> None:
    assert is_english("The meeting is on Monday and they said that you can come with us.")
    assert not is_english("Das Treffen ist am Montag, und sie haben gesagt, dass du mit uns kommen kannst.")
    assert not is_english("बैठक सोमवार को है और उन्होंने कहा कि आप हमारे साथ आ सकते हैं।")
    assert not is_english("会议在星期一，他们说你可以和我们一起来。")
    assert not is_english("La réunion est lundi et ils ont dit que vous pouvez venir avec nous.")
    assert not is_english("La reunión es el lunes y dijeron que puedes venir con nosotros.")
    assert not is_english("INFO 12:00 start worker=4 queue=7 done")
    assert not is_english("")


@pytest.mark.parametrize(
    "mark",
    [
        "'",
        '"a',
        "`",
        "``a` ",
        "<a",
        "[a",
        "[a](",
        "“",
        " ",
        "    ",
        "```\n",
        "~~~\n",
        "'a ",
        "‘a",
        "<!--",
        "{ ",
        "a" * 9,
    ],
)
def test_adversarial_repetition_takes_no_quadratic_time(mark: str) -> None:
    assert within(3.0, lambda: words(mark * (60_000 // len(mark))))
