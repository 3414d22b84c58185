import pytest
from tests.effort import within

from pennyweight.text.relevance import sentences

CASES = {
    "abbreviations": ["Dr. Smith came at 5 p.m. on Monday. ", "He left. ", '"Really?" she said. ', "Yes! ", "Done"],
    "versions": ["See https://x.y/z?a=b. ", "Next v1.2.3 is e.g. fine. ", "No. 5 is up. ", "U.S. Army."],
    "german": [
        "Das kostet z. B. 3,50 EUR. ",
        "Am 3. Mai 2024 kam Hr. Müller. ",
        "Die Straße war zu, weil es ca. 30 cm Schnee gab.",
    ],
    "chinese": ["今天天气很好。", "我们去公园吧！", "你说：“好的。”", "然后呢？", "走"],
    "hindi": ["यह डॉ. वर्मा का वाक्य है। ", "दूसरा वाक्य यहाँ है। ", "क्या आप आएंगे? ", "हाँ।"],
    "code": ["def f(x):\n", "    return x\n\n", "class A:\n", "    b = 1\n"],
    "fence": ["Text:\n", "```python\na = 1\nb. C\n```\n", "after. ", "Yes."],
    "lines": [
        "- one\n",
        "- two\n",
        "This is a long wrapped line of prose that goes on and on\nand continues here. ",
        "New one.\n\n",
        "Para.",
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_sentences_end_where_a_reader_says(name: str) -> None:
    assert sentences("".join(CASES[name])) == CASES[name]


def test_nothing_is_lost_of_a_text_without_an_end() -> None:
    text = "word " * 2_000
    pieces = sentences(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 1_200


@pytest.mark.parametrize("piece", [" ", ".", "\n", " \n", "```\n", '."', ".[1]", "。", "`", "a_"])
def test_no_text_is_a_trap(piece: str) -> None:
    text = "\n" + piece * (200_000 // len(piece))

    def work() -> None:
        assert "".join(sentences(text)) == text

    assert within(3.0, work)
