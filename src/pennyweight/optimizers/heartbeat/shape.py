"""A request of any protocol as a head (tools and instructions) and the conversation's items behind it, all raw JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ...prefix import items, role
from ...request import Request, Wire

__all__ = ["Raws", "Shape", "joined", "shape", "texts"]

Raws = Sequence[bytes | msgspec.Raw]
"""Pieces of a body as they came."""

_INSTRUCTING = ("system", "developer")
_any = msgspec.json.Decoder()


class Shape(NamedTuple):
    """`system`: the instructions' raw JSON: Anthropic's `system`, else the first item where its role says so.

    `key`: the body's member that holds the items. `lead`: how many of `items` are instructions (0 or 1).
    """

    tools: Raws
    system: bytes
    key: str
    items: Raws
    lead: int


def shape(request: Request) -> Shape | None:
    """None for a request without tools, without instructions, or with instructions in more than one place.

    Raises BadRequest for a body that is no JSON object.
    """
    envelope = request.envelope
    if not envelope.tools or request.wire is Wire.OLLAMA:
        return None
    if request.wire is Wire.ANTHROPIC_MESSAGES:
        if envelope.system is None or envelope.messages is None:
            return None
        return Shape(envelope.tools, bytes(envelope.system), "messages", envelope.messages, 0)
    if envelope.instructions is not None:
        return None
    found = items(request)
    if not found or role(found[0]) not in _INSTRUCTING or (len(found) > 1 and role(found[1]) in _INSTRUCTING):
        return None
    key = "messages" if envelope.messages is not None else "input"
    return Shape(envelope.tools, bytes(found[0]), key, found, 1)


def joined(raws: Raws) -> bytes:
    """A list of raw values as one raw JSON list."""
    return b"[" + b",".join(map(bytes, raws)) + b"]"


def texts(raw: bytes) -> list[str] | None:
    """The texts of raw instructions: a string, a list of text blocks, or a message of either. None: there is more."""
    value: Any = _any.decode(raw)
    content = value.get("content") if isinstance(value, dict) else value
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return None
    found: list[str] = []
    for block in content:
        if not isinstance(block, dict) or block.get("type") not in ("text", "input_text"):
            return None
        text = block.get("text")
        if not isinstance(text, str):
            return None
        found.append(text)
    return found
