"""An answer that is read in one pass is read as it would be piece by piece, whatever its provider put into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.request import Done
from pennyweight.wire import openai_chat

COUNTS = st.integers(0, 30) | st.sampled_from(
    [None, True, False, -1, 2**63, 2**64, 10**30, 0.0, 1.0, 1.5, 1e300, "", "5", [], {}, [3]]
)
TIERS = st.sampled_from([None, "", "default", "auto", "on_demand", "flex", "priority", 0, {}])
DETAILS = st.fixed_dictionaries(
    {}, optional={"cached_tokens": COUNTS, "cache_write_tokens": COUNTS, "reasoning_tokens": COUNTS}
)
USAGES = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 30), "completion_tokens": st.integers(0, 30)},
    optional={
        "prompt_tokens_details": DETAILS | st.none() | COUNTS,
        "completion_tokens_details": DETAILS | st.none() | COUNTS,
        "total_tokens": COUNTS,
        "cached_tokens": COUNTS,
        "prompt_cache_hit_tokens": COUNTS,
        "input_tokens": COUNTS,
        "service_tier": TIERS,
    },
)
CHOICES = st.fixed_dictionaries(
    {"message": st.just({"role": "assistant", "content": "x"})},
    optional={
        "index": st.sampled_from([0, 0, 1, 5]),
        "finish_reason": st.sampled_from(["stop", "length", "", None, 5]),
        "usage": USAGES,
    },
)
ANSWERS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=1) | st.lists(CHOICES, max_size=3), "usage": USAGES | COUNTS},
    optional={
        "service_tier": TIERS,
        "error": st.sampled_from([None, {}, "", {"message": "x"}, 0]),
        "x_groq": st.fixed_dictionaries({"usage": USAGES}),
    },
)


def carefully(body: bytes) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_chat, "_read_plain", lambda _body: None)
        return openai_chat.read(body)


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_it_is_read_as_piece_by_piece(answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    assert openai_chat.read(body) == carefully(body)


@pytest.mark.parametrize("name", ["cached_tokens", "prompt_cache_hit_tokens"])
@pytest.mark.parametrize("count", ["", [], {}, False])
def test_a_count_that_is_none_makes_the_rest_suspect(name: str, count: object) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, name: count}
    done = openai_chat.read(json.dumps({"choices": [{"finish_reason": "stop"}], "usage": usage}).encode())
    assert done.usage is not None
    assert name in done.usage.suspect


def test_an_empty_reason_is_none() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    done = openai_chat.read(json.dumps({"choices": [{"finish_reason": ""}], "usage": usage}).encode())
    assert done.finish_reason is None


@pytest.mark.parametrize("usage", [{"prompt_tokens": 9}, {"prompt_tokens": 9, "completion_tokens": None}])
def test_an_answer_whose_tokens_are_left_out_is_suspect(usage: dict[str, Any]) -> None:
    done = openai_chat.read(json.dumps({"choices": [{"finish_reason": "stop"}], "usage": usage}).encode())
    assert done.usage is not None
    assert done.usage.suspect == "no completion_tokens"
