"""The requests and the answers: a small body of 1 kB, an agent's of 80 kB, and a stream of 52 chunks.

MARK stands for a number that differs from request to request, so that no two calls are the same; it is in the last
message, where a session grows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["ANSWER", "MARK", "STREAM", "Size", "body", "request"]

Size = Literal["small", "agent"]

MARK = "@@@@@@@@"
MODEL = "gpt-5.5"

_USAGE = {
    "prompt_tokens": 211,
    "completion_tokens": 54,
    "total_tokens": 265,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def body(size: Size, *, model: str = MODEL, stream: bool = False, repeated: bool = False) -> bytes:
    """repeated: the same bytes each time and temperature 0, so that the exact cache may answer."""
    mark = "00000000" if repeated else MARK
    value: dict[str, Any] = {"model": model}
    if repeated:
        value["temperature"] = 0
    value["messages"] = _small(mark) if size == "small" else _agent(mark)
    if size == "agent":
        value["tools"] = [_tool(number) for number in range(30)]
    if stream:
        value |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(value, separators=(",", ":")).encode()


def request(port: int, path: str, content: bytes, headers: Mapping[str, str] = {}) -> bytes:
    """The bytes of a request as the OpenAI Python SDK sends it."""
    lines = {
        "host": f"127.0.0.1:{port}",
        "connection": "keep-alive",
        "accept": "application/json",
        "content-type": "application/json",
        "user-agent": "OpenAI/Python 2.20.0",
        "x-stainless-lang": "python",
        "x-stainless-os": "Linux",
        "x-stainless-retry-count": "0",
        "authorization": "Bearer sk-bench-0000000000000000",
        **headers,
        "content-length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def _small(mark: str) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": "You are terse and exact. " * 16},
        {"role": "user", "content": "Say in one word what this is about. " * 12 + mark},
    ]


def _agent(mark: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a careful coding agent. " * 250}]
    for number in range(33):
        function = {"name": f"tool_{number % 30}", "arguments": json.dumps({"p0": f"src/file_{number}.py"})}
        call = {"id": f"c{number}", "type": "function", "function": function}
        messages += [
            {"role": "user" if number == 0 else "assistant", "content": f"Step {number}: look at the next file. " * 6},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": f"{number} def f(x):\n    return x + 1\n" * 36},
        ]
    return [*messages, {"role": "user", "content": f"Go on with number {mark}."}]


def _tool(number: int) -> dict[str, Any]:
    parameters = {
        f"p{i}": {"type": "string", "description": "A path below the workspace, or a pattern."} for i in range(4)
    }
    return {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": "Reads, writes or runs something in the workspace. " * 6,
            "parameters": {"type": "object", "properties": parameters, "required": ["p0"]},
        },
    }


def _answer() -> bytes:
    message = {"role": "assistant", "content": "It is about words. " * 14, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1_790_000_000, "model": MODEL}
    return json.dumps({**head, "choices": [choice], "usage": _USAGE}, separators=(",", ":")).encode()


def _stream() -> bytes:
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": MODEL}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f" word{number}"} for number in range(48)]
    values = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    values.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    values.append({**head, "choices": [], "usage": _USAGE})
    lines = [json.dumps(value, separators=(",", ":")) for value in values]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


ANSWER = _answer()
STREAM = _stream()  # 52 events
