"""Handwritten bodies: one agent turn in each protocol, whole answers and streams that say the same."""

from __future__ import annotations

import json
from typing import Any

from pennyweight.request import Request, Wire

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}

CHAT: dict[str, Any] = {
    "model": "gpt-5.5",
    "messages": [
        {"role": "system", "content": "You are careful."},
        {"role": "developer", "content": "Answer in German."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is in the picture and in the files? Grüße 🌍"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": '{"path":"a.txt"}'}},
                {"id": "call_b", "type": "function", "function": {"name": "read", "arguments": '{"path":"b.txt"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "alpha"},
        {"role": "tool", "tool_call_id": "call_b", "content": "beta"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "read", "description": "Reads a file.", "parameters": SCHEMA}},
    ],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_completion_tokens": 500,
    "temperature": 0.3,
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": ANSWER_SCHEMA, "strict": True},
    },
    "user": "u-1",
}

RESPONSES: dict[str, Any] = {
    "model": "gpt-5.5",
    "instructions": "You are careful.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Answer in German."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is in the picture and in the files? Grüße 🌍"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "enc",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "call_a", "name": "read", "arguments": '{"path":"a.txt"}'},
        {"type": "custom_tool_call", "call_id": "call_b", "name": "patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "call_a", "output": "alpha"},
        {"type": "custom_tool_call_output", "call_id": "call_b", "output": "beta"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
    ],
    "tools": [
        {"type": "function", "name": "read", "description": "Reads a file.", "parameters": SCHEMA, "strict": False},
        {"type": "custom", "name": "patch", "description": "Patches.", "format": {"type": "text"}},
        {"type": "web_search"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "high", "summary": "auto"},
    "max_output_tokens": 500,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "session-1",
    "stream": True,
}

ANTHROPIC: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 4000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.abc; cc_entrypoint=cli"},
        {"type": "text", "text": "You are careful.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is in the picture and in the files? Grüße 🌍"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_a", "name": "read", "input": {"path": "a.txt"}},
                {"type": "tool_use", "id": "toolu_b", "name": "read", "input": {"path": "b.txt"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_a",
                    "content": [
                        {"type": "text", "text": "alpha"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                },
                {"type": "tool_result", "tool_use_id": "toolu_b", "content": "no such file", "is_error": True},
                {"type": "text", "text": "And now?", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "system", "content": "The user is in Berlin."},
    ],
    "tools": [{"name": "read", "description": "Reads a file.", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "max"},
    "metadata": {"user_id": "u-1"},
    "stop_sequences": ["END"],
    "context_management": {"edits": []},
    "stream": True,
}

OLLAMA: dict[str, Any] = {
    "model": "qwen3:8b",
    "messages": [
        {"role": "system", "content": "You are careful."},
        {"role": "user", "content": "What is in the picture and in the files? Grüße 🌍", "images": [PNG]},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"function": {"name": "read", "arguments": {"path": "a.txt"}}},
                {"function": {"name": "read", "arguments": {"path": "b.txt"}}},
            ],
        },
        {"role": "tool", "tool_name": "read", "content": "alpha"},
        {"role": "tool", "tool_name": "read", "content": "beta"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [{"type": "function", "function": {"name": "read", "description": "Reads a file.", "parameters": SCHEMA}}],
    "options": {"num_ctx": 8192, "temperature": 0.3, "num_predict": 500, "stop": ["END"]},
    "think": True,
    "keep_alive": "5m",
}

REQUESTS = {
    Wire.OPENAI_CHAT: CHAT,
    Wire.OPENAI_RESPONSES: RESPONSES,
    Wire.ANTHROPIC_MESSAGES: ANTHROPIC,
    Wire.OLLAMA: OLLAMA,
}
PAIRS = [(source, target) for source in Wire for target in Wire if source is not target]


def asked(wire: Wire, body: dict[str, Any] | None = None, **more: Any) -> Request:
    """A request of that wire; `more` replaces fields of its body."""
    raw = json.dumps({**(REQUESTS[wire] if body is None else body), **more}, ensure_ascii=False)
    return Request(wire, raw.encode(), headers=(("content-type", "application/json"),))


# --- answers: reasoning, a text, two parallel calls, usage with a cached part ---------------------------------

_CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 30,
    "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
_RESPONSES_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 130,
}
_ANTHROPIC_USAGE = {
    "input_tokens": 36,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 64,
    "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 7},
    "service_tier": "standard",
}
_OLLAMA_TAIL = {"done": True, "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 30, "total_duration": 5}
_CALLS = [("call_a", '{"path":"ä.txt"}'), ("call_b", '{"path":"b.txt"}')]
TEXT = "Grüße, ich schaue 🌍 nach."
THOUGHT = "Zwei Dateien – also zwei Aufrufe."


def _chat_answer() -> dict[str, Any]:
    calls = [{"id": i, "type": "function", "function": {"name": "read", "arguments": a}} for i, a in _CALLS]
    message = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "up"}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


def _responses_items() -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    return [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": THOUGHT}],
            "encrypted_content": "E",
        },
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]},
        *(
            {
                "type": "function_call",
                "id": f"fc_{i}",
                "call_id": i,
                "name": "read",
                "arguments": a,
                "status": "completed",
            }
            for i, a in _CALLS
        ),
    ]


