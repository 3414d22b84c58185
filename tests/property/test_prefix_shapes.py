"""A message of a shape that most have, read in one pass, has the blocks that it has piece by piece."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.prefix import Blocks, Chain, chain
from pennyweight.request import Request, Wire

TEXTS = st.sampled_from(["", "a", "über 😀", "image", 'quoted "x"\n', "long " * 60])
ODD = st.sampled_from([None, 5, True, [], {}, "x", [{"type": "text", "text": "t"}], {"type": "image", "source": {}}])
CONTROLS = st.sampled_from(
    [None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"ttl": "5m", "type": "ephemeral"}, "x", []]
)
VALUES = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["b", "a", "type", "content", "cache_control"]), inner, max_size=3)
        | st.just({"type": "image", "source": {"data": "x"}})
    ),
    max_leaves=5,
)


def shape(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """With all that it needs, or nearly; its members in any order."""
    whole = st.fixed_dictionaries(required, optional=optional)
    return whole.flatmap(lambda made: st.permutations(list(made.items())).map(dict))


PICTURES = st.just({"shown": [{"type": "image", "source": {"data": "x"}}]})
MARKED = {"cache_control": CONTROLS, "prompt_cache_breakpoint": st.sampled_from([None, {"mode": "explicit"}])}
RESULTS = TEXTS | st.lists(shape({"type": st.just("text"), "text": TEXTS}, MARKED), max_size=2) | ODD
BLOCKS = st.one_of(
    shape({"type": st.just("text"), "text": TEXTS}, {"cache_control": CONTROLS}),
    shape({"type": st.just("text"), "text": TEXTS | ODD}, {**MARKED, "citations": ODD}),
    shape(
        {"type": st.just("tool_use"), "id": TEXTS, "name": TEXTS, "input": st.dictionaries(TEXTS, VALUES, max_size=3)},
        {"cache_control": CONTROLS},
    ),
    shape({"type": st.just("tool_use"), "id": TEXTS, "name": TEXTS, "input": VALUES}, MARKED),
    shape({"type": st.just("tool_use"), "id": TEXTS, "name": TEXTS, "input": PICTURES}, {}),
    shape({"type": st.just("tool_result"), "tool_use_id": TEXTS, "content": TEXTS}, {"cache_control": CONTROLS}),
    shape(
        {"type": st.just("tool_result"), "tool_use_id": TEXTS}, {"content": RESULTS, "is_error": st.booleans() | ODD}
    ),
    shape({"type": st.sampled_from(["thinking", "image", "other"])}, {"thinking": TEXTS, "signature": TEXTS}),
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool", ""])
CALLS = shape(
    {
        "id": TEXTS,
        "type": st.sampled_from(["function", "function", "custom", "image"]),
        "function": shape({"name": TEXTS, "arguments": TEXTS}, {"strict": ODD}),
    },
    {"index": st.just(0)},
)
PARTS = shape(
    {"type": st.sampled_from(["text", "input_text", "output_text", "refusal", "input_image"]), "text": TEXTS}, MARKED
)
MESSAGES = st.one_of(
    shape({"role": ROLES, "content": st.lists(BLOCKS, min_size=1, max_size=1)}, {}),
    shape({"type": st.just("function_call_output"), "call_id": TEXTS, "output": TEXTS}, {"id": TEXTS}),
    shape({"type": st.just("function_call"), "call_id": TEXTS, "name": TEXTS, "arguments": TEXTS}, {"id": TEXTS}),
    shape({"role": ROLES, "content": TEXTS | st.lists(BLOCKS, max_size=3)}, {}),
    shape(
        {"role": ROLES | ODD}, {"content": TEXTS | st.lists(BLOCKS | ODD, max_size=3) | ODD, "name": TEXTS, **MARKED}
    ),
    shape({"role": ROLES, "content": TEXTS | st.none()}, {"tool_calls": st.lists(CALLS, max_size=2), "name": TEXTS}),
    shape({"role": ROLES, "content": TEXTS | st.lists(PARTS, max_size=2)}, {"tool_call_id": TEXTS, "type": TEXTS}),
    shape(
        {
            "type": st.sampled_from(
                ["function_call", "function_call_output", "message", "reasoning", "image_generation_call"]
            )
        },
        {
            "call_id": TEXTS,
            "name": TEXTS,
            "arguments": TEXTS,
            "output": RESULTS,
            "id": TEXTS | ODD,
            "status": TEXTS,
            "role": ROLES,
            "content": TEXTS | st.lists(PARTS, max_size=2),
            "encrypted_content": TEXTS,
        },
    ),
)
WIRES = st.sampled_from([Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES])


def read(wire: Wire, message: dict[str, Any], *, counted: bool, spaced: bool) -> Chain:
    name = "input" if wire is Wire.OPENAI_RESPONSES else "messages"
    body = {"model": "m", name: [message, {"role": "user", "content": "go on"}]}
    raw = json.dumps(body, separators=None if spaced else (",", ":"), ensure_ascii=spaced).encode()
    count = (lambda text: 3 * len(text) + text.count("o")) if counted else None
    return Blocks(count=count).chain(Request(wire, raw))


@settings(max_examples=400, deadline=None)
@given(WIRES, MESSAGES, st.booleans(), st.booleans())
def test_it_has_the_blocks_that_it_has_piece_by_piece(
    wire: Wire, message: dict[str, Any], counted: bool, spaced: bool
) -> None:
    at_once = read(wire, message, counted=counted, spaced=spaced)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "shaped", lambda _raw, **_: None)
        assert tuple(at_once) == tuple(read(wire, message, counted=counted, spaced=spaced))
