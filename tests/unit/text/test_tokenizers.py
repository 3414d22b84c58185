from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pennyweight.protocols import Tokenizer
from pennyweight.request import Request, Wire
from pennyweight.text import tokenizers
from pennyweight.text.tokenizers import LONGEST_CHARS, PART_CHARS, BpeTokenizer
from pennyweight.wire import View, codec


@pytest.fixture(scope="module")
def o200k() -> BpeTokenizer:
    return BpeTokenizer()


class Words:
    """Counts words, and keeps what it was asked to count."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> int:
        self.asked.append(text)
        return len(text.split())


@pytest.fixture
def words() -> Words:
    return Words()


def test_o200k_base_counts(o200k: BpeTokenizer) -> None:
    as_protocol: Tokenizer = o200k
    assert as_protocol.count("") == 0
    assert as_protocol.count("hello world") == 2
    assert as_protocol.count("tiktoken is great!") == 6
    assert as_protocol.count("お誕生日おめでとう") == 8


def test_names_of_special_tokens_are_text(o200k: BpeTokenizer) -> None:
    assert o200k.count("<|endoftext|>") > 1


def test_a_lone_surrogate_is_counted(o200k: BpeTokenizer) -> None:
    assert o200k.count("a\ud800b") > 0


def test_a_text_beyond_the_table_packages_limit_is_counted(o200k: BpeTokenizer) -> None:
    assert o200k.count("word " * 250_000) == pytest.approx(250_001, abs=10)


def test_cutting_a_long_text_changes_no_count(o200k: BpeTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"def name_{n}(x): return x * {n}\n\n    # Grüße 🌍 no. {n * 7919}\n" for n in range(200))
    whole = BpeTokenizer().count(text)
    monkeypatch.setattr(tokenizers, "PART_CHARS", 300)
    assert BpeTokenizer().count(text) == pytest.approx(whole, rel=0.002)


def test_parts_add_up_to_the_text() -> None:
    for text in ("x" * (3 * PART_CHARS + 1), "ab cd\n" * PART_CHARS, "x" * PART_CHARS):
        parts = tokenizers._parts(text)
        assert "".join(parts) == text
        assert max(map(len, parts)) <= PART_CHARS
        assert all(parts)


def test_of_a_text_that_no_window_holds_a_sample_is_counted(words: Words) -> None:
    lines = "\n".join(f"line {n} of {'many ' * (n % 9)}words" for n in range(400_000))
    assert len(lines) > 2 * LONGEST_CHARS
    found = BpeTokenizer(count=words).count(lines)
    assert sum(map(len, words.asked)) < 0.3 * LONGEST_CHARS
    assert found == pytest.approx(len(lines.split()), rel=0.02)
    half = lines[:LONGEST_CHARS]
    assert BpeTokenizer(count=words).count(half) == len(half.split())


def test_a_block_seen_before_is_not_counted_again(words: Words) -> None:
    tokenizer = BpeTokenizer(count=words)
    block = "one two three " * 10
    assert tokenizer.count(block) == 30
    assert tokenizer.count("".join(list(block))) == 30
    assert words.asked == [block]


def test_short_blocks_are_not_kept(words: Words) -> None:
    tokenizer = BpeTokenizer(count=words)
    tokenizer.count("one")
    tokenizer.count("one")
    assert words.asked == ["one", "one"]


def test_memory_is_bounded_and_the_oldest_goes_first(words: Words) -> None:
    tokenizer = BpeTokenizer(remembered=2, count=words)
    a, b, c = ("a " * 40, "b " * 40, "c " * 40)
    for block in (a, b, a, c, a, b):
        tokenizer.count(block)
    assert words.asked == [a, b, c, b]
    assert len(tokenizer._known) == 2


def test_a_growing_conversation_costs_only_its_new_blocks(words: Words) -> None:
    tokenizer = BpeTokenizer(count=words)
    said = [f"turn {n} " * 20 for n in range(50)]
    before = tokenizer.count_request(chat(said))
    words.asked.clear()
    new = "something new " * 20
    assert tokenizer.count_request(chat([*said, new])) == before + 40
    assert words.asked == [new]


def chat(said: list[str]) -> View:
    body = {"messages": [{"role": "user", "content": text} for text in said]}
    return codec(Wire.OPENAI_CHAT).view(Request(Wire.OPENAI_CHAT, json.dumps(body).encode()))


def test_the_table_is_not_loaded_by_an_import() -> None:
    code = "import sys, pennyweight.text.tokenizers as t; t.BpeTokenizer(); sys.exit('bpe_openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