def _responses_answer() -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": "completed", "model": "up"}
    more = {"error": None, "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, **more, "output": _responses_items(), "usage": _RESPONSES_USAGE}


def _anthropic_answer() -> dict[str, Any]:
    blocks = [
        {"type": "thinking", "thinking": THOUGHT, "signature": "sig=="},
        {"type": "text", "text": TEXT},
        *({"type": "tool_use", "id": i, "name": "read", "input": json.loads(a)} for i, a in _CALLS),
    ]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": blocks}
    return {**head, "stop_reason": "tool_use", "stop_sequence": None, "usage": _ANTHROPIC_USAGE}


def _ollama_answer() -> dict[str, Any]:
    calls = [{"id": i, "function": {"name": "read", "arguments": json.loads(a)}} for i, a in _CALLS]
    message = {"role": "assistant", "content": TEXT, "thinking": THOUGHT, "tool_calls": calls}
    return {"model": "up", "created_at": "2023-11-14T22:13:20.5Z", "message": message, **_OLLAMA_TAIL}


ANSWERS = {
    Wire.OPENAI_CHAT: _chat_answer(),
    Wire.OPENAI_RESPONSES: _responses_answer(),
    Wire.ANTHROPIC_MESSAGES: _anthropic_answer(),
    Wire.OLLAMA: _ollama_answer(),
}


def answer(wire: Wire) -> bytes:
    return json.dumps(ANSWERS[wire], ensure_ascii=False).encode()


# --- the same answers as streams ------------------------------------------------------------------------------


def pieces(text: str, size: int = 5) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def sse(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    body = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{head}data: {body}\n\n".encode()


def _chat_stream() -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "up"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    out = [chunk({"role": "assistant", "content": ""})]
    out += [chunk({"reasoning_content": text}) for text in pieces(THOUGHT)]
    out += [chunk({"content": text}) for text in pieces(TEXT)]
    for index, (own, arguments) in enumerate(_CALLS):
        function = {"name": "read", "arguments": ""}
        out.append(chunk({"tool_calls": [{"index": index, "id": own, "type": "function", "function": function}]}))
        out += [chunk({"tool_calls": [{"index": index, "function": {"arguments": a}}]}) for a in pieces(arguments)]
    out.append(chunk({}, "tool_calls"))
    out.append(sse({**head, "choices": [], "usage": _CHAT_USAGE}))
    return [*out, sse("[DONE]")]


def _responses_stream() -> list[bytes]:
    out: list[bytes] = []

    def event(kind: str, **fields: Any) -> None:
        out.append(sse({"type": kind, "sequence_number": len(out), **fields}, kind))

    final = _responses_answer()
    event("response.created", response={**final, "status": "in_progress", "output": [], "usage": None})
    for at, item in enumerate(_responses_items()):
        place = {"item_id": item["id"], "output_index": at}
        match item["type"]:
            case "reasoning":
                event("response.output_item.added", output_index=at, item={**item, "summary": []})
                part = {"type": "summary_text", "text": ""}
                event("response.reasoning_summary_part.added", **place, summary_index=0, part=part)
                for text in pieces(THOUGHT):
                    event("response.reasoning_summary_text.delta", **place, summary_index=0, delta=text)
            case "message":
                event("response.output_item.added", output_index=at, item={**item, "content": []})
                for text in pieces(TEXT):
                    event("response.output_text.delta", **place, content_index=0, delta=text, logprobs=[])
                event("response.output_text.done", **place, content_index=0, text=TEXT, logprobs=[])
            case _:
                event("response.output_item.added", output_index=at, item={**item, "arguments": ""})
                for text in pieces(item["arguments"]):
                    event("response.function_call_arguments.delta", **place, delta=text)
        event("response.output_item.done", output_index=at, item=item)
    event("response.completed", response=final)
    return out


def _anthropic_stream() -> list[bytes]:
    out: list[bytes] = []

    def event(kind: str, **fields: Any) -> None:
        out.append(sse({"type": kind, **fields}, kind))

    final = _anthropic_answer()
    usage = {**_ANTHROPIC_USAGE, "output_tokens": 1}
    event("message_start", message={**final, "content": [], "stop_reason": None, "usage": usage})
    event("ping")
    for at, block in enumerate(final["content"]):
        match block["type"]:
            case "thinking":
                event("content_block_start", index=at, content_block={**block, "thinking": "", "signature": ""})
                for text in pieces(THOUGHT):
                    event("content_block_delta", index=at, delta={"type": "thinking_delta", "thinking": text})
                event("content_block_delta", index=at, delta={"type": "signature_delta", "signature": "sig=="})
            case "text":
                event("content_block_start", index=at, content_block={"type": "text", "text": ""})
                for text in pieces(TEXT):
                    event("content_block_delta", index=at, delta={"type": "text_delta", "text": text})
            case _:
                event("content_block_start", index=at, content_block={**block, "input": {}})
                for text in pieces(json.dumps(block["input"], ensure_ascii=False, separators=(",", ":"))):
                    event("content_block_delta", index=at, delta={"type": "input_json_delta", "partial_json": text})
        event("content_block_stop", index=at)
    event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 30})
    event("message_stop")
    return out


def _ollama_stream() -> list[bytes]:
    final = _ollama_answer()
    head = {"model": "up", "created_at": "2023-11-14T22:13:20.5Z", "done": False}

    def line(message: dict[str, Any]) -> bytes:
        body = {**head, "message": {"role": "assistant", "content": "", **message}}
        return (json.dumps(body, ensure_ascii=False) + "\n").encode()

    out = [line({"thinking": text}) for text in pieces(THOUGHT)]
    out += [line({"content": text}) for text in pieces(TEXT)]
    out += [line({"tool_calls": [call]}) for call in final["message"]["tool_calls"]]
    end = {**head, **_OLLAMA_TAIL, "message": {"role": "assistant", "content": ""}}
    return [*out, (json.dumps(end) + "\n").encode()]


STREAMS = {
    Wire.OPENAI_CHAT: _chat_stream(),
    Wire.OPENAI_RESPONSES: _responses_stream(),
    Wire.ANTHROPIC_MESSAGES: _anthropic_stream(),
    Wire.OLLAMA: _ollama_stream(),
}
