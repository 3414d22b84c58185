"""Usage blocks of the providers as one convention."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.request import Usage, Wire
from pennyweight.wire import codec
from pennyweight.wire.usage import decode


@pytest.mark.parametrize(
    ("split", "writes"),
    [
        (None, (100, 0)),
        ({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, (100, 0)),
        ({"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}, (60, 40)),
        ({"ephemeral_1h_input_tokens": 30}, (70, 30)),
    ],
)
def test_a_write_that_no_split_accounts_for_is_a_5_minute_write(split: Any, writes: tuple[int, int]) -> None:
    block = {"input_tokens": 5, "cache_creation_input_tokens": 100, "cache_creation": split, "output_tokens": 1}
    usage = decode(Wire.ANTHROPIC_MESSAGES, block)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == writes
    assert usage.input_tokens == 105


def test_what_is_no_count_counts_nothing_and_is_told() -> None:
    block = {"prompt_tokens": True, "completion_tokens": "seven", "prompt_tokens_details": None}
    told = "prompt_tokens is no number; completion_tokens is a text"
    assert decode(Wire.OPENAI_CHAT, block) == Usage(suspect=told)


def test_no_prompt_has_no_tokens() -> None:
    block = {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}
    empty = Usage(output_tokens=3, suspect="0 prompt_tokens")
    assert decode(Wire.OPENAI_CHAT, block) == empty
    answer = {"choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": block}
    assert codec(Wire.OPENAI_CHAT).read(json.dumps(answer).encode()).usage == empty
    assert decode(Wire.OPENAI_RESPONSES, {"input_tokens": 0, "output_tokens": 0}).suspect == "0 input_tokens"
    block = {"input_tokens": 0, "output_tokens": 3}
    assert decode(Wire.ANTHROPIC_MESSAGES, block) == Usage(output_tokens=3, suspect="0 input_tokens")
    assert not decode(Wire.ANTHROPIC_MESSAGES, block | {"cache_read_input_tokens": 9}).suspect


@pytest.mark.parametrize("key", ["cached_tokens", "prompt_cache_hit_tokens"])
@pytest.mark.parametrize("value", [[], {}, "", False, 0.5, -1])
def test_what_is_no_count_is_told_wherever_it_stands(key: str, value: Any) -> None:
    block = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, key: value}
    answer = {"choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": block}
    usage = codec(Wire.OPENAI_CHAT).read(json.dumps(answer).encode()).usage
    assert usage == decode(Wire.OPENAI_CHAT, block)
    assert usage is not None
    assert key in usage.suspect


def test_an_empty_finish_reason_is_none() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    answer = {"choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": ""}], "usage": usage}
    assert codec(Wire.OPENAI_CHAT).read(json.dumps(answer).encode()).finish_reason is None


def test_whole_floats_and_digits_are_the_numbers_that_they_write() -> None:
    block = {"prompt_tokens": 12.0, "completion_tokens": "7"}
    assert decode(Wire.OPENAI_CHAT, block) == Usage(12, output_tokens=7, suspect="completion_tokens is a text")


def test_cached_tokens_wherever_a_compatible_server_puts_them() -> None:
    for block in (
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens": 9, "cached_tokens": 4},
        {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4},
    ):
        assert decode(Wire.OPENAI_CHAT, block).cache_read_tokens == 4
