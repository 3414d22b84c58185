"""Each protocol as its clients speak it: a request, a whole answer, a stream, and what its errors look like."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

PROMPT = "the-canary-prompt sings"
CALLER_KEY = "sk-caller-canary-0123456789"


class Protocol(NamedTuple):
    name: str
    path: str
    model: str  # the start of a model name that goes to this protocol's own provider

    def body(self, case: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
        body: dict[str, Any] = {"model": f"{self.model}{case}", "stream": stream}
        if self.name == "responses":
            body["input"] = PROMPT
        else:
            body["messages"] = [{"role": "user", "content": PROMPT}]
        if self.name == "messages":
            body["max_tokens"] = 50
        return body | more

    def error(self, body: bytes) -> str:
        """The message of an error in this protocol's shape; fails for any other shape."""
        told = json.loads(body)
        if self.name == "ollama":
            assert isinstance(told["error"], str), told
            return str(told["error"])
        if self.name == "messages":
            assert told["type"] == "error", told
        assert isinstance(told["error"]["message"], str), told
        assert isinstance(told["error"]["type"], str), told
        return str(told["error"]["message"])


CHAT = Protocol("chat", "/v1/chat/completions", "gpt-5-")
RESPONSES = Protocol("responses", "/v1/responses", "gpt-5-")
MESSAGES = Protocol("messages", "/v1/messages", "claude-")
OLLAMA = Protocol("ollama", "/api/chat", "llama-")
ALL = (CHAT, RESPONSES, MESSAGES, OLLAMA)


def protocol_of(target: str) -> Protocol:
    return next(one for one in ALL if target.partition("?")[0].endswith(one.path.removeprefix("/v1")))


def whole(protocol: Protocol, model: str) -> bytes:
    answers: dict[str, dict[str, Any]] = {
        "chat": {
            "id": "c", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        },
        "responses": {
            "id": "r", "object": "response", "created_at": 1, "model": model, "status": "completed",
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                        "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
            "usage": {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
        },
        "messages": {
            "id": "m", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 10, "output_tokens": 2},
        },
        "ollama": {
            "model": model, "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hi"},
            "done": True, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 2,
        },
    }  # fmt: skip
    return json.dumps(answers[protocol.name]).encode()


def stream_start(protocol: Protocol, model: str) -> list[bytes]:
    """The first events of a stream, with some text in them."""
    if protocol.name == "ollama":
        line = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": False}
        return [json.dumps(line | {"message": {"role": "assistant", "content": "word "}}).encode() + b"\n"] * 5
    if protocol.name == "chat":
        part = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
        return [b"data: " + json.dumps(part | {"choices": [delta]}).encode() + b"\n\n"] * 5
    if protocol.name == "responses":
        begun = {
            "type": "response.created",
            "response": {"id": "r", "model": model, "status": "in_progress", "output": []},
        }
        delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "word "}
        return [_event(begun)] + [_event(delta)] * 5
    begun = {"type": "message_start", "message": json.loads(whole(protocol, model)) | {"content": []}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
    return [_event(begun), _event(block)] + [_event(delta)] * 5


def stream_end(protocol: Protocol, model: str) -> list[bytes]:
    """The last events, which tell the usage."""
    if protocol.name == "ollama":
        return [whole(protocol, model) + b"\n"]
    if protocol.name == "chat":
        part = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        last = part | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        used = part | {"choices": [], "usage": json.loads(whole(protocol, model))["usage"]}
        return [
            b"data: " + json.dumps(last).encode() + b"\n\n",
            b"data: " + json.dumps(used).encode() + b"\n\n",
            b"data: [DONE]\n\n",
        ]
    if protocol.name == "responses":
        return [_event({"type": "response.completed", "response": json.loads(whole(protocol, model))})]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
    return [_event({"type": "content_block_stop", "index": 0}), _event(end), _event({"type": "message_stop"})]


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
