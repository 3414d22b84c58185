"""Answers in the providers' own shapes, whole and as streams: what the replay provider says.

Written apart from `pennyweight.wire` on purpose: a mistake there is not mirrored here, so a test that sends an answer
from here through the gateway tests the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..request import Usage, Wire

__all__ = ["ToolCall", "Turn", "body_of", "finish", "output_texts", "stream", "turn_of", "usage_block"]


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str  # JSON text


class Turn(msgspec.Struct, frozen=True):
    """An answer in no protocol: what a body becomes when it is asked for in another one."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    signature: str = ""


def turn_of(wire: Wire, body: Mapping[str, Any]) -> Turn:
    """What an answer says."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return _anthropic_turn(body)
        case Wire.OPENAI_RESPONSES:
            return _responses_turn(body)
        case _:
            message = body.get("message") or ((body.get("choices") or [{}])[0].get("message") or {})
            calls = tuple(
                ToolCall(
                    str(call.get("id", f"call_{index}")),
                    str(call["function"]["name"]),
                    _as_json(call["function"].get("arguments", "{}")),
                )
                for index, call in enumerate(message.get("tool_calls") or ())
                if "function" in call
            )
            return Turn(message.get("content") or "", calls, message.get("reasoning_content") or "")


def _anthropic_turn(body: Mapping[str, Any]) -> Turn:
    text, reasoning, signature = [], [], ""
    calls: list[ToolCall] = []
    for block in body.get("content") or ():
        match block.get("type"):
            case "text":
                text.append(block["text"])
            case "thinking":
                reasoning.append(block.get("thinking", ""))
                signature = block.get("signature", "")
            case "tool_use":
                calls.append(ToolCall(block["id"], block["name"], _as_json(block.get("input", {}))))
    return Turn("".join(text), tuple(calls), "\n".join(reasoning), signature)


def _responses_turn(body: Mapping[str, Any]) -> Turn:
    text, reasoning, signature = [], [], ""
    calls: list[ToolCall] = []
    for item in body.get("output") or ():
        match item.get("type"):
            case "message":
                text += [part.get("text", "") for part in item.get("content") or ()]
            case "reasoning":
                reasoning += [part.get("text", "") for part in item.get("summary") or ()]
                signature = item.get("encrypted_content") or ""
            case "function_call":
                calls.append(ToolCall(item["call_id"], item["name"], item.get("arguments") or "{}"))
            case "custom_tool_call":
                calls.append(ToolCall(item["call_id"], item["name"], _as_json({"input": item.get("input", "")})))
    return Turn("".join(text), tuple(calls), "\n".join(reasoning), signature)


def _as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def body_of(wire: Wire, turn: Turn, *, model: str, number: int = 0) -> dict[str, Any]:
    """An answer without usage that says this; `number` makes its ids."""
    tag = f"{number:06d}"
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            content: list[dict[str, Any]] = []
            if turn.reasoning:
                content.append(
                    {"type": "thinking", "thinking": turn.reasoning, "signature": turn.signature or "c2lnbg=="}
                )
            if turn.text:
                content.append({"type": "text", "text": turn.text})
            content += [
                {
                    "type": "tool_use",
                    "id": call.id,
                    "name": call.name,
                    "input": msgspec.json.decode(call.arguments or "{}"),
                }
                for call in turn.calls
            ]
            return {
                "id": f"msg_replay{tag}",
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": content,
                "stop_reason": "tool_use" if turn.calls else "end_turn",
                "stop_sequence": None,
            }
        case Wire.OPENAI_RESPONSES:
            return _responses_body(turn, model, tag)
        case _:
            message: dict[str, Any] = {"role": "assistant", "content": turn.text or None, "refusal": None}
            if turn.reasoning:
                message["reasoning_content"] = turn.reasoning
            if turn.calls:
                message["tool_calls"] = [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in turn.calls
                ]
            choice = {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if turn.calls else "stop",
            }
            return {
                "id": f"chatcmpl-replay{tag}",
                "object": "chat.completion",
                "created": 1_767_225_600,
                "model": model,
                "choices": [choice],
                "service_tier": "default",
                "system_fingerprint": "fp_replay",
            }


def _responses_body(turn: Turn, model: str, tag: str) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if turn.reasoning or turn.signature:
        summary = [{"type": "summary_text", "text": turn.reasoning}] if turn.reasoning else []
        item: dict[str, Any] = {"id": f"rs_replay{tag}", "type": "reasoning", "summary": summary}
        if turn.signature:
            item["encrypted_content"] = turn.signature
        output.append(item)
    if turn.text:
        part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        output.append(
            {"id": f"msg_replay{tag}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        )
    output += [
        {
            "id": f"fc_replay{tag}_{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for index, call in enumerate(turn.calls)
    ]
    return {
        "id": f"resp_replay{tag}",
        "object": "response",
        "created_at": 1_767_225_600,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
    }


def output_texts(wire: Wire, body: Mapping[str, Any]) -> list[str]:
    """Everything that the provider bills as output: text, reasoning, names and arguments of calls."""
    turn = turn_of(wire, body)
    parts = [turn.reasoning, turn.text]
    for call in turn.calls:
        parts += [call.name, call.arguments]
    return [part for part in parts if part]


def usage_block(wire: Wire, usage: Usage) -> dict[str, Any]:
    """Usage in the provider's own words."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return {
                "input_tokens": usage.uncached_tokens,
                "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
                "cache_read_input_tokens": usage.cache_read_tokens,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
                    "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
                },
                "output_tokens": usage.output_tokens,
                "service_tier": "standard",
            }
        case Wire.OPENAI_RESPONSES:
            return {
                "input_tokens": usage.input_tokens,
                "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, **_written(usage)},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
                "total_tokens": usage.total_tokens,
            }
        case _:
            return {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.total_tokens,
                "prompt_tokens_details": {
                    "cached_tokens": usage.cache_read_tokens,
                    "audio_tokens": 0,
                    **_written(usage),
                },
                "completion_tokens_details": {
                    "reasoning_tokens": usage.reasoning_tokens,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            }


def _written(usage: Usage) -> dict[str, int]:
    """What OpenAI tells from GPT-5.6 on, whose writes are billed."""
    return {"cache_write_tokens": usage.cache_write_5m_tokens} if usage.cache_write_5m_tokens else {}


def finish(wire: Wire, body: Mapping[str, Any], usage: Usage, *, model: str) -> dict[str, Any]:
    """The whole answer as it is sent: with the model that was asked and its usage."""
    return {**body, "model": model, "usage": usage_block(wire, usage)}


def stream(wire: Wire, body: Mapping[str, Any], *, include_usage: bool) -> Iterator[bytes]:
    """A finished answer as the events of a stream, one chunk each."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            yield from _anthropic_stream(body)
        case Wire.OPENAI_RESPONSES:
            yield from _responses_stream(body)
        case _:
            yield from _chat_stream(body, include_usage)


def _event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


def _cut(text: str, size: int = 48) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


def _anthropic_stream(body: Mapping[str, Any]) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return _event({"type": kind, **fields}, kind)

    usage = body["usage"]
    opening = {
        **body,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield event("message_start", message=opening)
    for index, block in enumerate(body["content"]):
        kind = block["type"]
        match kind:
            case "text":
                yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
                deltas = [{"type": "text_delta", "text": piece} for piece in _cut(block["text"])]
            case "thinking":
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                yield event("content_block_start", index=index, content_block=empty)
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _cut(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block.get("signature", "")})
            case "tool_use":
                yield event("content_block_start", index=index, content_block={**block, "input": {}})
                encoded = msgspec.json.encode(block["input"]).decode()
                deltas = [{"type": "input_json_delta", "partial_json": ""}]
                deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in _cut(encoded)]
            case _:  # redacted_thinking and what comes later: whole in its first event
                yield event("content_block_start", index=index, content_block=block)
                deltas = []
        if index == 0:
            yield event("ping")
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": body["stop_reason"], "stop_sequence": body.get("stop_sequence")}
    yield event("message_delta", delta=ending, usage=usage)
    yield event("message_stop")


def _chat_stream(body: Mapping[str, Any], include_usage: bool) -> Iterator[bytes]:
    head = {
        "id": body.get("id", "chatcmpl-replay"),
        "object": "chat.completion.chunk",
        "created": body.get("created", 1_767_225_600),
        "model": body["model"],
        "service_tier": body.get("service_tier", "default"),
        "system_fingerprint": body.get("system_fingerprint"),
    }
    tail: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice], **tail})

    choice = body["choices"][0]
    message = choice["message"]
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in _cut(message.get("reasoning_content") or ""):
        yield chunk({"reasoning_content": piece})
    for piece in _cut(message.get("content") or ""):
        yield chunk({"content": piece})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield chunk({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        for piece in _cut(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, choice["finish_reason"])
    if include_usage:
        yield _event({**head, "choices": [], "usage": body["usage"]})
    yield b"data: [DONE]\n\n"


def _responses_stream(body: Mapping[str, Any]) -> Iterator[bytes]:
    sequence = -1

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal sequence
        sequence += 1
        return _event({"type": kind, "sequence_number": sequence, **fields}, kind)

    opening = {**body, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    for index, item in enumerate(body["output"]):
        yield from (event(kind, **fields) for kind, fields in _item_events(index, item))
    yield event("response.completed", response=body)


def _item_events(index: int, item: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    at = {"output_index": index}
    place = {**at, "item_id": item.get("id", f"item_{index}")}
    match item["type"]:
        case "message":
            yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", "content": []}}
            for number, part in enumerate(item["content"]):
                spot = {**place, "content_index": number}
                yield "response.content_part.added", {**spot, "part": {**part, "text": ""}}
                for piece in _cut(part["text"]):
                    yield "response.output_text.delta", {**spot, "delta": piece, "logprobs": []}
                yield "response.output_text.done", {**spot, "text": part["text"], "logprobs": []}
                yield "response.content_part.done", {**spot, "part": part}
        case "function_call":
            yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", "arguments": ""}}
            for piece in _cut(item["arguments"]):
                yield "response.function_call_arguments.delta", {**place, "delta": piece}
            yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}
        case "custom_tool_call":
            yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", "input": ""}}
            for piece in _cut(item["input"]):
                yield "response.custom_tool_call_input.delta", {**place, "delta": piece}
            yield "response.custom_tool_call_input.done", {**place, "input": item["input"]}
        case "reasoning":
            yield "response.output_item.added", {**at, "item": {**item, "summary": []}}
            for number, part in enumerate(item.get("summary") or ()):
                spot = {**place, "summary_index": number}
                yield "response.reasoning_summary_part.added", {**spot, "part": {**part, "text": ""}}
                for piece in _cut(part["text"]):
                    yield "response.reasoning_summary_text.delta", {**spot, "delta": piece}
                yield "response.reasoning_summary_text.done", {**spot, "text": part["text"]}
                yield "response.reasoning_summary_part.done", {**spot, "part": part}
        case _:
            yield "response.output_item.added", {**at, "item": item}
    yield "response.output_item.done", {**at, "item": item}
