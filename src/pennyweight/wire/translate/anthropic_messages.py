"""Anthropic Messages: whole answers, to and from the neutral form.

Follows platform.claude.com/docs, "Messages" (versions 2023-06-01 and 2026-10-21).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Usage, Wire
from ..usage import decode
from . import media
from .anthropic_messages_read import read_block
from .anthropic_messages_write import write_block
from .fit import UNSIGNED, seal
from .neutral import (
    Answer,
    Fields,
    Finish,
    Losses,
    Part,
    Text,
    Thinking,
)

__all__ = ["parse_response", "stop_reason", "usage_block", "write_response"]


FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "stop_sequence": "stop_sequence",
    "pause": "pause_turn",
}


def stop_reason(finish: Finish, calls: bool) -> str:
    """Anthropic's word; a plain stop with calls is tool_use."""
    return "tool_use" if calls and finish == "stop" else _STOP[finish]


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    body = Fields(raw, "", losses)
    body.ignore("type", "role")
    parts: list[Part] = []
    for index, block in enumerate(body.items("content")):
        fields = Fields(block, f"content[{index}]", losses)
        part = read_block(fields)
        if part is not None:
            parts.append(part)
    usage = body.take("usage")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        tuple(parts),
        FINISH.get(body.text("stop_reason"), "stop"),
        read_usage(usage) if isinstance(usage, dict) else None,
        body.take("stop_sequence"),
    )
    body.rest("only Anthropic has this field")
    return answer


def read_usage(block: dict[str, Any]) -> Usage:
    usage = decode(Wire.ANTHROPIC_MESSAGES, block)
    details = block.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
    return msgspec.structs.replace(usage, reasoning_tokens=thought) if isinstance(thought, int) else usage


def usage_block(usage: Usage) -> dict[str, Any]:
    """Anthropic's convention: cached and written tokens stand beside input."""
    return {
        "input_tokens": usage.uncached_tokens,
        "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": usage.tier if usage.tier in ("standard", "priority", "batch") else "standard",
    }


def write_response(answer: Answer, losses: Losses) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for part in answer.parts:
        match part:
            case Thinking():
                block: dict[str, Any] | None = thinking_block(part)
            case Text(logprobs=logprobs) if logprobs:
                losses.add(f"{part.at}.logprobs", "Anthropic's answers have no logprobs")
                block = write_block(part, losses)
            case _:
                block = write_block(part, losses)
        if block is not None:
            blocks.append(block)
    return {
        "id": media.response_id("msg_", answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": blocks,
        "stop_reason": stop_reason(answer.finish, bool(answer.calls())),
        "stop_sequence": answer.stop_sequence,
        "usage": usage_block(answer.usage or Usage()),
    }


def thinking_block(part: Thinking) -> dict[str, Any]:
    """Reasoning for an Anthropic caller; another maker's opaque part goes where a signature would."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    signature = part.signature or (seal("openai", id=part.id, encrypted=part.encrypted) if part.encrypted else UNSIGNED)
    return {"type": "thinking", "thinking": part.text, "signature": signature}
