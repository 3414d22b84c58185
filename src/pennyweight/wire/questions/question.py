"""Where the newest user text of a call stands, and what stands around it. Pure; knows the shapes of the four wires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...errors import BadRequest
from ...request import Operation, Request, Wire
from ..sameness import members

__all__ = ["Question", "question"]


class Question(msgspec.Struct, frozen=True):
    """`text`: of the newest user message, which is the last one and has nothing else in it.

    `field`: the top-level member that it stands in ("messages", "input" or "prompt"); `place`: the steps from there.
    `before`: the items of that list before the last; `around`: the members of the last one without its content, and,
    where that is a list, those of its only part without its text.
    """

    text: str
    fields: Mapping[str, msgspec.Raw]  # every top-level member
    field: str
    place: tuple[str, ...]
    before: Sequence[msgspec.Raw] = ()
    around: tuple[Mapping[str, msgspec.Raw], ...] = ()


_items = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()

_TEXTS = frozenset({"text", "input_text"})
"""Types of a content part that is text, in the words of the wires."""


_TWICE = "a field twice in its body"


def question(request: Request) -> Question | str:
    """The newest user text with what stands around it, or the reason why there is none to compare."""
    if request.operation is not Operation.GENERATE:
        return "no request to generate"
    try:
        fields = members(msgspec.json.format(request.raw, indent=-1))
        if fields is None:
            return _TWICE
        if request.wire is Wire.OLLAMA and "prompt" in fields:
            return _alone(fields, "prompt")
        field = "input" if request.wire is Wire.OPENAI_RESPONSES else "messages"
        if field not in fields:
            return "no conversation"
        if request.wire is Wire.OPENAI_RESPONSES and bytes(fields[field])[:1] == b'"':
            return _alone(fields, field)
        return _last(fields, field)
    except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "a body of an unknown shape"


def _alone(fields: dict[str, msgspec.Raw], field: str) -> Question | str:
    text = _any.decode(fields[field])
    if not isinstance(text, str):
        return "a prompt that is no text"
    return Question(text, fields, field, ())


def _last(fields: dict[str, msgspec.Raw], field: str) -> Question | str:
    items = _items.decode(fields[field])
    if not items:
        return "no conversation"
    message = members(items[-1])
    if message is None:
        return _TWICE
    kind = _any.decode(message["type"]) if "type" in message else "message"
    if kind != "message" or "role" not in message or _any.decode(message["role"]) != "user":
        return "the last message is not the user's"
    if "content" not in message:
        return "a message without text"
    beside = {name: raw for name, raw in message.items() if name != "content"}
    if "images" in beside and _any.decode(beside["images"]):
        return "images or other media"
    content: Any = _any.decode(message["content"])
    if isinstance(content, str):
        return Question(content, fields, field, ("content",), items[:-1], (beside,))
    if not isinstance(content, list) or len(content) != 1:
        return "a message of several parts"
    part = members(_items.decode(message["content"])[0])
    if part is None:
        return _TWICE
    if "type" not in part or _any.decode(part["type"]) not in _TEXTS:
        return "images or other media"
    text = _any.decode(part["text"]) if "text" in part else None
    if not isinstance(text, str):
        return "a message without text"
    within = {name: raw for name, raw in part.items() if name != "text"}
    return Question(text, fields, field, ("content", "0", "text"), items[:-1], (beside, within))
