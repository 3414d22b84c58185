"""OpenAI Chat Completions: whole answers, to and from the neutral form.

Follows platform.openai.com/docs/api-reference/chat; `reasoning_content` and `cache_control` are what compatible
servers (DeepSeek, Moonshot, OpenRouter) and their clients add.
"""

from __future__ import annotations

from typing import Any

from ...request import Usage, Wire
from ..usage import decode
from . import media
from .fit import seal
from .neutral import (
    Answer,
    Fields,
    Finish,
    Losses,
    Memo,
    Refusal,
    Text,
    Thinking,
    joined,
)
from .openai_chat_read import ONLY, read_calls, read_content, read_thinking
from .openai_chat_write import write_call

__all__ = ["parse_response", "usage_block", "write_response"]


FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_STOP = {"stop_sequence": "stop", "pause": "stop"}


def finish_reason(finish: Finish, calls: bool) -> str:
    """Chat's word; a plain stop with calls is tool_calls."""
    said = _STOP.get(finish, finish)
    return "tool_calls" if calls and said == "stop" else said


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    body = Fields(raw, "", losses)
    body.ignore("object")
    choices = body.items("choices")
    choice = Fields(choices[0] if choices else {}, "choices[0]", losses)
    for index in range(1, len(choices)):
        losses.add(f"choices[{index}]", "the caller's protocol has one answer only")
    message, logprobs = choice.inner("message"), choice.inner("logprobs")
    said = read_content(message.take("content"), message.place("content"), losses)
    tokens = logprobs.take("content")
    if tokens and said and isinstance(said[0], Text):
        said[0] = Text(said[0].text, said[0].at, logprobs=tokens)
    thoughts, calls = read_thinking(message), read_calls(message)
    choice.ignore("index")
    message.ignore("role")
    usage, created = body.take("usage"), body.take("created")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        (*thoughts, *said, *calls),
        FINISH.get(choice.text("finish_reason"), "stop"),
        decode(Wire.OPENAI_CHAT, usage) if isinstance(usage, dict) else None,
        created=created if isinstance(created, int) else 0,
    )
    for fields in (message, logprobs, choice, body):
        fields.rest(ONLY)
    return answer


def usage_block(usage: Usage) -> dict[str, Any]:
    """OpenAI's convention: cached and written tokens are part of the prompt. Every details field is filled."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def write_response(answer: Answer, losses: Losses, memo: Memo) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": joined(answer.parts, "") or None, "refusal": None}
    if refusal := "".join(part.text for part in answer.parts if isinstance(part, Refusal)):
        message["refusal"] = refusal
    thoughts = [part for part in answer.parts if isinstance(part, Thinking)]
    if text := "\n".join(part.text for part in thoughts if part.text):
        message["reasoning_content"] = text
    if details := [detail for part in thoughts if (detail := reasoning_detail(part))]:
        message["reasoning_details"] = details
    if calls := answer.calls():
        message["tool_calls"] = [write_call(call) for call in calls]
    logprobs = [token for part in answer.parts if isinstance(part, Text) and part.logprobs for token in part.logprobs]
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": finish_reason(answer.finish, bool(calls)),
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
    }
    if answer.stop_sequence is not None:
        losses.add("stop_sequence", "Chat Completions does not say which stop sequence it was")
    return {
        "id": media.response_id("chatcmpl-", answer.id),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [choice],
        "usage": usage_block(answer.usage or Usage()),
    }


def reasoning_detail(part: Thinking) -> dict[str, Any] | None:
    """What a caller must send back for the upstream to know its own reasoning (OpenRouter's reasoning_details)."""

    if part.redacted:
        return {"type": "reasoning.encrypted", "data": part.redacted}
    if part.encrypted:
        data = seal("openai", id=part.id, encrypted=part.encrypted, summary=part.text)
        return {"type": "reasoning.encrypted", "data": data}
    if part.signature:
        return {"type": "reasoning.text", "text": part.text, "signature": part.signature}
    return None
