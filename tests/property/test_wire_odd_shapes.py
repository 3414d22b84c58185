"""A body with any of its places replaced by anything is read or refused, never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.bodies import CHAT, MESSAGE, OLLAMA, RESPONSES

from pennyweight.errors import BadRequest
from pennyweight.request import Request, Wire
from pennyweight.wire import codec

ANSWERS = {
    Wire.OPENAI_CHAT: CHAT,
    Wire.OPENAI_RESPONSES: RESPONSES,
    Wire.ANTHROPIC_MESSAGES: MESSAGE,
    Wire.OLLAMA: OLLAMA,
}
TOOL = {"type": "function", "name": "f", "function": {"name": "f"}, "tools": [{"name": "g"}]}
REQUESTS: dict[Wire, dict[str, Any]] = {
    Wire.OPENAI_CHAT: {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, CHAT["choices"][0]["message"]],
        "tools": [TOOL],
    },
    Wire.OPENAI_RESPONSES: {"instructions": "s", "input": [*RESPONSES["output"], {"role": "user"}], "tools": [TOOL]},
    Wire.ANTHROPIC_MESSAGES: {
        "system": [{"type": "text", "text": "s"}],
        "messages": [MESSAGE, {"role": "user", "content": [{"type": "tool_result", "content": "x"}]}],
        "tools": [TOOL],
    },
    Wire.OLLAMA: {"messages": [OLLAMA["message"]], "tools": [TOOL], "prompt": "p", "system": "s"},
}
anything = st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], [None], [1], {}, {"x": None}, [[]], [{}]])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    changed = copy.copy(value)
    changed[at[0]] = replaced(value[at[0]], at[1:], new)
    return changed


def broken(data: st.DataObject, value: Any) -> Any:
    return replaced(value, data.draw(st.sampled_from(list(places(value)))), data.draw(anything))


@pytest.mark.parametrize("wire", Wire)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_answers(wire: Wire, data: st.DataObject) -> None:
    module, body = codec(wire), json.dumps(broken(data, ANSWERS[wire])).encode()
    module.read(body)
    try:
        stream = b"".join(module.unfold(body))
    except ValueError:
        return
    tap = module.tap()
    tap.feed(stream)
    tap.done()
    tap.output_text()


@pytest.mark.parametrize("wire", Wire)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_streams(wire: Wire, data: st.DataObject) -> None:
    module = codec(wire)
    chunks = module.unfold(json.dumps(ANSWERS[wire]).encode())
    number = data.draw(st.integers(0, len(chunks) - 1))
    head, brace, rest = chunks[number].partition(b"{")
    if brace:
        chunks[number] = head + json.dumps(broken(data, json.loads(brace + rest))).encode() + b"\n\n"
    stream = b"".join(chunks)
    tap = module.tap()
    tap.feed(stream)
    tap.done()
    tap.output_text()
    with suppress(ValueError):
        json.loads(module.fold(stream))


@pytest.mark.parametrize("wire", Wire)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_requests(wire: Wire, data: st.DataObject) -> None:
    raw = json.dumps(broken(data, REQUESTS[wire])).encode()
    try:
        seen = codec(wire).view(Request(wire, raw))
    except BadRequest:
        return
    assert all(isinstance(text, str) for text in (seen.system, *seen.texts, *seen.tool_names))
