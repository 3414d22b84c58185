"""OpenAI Responses: whole answers, to and from the neutral form.

Follows platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import Any

from ...errors import BackendError
from ...request import Usage, Wire
from ..usage import decode
from . import media
from .fit import seal
from .handed_back import OWN, own_id
from .neutral import (
    Answer,
    Fields,
    Finish,
    Losses,
    Memo,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from .openai_responses_read import ONLY, read_item
from .openai_responses_write import write_call

__all__ = ["parse_response", "usage_block", "write_response"]


def finish_of(status: str, reason: str, calls: bool) -> Finish:
    if status == "incomplete":
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if calls else "stop"


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    """Raises BackendError for an answer whose status is failed."""
    body = Fields(raw, "", losses)
    status, error = body.text("status"), body.take("error")
    if status in ("failed", "cancelled"):
        raise BackendError(str((error or {}).get("message") or f"The upstream's answer is {status}."))
    body.ignore("object", "output_text", *_ECHOED)
    messages: list[Message] = []
    for index, item in enumerate(body.items("output")):
        read_item(Fields(item, f"output[{index}]", losses), messages)
    parts = tuple(part for message in messages for part in message.parts)
    usage, created = body.take("usage"), body.take("created_at")
    details = body.inner("incomplete_details")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        parts,
        finish_of(status, details.text("reason"), any(isinstance(part, ToolCall) for part in parts)),
        decode(Wire.OPENAI_RESPONSES, usage) if isinstance(usage, dict) else None,
        created=int(created) if isinstance(created, int | float) else 0,
    )
    body.rest(ONLY)
    return answer


# What a Responses answer repeats of its request: a caller of another protocol expects none of it back.
_ECHOED = (
    "background",
    "completed_at",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "frequency_penalty",
    "presence_penalty",
)


def usage_block(usage: Usage) -> dict[str, Any]:
    """OpenAI's convention: cached and written tokens are part of input. Codex needs every details field."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def frame(answer_id: str, model: str, created: int, call: str = "") -> dict[str, Any]:
    """The response object that is still empty, as `response.created` has it."""
    return {
        "id": own_id("resp_", answer_id, call) if call else media.response_id(f"resp_{OWN}", answer_id),
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def output_item(part: Part, answer_id: str, index: int) -> dict[str, Any] | None:
    """The finished item of a part; its id is made of the answer's id and its place."""
    names = (answer_id, str(index))
    match part:
        case Text(text=text):
            piece: dict[str, Any] = {
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": part.logprobs or [],
            }
        case Refusal(text=text):
            piece = {"type": "refusal", "refusal": text}
        case ToolCall(custom=True):
            return {"id": own_id("ctc_", *names), "status": "completed", **write_call(part)}
        case ToolCall():
            return {"id": own_id("fc_", *names), "status": "completed", **write_call(part)}
        case Thinking():
            return reasoning_item(part, own_id("rs_", *names))
        case _:
            return None
    return {
        "id": own_id("msg_", *names),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [piece],
    }


def reasoning_item(part: Thinking, own: str) -> dict[str, Any]:
    item: dict[str, Any] = {"id": part.id or own, "type": "reasoning", "summary": []}
    if part.text:
        item["summary"] = [{"type": "summary_text", "text": part.text}]
    if part.encrypted:
        item["encrypted_content"] = part.encrypted
    elif part.redacted:
        item["encrypted_content"] = seal("anthropic", redacted=part.redacted)
    elif part.signature:
        item["encrypted_content"] = seal("anthropic", signature=part.signature, thinking=part.text)
    return item


def finished(base: dict[str, Any], items: list[dict[str, Any]], finish: Finish, usage: Usage | None) -> dict[str, Any]:
    """The response object at its end. A filtered or cut answer is incomplete and says why."""
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    return {
        **base,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": items,
        "usage": usage_block(usage or Usage()),
    }


def write_response(answer: Answer, losses: Losses, memo: Memo) -> dict[str, Any]:
    if answer.stop_sequence is not None:
        losses.add("stop_sequence", "Responses does not say which stop sequence it was")
    base = frame(answer.id, answer.model, answer.created, memo.call)
    items = [item for i, part in enumerate(answer.parts) if (item := output_item(part, str(base["id"]), i))]
    return finished(base, items, answer.finish, answer.usage)
