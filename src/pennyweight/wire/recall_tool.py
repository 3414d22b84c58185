"""The tool by which a model has left-out text back: its definition in each protocol, and what a call of it asks for.

The definition is as short as it can be, for it is paid for on every request. What stands in the place of a left-out
text says how to use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import BadRequest
from ..request import Edit, Operation, Request, Wire
from .offered import offered

__all__ = ["NAME", "Wanted", "definition", "has_tool", "wanted", "with_tool"]

NAME = "recall"

_DESCRIPTION = "Get omitted text, lines 1-90"
_PARAMETERS = {
    "type": "object",
    "properties": {"ref": {"type": "string"}, "lines": {"type": "string"}, "query": {"type": "string"}},
    "required": ["ref"],
}
_ANTHROPIC: dict[str, Any] = {"name": NAME, "description": _DESCRIPTION, "input_schema": _PARAMETERS}
_FUNCTION: dict[str, Any] = {"name": NAME, "description": _DESCRIPTION, "parameters": _PARAMETERS}
_CHAT: dict[str, Any] = {"type": "function", "function": _FUNCTION}
_RESPONSES: dict[str, Any] = {"type": "function", **_FUNCTION, "strict": False}  # strict would require all three
_DEFINITIONS: Mapping[Wire, dict[str, Any]] = {
    Wire.ANTHROPIC_MESSAGES: _ANTHROPIC,
    Wire.OPENAI_CHAT: _CHAT,
    Wire.OPENAI_RESPONSES: _RESPONSES,
    Wire.OLLAMA: _CHAT,
}
_NEEDLE = b'"recall"'
_LINES = re.compile(r"(\d+)\s*(?:(?:-|–|—|:|,|\.\.+|to)\s*(\d+)?)?")
_REF = re.compile(r"(?<![a-z0-9])r[a-z2-7]{10}(?![a-z0-9])")
_MOST_QUERY = 1_000
_MOST_TOOLS = 128  # that OpenAI takes


class Wanted(msgspec.Struct, frozen=True):
    """What a call asks for. `ref` "": none that could be one. `first`, `last`: lines from 1, both included; 0 for
    "from the start" and "to the end"."""

    ref: str = ""
    first: int = 0
    last: int = 0
    query: str = ""

    @property
    def some_lines(self) -> bool:
        return bool(self.first or self.last)


def definition(wire: Wire) -> dict[str, Any]:
    return _DEFINITIONS[wire]


def with_tool(request: Request) -> tuple[Edit, ...] | None:
    """The edit that puts the tool at the end of the list; () where it is there. None where it has no place: the client
    offers no tools, as many as providers take, or one of that name, says which is to be called or that none is, wants
    an answer in a given form or several, or has the provider keep the conversation.

    Cache marks stay where they are: what stood before a mark still does.
    """
    if request.operation is not Operation.GENERATE:
        return None
    try:
        if has_tool(request):
            return ()
        tools, body = request.envelope.tools, request.body
        if not tools or len(tools) >= _MOST_TOOLS or NAME in offered(request).names or not _open(body):
            return None
    except BadRequest:
        return None
    return (Edit(("tools", len(tools)), definition(request.wire)),)


def has_tool(request: Request) -> bool:
    """Whether our own tool stands in the list, whoever put it there. Raises BadRequest."""
    ours = _DEFINITIONS[request.wire]
    return any(_NEEDLE in bytes(raw) and _bare(raw) == ours for raw in reversed(request.envelope.tools or ()))


def wanted(arguments: Any) -> Wanted:
    """What the arguments ask for, as a model may write them: an object, JSON of one, or the mere reference."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError):
            arguments = {"ref": arguments}
    if isinstance(arguments, str):
        arguments = {"ref": arguments}
    if not isinstance(arguments, dict):
        return Wanted()
    named = _REF.search(str(arguments.get("ref", "")).lower())
    first, last = _lines(arguments.get("lines"))
    query = arguments.get("query")
    return Wanted(named[0] if named else "", first, last, query[:_MOST_QUERY] if isinstance(query, str) else "")


def _lines(value: Any) -> tuple[int, int]:
    if isinstance(value, list) and len(value) in (1, 2):
        value = "-".join(map(str, value))
    found = _LINES.search(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        return 0, 0
    first = int(found[1][:9])
    if found[2]:
        last = int(found[2][:9])
        return (first, last) if first <= last else (last, first)
    alone = found[0].strip() == found[1]
    return first, first if alone else 0


def _bare(raw: bytes | msgspec.Raw) -> Any:
    try:
        tool = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {key: value for key, value in tool.items() if key != "cache_control"} if isinstance(tool, dict) else None


def _open(body: dict[str, Any]) -> bool:
    """Whether the model may call a tool or say what it likes, once, from what the request itself brings."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        choice = choice.get("type")
    if choice not in (None, "auto"):
        return False
    if body.get("n") not in (None, 1) or body.get("background") is True:
        return False
    if body.get("previous_response_id") or body.get("conversation"):
        return False
    return not any(map(_formed, (body.get("response_format"), body.get("text"), body.get("output_config")))) and not (
        body.get("format") or body.get("output_format")
    )


def _formed(value: Any) -> bool:
    """Whether an answer's form is asked for: `response_format`, `text.format`, `output_config.format`."""
    if not isinstance(value, dict):
        return False
    inner = value.get("format", value)
    kind = inner.get("type") if isinstance(inner, dict) else None
    return isinstance(kind, str) and kind != "text"
