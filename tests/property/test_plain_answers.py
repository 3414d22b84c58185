"""An answer of the common shape is read in one pass: that says what the reading of any shape says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.wire import openai_chat
from pennyweight.wire.usage import MOST_TOKENS

COUNTS = st.one_of(
    st.integers(0, 6),
    st.sampled_from([None, -1, 0.0, 2.0, "3", "", True, False, MOST_TOKENS, MOST_TOKENS + 1, 10**30, [], {}]),
)
LIKELY = st.integers(1, 6)
DETAILS = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), st.one_of(LIKELY, COUNTS)
    ),
)
USAGE = st.fixed_dictionaries(
    {"prompt_tokens": st.one_of(LIKELY, LIKELY, COUNTS), "completion_tokens": st.one_of(LIKELY, LIKELY, COUNTS)},
    optional={
        "total_tokens": st.one_of(st.just("sum"), st.just("sum"), st.integers(1, 12), COUNTS),
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
        "cached_tokens": st.sampled_from([None, 0, 3, False, ""]),
        "prompt_cache_hit_tokens": st.sampled_from([None, 0, 3, 0.0]),
        "service_tier": st.sampled_from([None, None, None, "", "flex", "default", 3]),
    },
)
CHOICE = st.fixed_dictionaries(
    {"finish_reason": st.sampled_from(["stop", "length", "stop", None])}, optional={"index": st.integers(0, 2)}
)
ANSWERS = st.fixed_dictionaries(
    {"choices": st.one_of(st.just([{"finish_reason": "stop"}]), st.lists(CHOICE, max_size=2)), "usage": USAGE},
    optional={
        "service_tier": st.sampled_from([None, "default", "auto", "on_demand", "flex", "", 1]),
        "error": st.sampled_from([None, None, None, "x", {}, 0, {"message": "m"}]),
        "x_groq": st.just({"usage": {"prompt_tokens": 3}}),
    },
)


@settings(max_examples=300)
@given(ANSWERS)
def test_a_plain_answer_says_what_any_answer_says(answer: dict[str, Any]) -> None:
    usage = answer["usage"]
    if usage.get("total_tokens") == "sum":
        try:
            usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        except TypeError:
            usage["total_tokens"] = 7
    raw = json.dumps(answer).encode()
    told = openai_chat.read(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_chat, "_read_plain", lambda _body: None)
        assert openai_chat.read(raw) == told
