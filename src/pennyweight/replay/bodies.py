"""Plain lists of request bodies of any protocol: a JSON array, JSON lines, or one body alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..capture.format import Recorded
from ..request import Wire
from .rows import RowError, Rows, seconds

__all__ = ["fits", "load", "wire_of"]


def fits(rows: Rows) -> bool:
    row = _body(rows[0][1])
    return isinstance(row.get("messages"), list) or "input" in row or ("prompt" in row and "model" in row)


def load(rows: Rows, name: str) -> list[Recorded]:
    """The calls: a row is a body, or {"request" | "body": body, "response": answer, "session": …}. Raises RowError."""
    calls: list[Recorded] = []
    for line, row in rows:
        body = _body(row)
        wire = wire_of(body)
        if wire is None:
            raise RowError(line, f"An object with {', '.join(list(body)[:8])} is no request body")
        answer = row.get("response") if body is not row else None
        session = row.get("session") or body.get("prompt_cache_key") or name
        at = seconds(row.get("at") or row.get("timestamp"))
        calls.append(
            Recorded(
                session=str(session), wire=wire, body=body, at=at, answer=answer if isinstance(answer, dict) else None
            )
        )
    return calls


def _body(row: dict[str, Any]) -> dict[str, Any]:
    inner = row.get("request", row.get("body"))
    return inner if isinstance(inner, dict) else row


def wire_of(body: Mapping[str, Any]) -> Wire | None:
    """The protocol that a request body is written in, from what only that one has; None: none of them."""
    if "input" in body and "messages" not in body:
        return Wire.OPENAI_RESPONSES
    messages = body.get("messages")
    if not isinstance(messages, list):
        return Wire.OLLAMA if "prompt" in body and "model" in body else None
    tools = body.get("tools")
    tool = tools[0] if isinstance(tools, list) and tools and isinstance(tools[0], dict) else {}
    if "system" in body or "input_schema" in tool or "thinking" in body or _has_anthropic_blocks(messages):
        return Wire.ANTHROPIC_MESSAGES
    if "keep_alive" in body or ("options" in body and "format" not in tool):
        return Wire.OLLAMA
    roles = {message.get("role") for message in messages if isinstance(message, dict)}
    if "max_tokens" in body and roles <= {"user", "assistant"} and str(body.get("model", "")).startswith("claude"):
        return Wire.ANTHROPIC_MESSAGES
    return Wire.OPENAI_CHAT


def _has_anthropic_blocks(messages: list[Any]) -> bool:
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(
            isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result", "thinking")
            for block in content
        ):
            return True
    return False
