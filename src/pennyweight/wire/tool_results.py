"""Tool results that a request brings for the first time, with the calls they answer: in every protocol that names them.

A result is new when nothing of the model's follows it. What is not one text is left out, and so is what says that it
failed, or cannot be told from that. Ollama's results name no call, so they cannot be told apart, and are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ..errors import BadRequest
from ..prefix import items
from ..request import Request, Wire

__all__ = ["ToolResult", "exact", "new_results"]

_LOOK_BACK = 256  # items of the conversation, from its end
_FAILED = re.compile(r"\s*(\W{0,3}\w*error\b|traceback \(|exception\b|failed\b|failure\b|timed? ?out\b)", re.I)


class ToolResult(msgspec.Struct, frozen=True):
    """`arguments`: as `exact` gives them."""

    call_id: str
    name: str
    arguments: Any
    text: str


def exact(data: bytes | str) -> Any:
    """JSON with every number as it was written: integers of any size, fractions as Decimal.

    Raises ValueError for what is no JSON, an object that has a key twice, or NaN and the like.
    """
    try:
        return json.loads(data, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def new_results(request: Request) -> list[ToolResult]:
    """In their order. [] where the request cannot be read."""
    try:
        raws: Sequence[bytes | msgspec.Raw] = items(request)[-_LOOK_BACK:]
        newest = (exact(bytes(raw)) for raw in reversed(raws))
        match request.wire:
            case Wire.ANTHROPIC_MESSAGES:
                found = _anthropic(newest)
            case Wire.OPENAI_CHAT:
                found = _chat(newest)
            case Wire.OPENAI_RESPONSES:
                found = _responses(newest)
            case Wire.OLLAMA:
                return []
        return list(found)[::-1]
    except (BadRequest, ValueError, AttributeError, KeyError, TypeError):
        return []


def _anthropic(newest: Iterator[Any]) -> Iterator[ToolResult]:
    answered: dict[str, str] = {}
    for message in newest:
        blocks = _dicts(message.get("content"))
        if message.get("role") == "assistant":
            for block in reversed(blocks):
                if block.get("type") == "tool_use" and block.get("id") in answered:
                    yield ToolResult(block["id"], block["name"], block.get("input"), answered[block["id"]])
            return
        for block in blocks:
            if block.get("type") == "tool_result" and not block.get("is_error"):
                _answer(answered, block.get("tool_use_id"), block.get("content"), trusted="is_error" in block)


def _chat(newest: Iterator[Any]) -> Iterator[ToolResult]:
    answered: dict[str, str] = {}
    for message in newest:
        if message.get("role") == "assistant":
            for call in reversed(_dicts(message.get("tool_calls"))):
                if call.get("id") in answered and isinstance(call.get("function"), dict):
                    said = call["function"]
                    yield ToolResult(call["id"], said["name"], _parsed(said.get("arguments")), answered[call["id"]])
            return
        if message.get("role") == "tool":
            _answer(answered, message.get("tool_call_id"), message.get("content"))


def _responses(newest: Iterator[Any]) -> Iterator[ToolResult]:
    answered: dict[str, str] = {}
    calls = False
    for item in newest:
        match item.get("type"):
            case "function_call_output" if not calls:
                _answer(answered, item.get("call_id"), item.get("output"))
            case "function_call":
                calls = True
                if item.get("call_id") in answered:
                    arguments = _parsed(item.get("arguments"))
                    yield ToolResult(item["call_id"], item["name"], arguments, answered[item["call_id"]])
            case "reasoning":
                continue
            case _:
                if calls or item.get("role") == "assistant":
                    return


def _answer(answered: dict[str, str], call_id: Any, content: Any, *, trusted: bool = False) -> None:
    """Note the result, if it is one text and does not look like a failure. trusted: the caller says that it is none."""
    text = _one_text(content)
    if isinstance(call_id, str) and text and (trusted or not _failed(text)):
        answered.setdefault(call_id, text)


def _one_text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        text = content[0].get("text")
        return text if isinstance(text, str) and content[0].get("type", "text").endswith("text") else None
    return None


def _failed(text: str) -> bool:
    """Whether it looks like an error: wrongly yes costs a hit, wrongly no would keep an error for the tool's TTL."""
    if _FAILED.match(text):
        return True
    if text.lstrip()[:1] == "{":
        try:
            told = json.loads(text)
        except ValueError:
            return False
        return bool(told.get("error") or told.get("isError") or told.get("is_error"))
    return False


def _parsed(arguments: Any) -> Any:
    """Raises ValueError."""
    return exact(arguments or "{}") if isinstance(arguments, str) else arguments


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made
