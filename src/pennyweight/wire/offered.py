"""Which tools a request offers to the model, and which of them an answer calls.

A client may offer tools in two ways: in the request's tool list, and, as OpenClaw does for tools that its `tool_call`
runs, by name in the system prompt ("- name (plugin): description").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..request import Request, Wire
from . import codec

__all__ = ["Offer", "calls_in", "catalogue", "offered"]

DISPATCHER = "tool_call"
_CATALOGUED = re.compile(r"^- ([A-Za-z0-9_.-]{1,64}) \([a-z0-9_-]{1,40}\): ", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z0-9_-]+")


class Offer(msgspec.Struct, frozen=True):
    """`names`: of the tool list. `catalogued`: those that are called through the dispatcher."""

    names: frozenset[str]
    catalogued: frozenset[str] = frozenset()

    def refuses(self, name: str, arguments: Any, sent: Offer) -> bool:
        """Whether a call is to a tool that this offer lacks. sent: the offer that the model saw."""
        if name not in self.names:
            return True
        if name != DISPATCHER:
            return False
        withheld = (sent.catalogued | sent.names) - self.catalogued - self.names
        wanted = arguments.get("id") if isinstance(arguments, dict) else None
        if not isinstance(wanted, str):
            return bool(withheld)  # what it runs cannot be told
        return not withheld.isdisjoint(_WORD.findall(wanted))


def offered(request: Request) -> Offer:
    """What the request offers. Raises BadRequest."""
    names = frozenset(filter(None, map(_name, request.envelope.tools or ())))
    if DISPATCHER not in names:
        return Offer(names)
    return Offer(names, catalogue(codec(request.wire).view(request).system))


def catalogue(system: str) -> frozenset[str]:
    """The tools that a system prompt names for the dispatcher."""
    return frozenset(_CATALOGUED.findall(system))


def calls_in(wire: Wire, answer: bytes) -> Iterator[tuple[str, Any]]:
    """Name and arguments (None where they are no JSON) of the tool calls of a whole answer that the client is to run.

    Raises ValueError for an answer that cannot be read.
    """
    body = msgspec.json.decode(answer)
    if not isinstance(body, dict):
        raise ValueError("the answer is no JSON object")
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            for block in _dicts(body.get("content")):
                if block.get("type") == "tool_use":
                    yield str(block.get("name")), block.get("input")
        case Wire.OPENAI_RESPONSES:
            for item in _dicts(body.get("output")):
                if item.get("type") in ("function_call", "custom_tool_call"):
                    yield str(item.get("name")), _parsed(item.get("arguments", item.get("input")))
        case Wire.OPENAI_CHAT | Wire.OLLAMA:
            messages = [choice.get("message") for choice in _dicts(body.get("choices"))] or [body.get("message")]
            for message in _dicts(messages):
                for call in _dicts(message.get("tool_calls")):
                    said = call.get("function") or call.get("custom") or {}
                    yield str(said.get("name")), _parsed(said.get("arguments", said.get("input")))


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class _Named(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    function: _Named | None = None
    custom: _Named | None = None


_tool = msgspec.json.Decoder(_Named)


def _name(raw: bytes | msgspec.Raw) -> str:
    try:
        tool = _tool.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    inner = tool.function or tool.custom
    return tool.name or (inner.name if inner else None) or tool.type or ""
