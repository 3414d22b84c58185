from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.request import Wire
from pennyweight.wire.answers import only_text, with_text

MESSAGE = {"role": "assistant", "content": "hi"}
PART = {"type": "output_text", "text": "hi", "annotations": []}
ITEM = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [PART]}


def chat(**message: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "message": MESSAGE | message, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (Wire.OPENAI_CHAT, chat(refusal=None, annotations=[], tool_calls=[])),
        (Wire.ANTHROPIC_MESSAGES, {"content": [{"type": "text", "text": "hi", "citations": None}]}),
        (Wire.OPENAI_RESPONSES, {"output": [ITEM]}),
        (Wire.OLLAMA, {"message": MESSAGE, "done": True}),
        (Wire.OLLAMA, {"response": "hi", "done": True, "context": [1]}),
    ],
)
def test_the_only_text_is_found_and_can_be_another(wire: Wire, body: dict[str, Any]) -> None:
    raw = json.dumps(body | {"unknown": 1.50}).encode()
    found = only_text(wire, raw)
    assert found is not None
    text, place = found
    assert text == "hi"
    changed = with_text(raw, place, 'a "b"\n')
    assert only_text(wire, changed) == ('a "b"\n', place)
    assert b"1.5" in changed
    assert with_text(changed, place, "hi").replace(b" ", b"") == raw.replace(b" ", b"")


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (Wire.OPENAI_CHAT, chat(tool_calls=[{"id": "t"}])),
        (Wire.OPENAI_CHAT, chat(reasoning_content="hm")),
        (Wire.OPENAI_CHAT, chat(refusal="no")),
        (Wire.OPENAI_CHAT, chat(annotations=[{"type": "url_citation"}])),
        (Wire.OPENAI_CHAT, chat(content=None)),
        (Wire.OPENAI_CHAT, chat(something_new={"a": 1})),
        (Wire.OPENAI_CHAT, {"choices": [{"message": MESSAGE, "logprobs": {"content": [1]}}]}),
        (Wire.OPENAI_CHAT, {"choices": [{"message": MESSAGE}, {"message": MESSAGE}]}),
        (Wire.OPENAI_CHAT, {"error": {"message": "x"}}),
        (Wire.ANTHROPIC_MESSAGES, {"content": [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "hi"}]}),
        (Wire.ANTHROPIC_MESSAGES, {"content": [{"type": "text", "text": "hi", "citations": [{"a": 1}]}]}),
        (Wire.ANTHROPIC_MESSAGES, {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}),
        (Wire.ANTHROPIC_MESSAGES, {"content": []}),
        (Wire.OPENAI_RESPONSES, {"output": [{"type": "reasoning", "summary": []}, ITEM]}),
        (Wire.OPENAI_RESPONSES, {"output": [ITEM | {"content": [PART, PART]}]}),
        (Wire.OPENAI_RESPONSES, {"output": [ITEM | {"content": [PART | {"logprobs": [1]}]}]}),
        (Wire.OLLAMA, {"message": MESSAGE | {"thinking": "hm"}}),
        (Wire.OLLAMA, {"response": "hi", "thinking": "hm"}),
        (Wire.OLLAMA, {"embeddings": [[1.0]]}),
    ],
)
def test_an_answer_of_more_or_of_less_has_none(wire: Wire, body: dict[str, Any]) -> None:
    assert only_text(wire, json.dumps(body).encode()) is None


@pytest.mark.parametrize("raw", [b"", b"broken", b"[]", b"1", b"[" * 10_000, b'{"choices": 3}', b"\xff"])
@pytest.mark.parametrize("wire", list(Wire))
def test_what_is_no_answer_has_none(wire: Wire, raw: bytes) -> None:
    assert only_text(wire, raw) is None
