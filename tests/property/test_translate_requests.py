"""Any conversation that crosses to another protocol and back says the same."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.wire.translate.bodies import ANSWERS, PAIRS, REQUESTS

from pennyweight.errors import BackendError, BadRequest
from pennyweight.request import Request, Wire
from pennyweight.wire import translate

WORDS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
ARGUMENTS = st.dictionaries(WORDS, WORDS | st.integers(-(2**60), 2**60) | st.booleans(), max_size=3)
TURNS = st.lists(st.tuples(WORDS, st.lists(st.tuples(ARGUMENTS, WORDS), max_size=3), WORDS), min_size=1, max_size=4)
SCHEMAS = st.dictionaries(WORDS, st.sampled_from([{"type": "string"}, {"type": "integer"}]), max_size=3)
TOOLS = st.lists(st.tuples(WORDS, SCHEMAS), min_size=1, max_size=3)


def chat_body(system: str, turns: Any, tools: Any) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for number, (question, calls, reply) in enumerate(turns):
        messages.append({"role": "user", "content": question})
        if calls:
            said = [
                {
                    "id": f"call_{number}_{i}",
                    "type": "function",
                    "function": {"name": "tool0", "arguments": json.dumps(arguments, ensure_ascii=False)},
                }
                for i, (arguments, _) in enumerate(calls)
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": said})
            for i, (_, result) in enumerate(calls):
                messages.append({"role": "tool", "tool_call_id": f"call_{number}_{i}", "content": result})
        messages.append({"role": "assistant", "content": reply})
    messages.append({"role": "user", "content": "End"})
    listed = [
        {
            "type": "function",
            "function": {
                "name": f"tool{i}",
                "description": description,
                "parameters": {"type": "object", "properties": properties},
            },
        }
        for i, (description, properties) in enumerate(tools)
    ]
    return {"model": "m", "messages": messages, "tools": listed}


def meaning(body: dict[str, Any]) -> Any:
    """What a chat body says, forms left aside."""
    said: list[Any] = []
    for message in body["messages"]:
        content = message["content"]
        text = content if isinstance(content, str) else "".join(part["text"] for part in content or [])
        calls = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", [])
        ]
        said.append((message["role"], text, calls, message.get("tool_call_id")))
    return said, [
        (t["function"]["name"], t["function"]["description"], t["function"]["parameters"]) for t in body["tools"]
    ]


@pytest.mark.parametrize("middle", [Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, Wire.OLLAMA])
@settings(max_examples=40, deadline=None)
@given(system=WORDS, turns=TURNS, tools=TOOLS)
def test_there_and_back_is_the_same_conversation(middle: Wire, system: str, turns: Any, tools: Any) -> None:
    body = chat_body(system, turns, tools)
    request = Request(Wire.OPENAI_CHAT, json.dumps(body, ensure_ascii=False).encode())
    there = translate.request(request, middle, model="m")
    back = translate.request(there.request, Wire.OPENAI_CHAT, model="m").request.body
    assert meaning(back) == meaning(body)


@settings(max_examples=40, deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=4, unique=True))
def test_any_tool_name_and_call_id_fits_and_comes_back(names: list[str]) -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    results = [{"role": "tool", "tool_call_id": name, "content": "r"} for name in names]
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    raw = json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()
    out = translate.request(Request(Wire.OPENAI_CHAT, raw), Wire.ANTHROPIC_MESSAGES, model="m")
    sent = out.request.body
    blocks = sent["messages"][1]["content"]
    told = sent["messages"][2]["content"]
    assert [block["id"] for block in blocks] == [block["tool_use_id"] for block in told]
    assert len({block["id"] for block in blocks}) == len(names)
    assert all(
        len(block["id"]) <= 128 and block["id"].replace("_", "a").replace("-", "a").isalnum() for block in blocks
    )
    assert [out.memo.renamed.get(tool["name"], tool["name"]) for tool in sent["tools"]] == names


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | WORDS
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2), max_leaves=3)


def replaced(body: Any, steps: list[int], junk: Any) -> Any:
    """The body with one place, found by following `steps`, put out of shape."""
    if not steps or not body or not isinstance(body, dict | list):
        return junk
    keys = list(body) if isinstance(body, dict) else list(range(len(body)))
    key = keys[steps[0] % len(keys)]
    copy = body.copy()
    copy[key] = replaced(body[key], steps[1:], junk)
    return copy


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(0, 20), min_size=1, max_size=5), junk=JUNK)
def test_a_misshapen_body_is_refused_or_crosses(source: Wire, target: Wire, steps: list[int], junk: Any) -> None:
    raw = json.dumps(replaced(REQUESTS[source], steps, junk)).encode()
    with contextlib.suppress(BadRequest):
        translate.request(Request(source, raw), target, model="m")
    answered = json.dumps(replaced(ANSWERS[source], steps, junk)).encode()
    with contextlib.suppress(BackendError):
        translate.response(answered, source, target, model="m")
