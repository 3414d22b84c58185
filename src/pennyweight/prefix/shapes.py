"""Messages of the shapes that most have, read in one pass: what `Blocks` finds by going over them piece by piece, for
a third of the work. A message of any other shape is left to that.

Fields stand in the order of their names, as in a canonical block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from .canonical import TEXT_TYPES
from .marks import Mark, ttl_of

__all__ = ["Shaped", "shaped"]

Shaped = tuple[str, bytes, tuple[str, ...], int, Mark, bool]
"""Of one block: who says it, its canonical bytes, the texts that make its tokens, its size in bytes, the breakpoint on
it, and whether it is the result of a tool."""


def shaped(raw: bytes, *, split: bool) -> Sequence[Shaped] | None:
    """The blocks of a message; None where it has another shape. split: its content blocks one by one, as Anthropic
    caches them, and not the message as one."""
    try:
        if split:
            return _parted(_messages.decode(raw), len(raw))
        return _whole(_items.decode(raw), len(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# --- Anthropic's, block by block --------------------------------------------------------------------------


class _Text(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str
    cache_control: Any = UNSET


class _Use(msgspec.Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    id: str
    input: dict[str, Any]
    name: str
    cache_control: Any = UNSET


class _Result(msgspec.Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    content: str
    tool_use_id: str
    cache_control: Any = UNSET
    is_error: bool | UnsetType = UNSET


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    content: str | list[_Text | _Use | _Result]
    role: str


def _parted(message: _Message, size: int) -> Sequence[Shaped] | None:
    content, role = message.content, message.role
    if isinstance(content, str):
        return ((role, _encode(content), (content,), size, "", False),)
    found = [_block(block, role) for block in content]
    return None if None in found else cast("list[Shaped]", found)


def _block(block: _Text | _Use | _Result, role: str) -> Shaped | None:
    mark: Mark = ""
    size = 0
    if block.cache_control is not UNSET:
        mark, size = ttl_of(block.cache_control), _CONTROL_BYTES + len(_encode(block.cache_control))
        block.cache_control = UNSET
    if isinstance(block, _Text):  # alone, it is its text
        text = _encode(block.text)
        return role, text, (block.text,), size + _TEXT_BYTES + len(text), mark, False
    text = _sorted(block)
    size += len(text)
    if isinstance(block, _Use):
        given = _encode(block.input).decode()
        # A picture costs by the piece, also in what a tool is given.
        return None if "image" in given else (role, text, (block.name, given), size, mark, False)
    return role, text, (block.content,), size, mark, True


_CONTROL_BYTES = len(b',"cache_control":')
_TEXT_BYTES = len(b'{"type":"text","text":}')


# --- Chat Completions' and Responses', each item as one ---------------------------------------------------


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    arguments: str
    name: str


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    function: _Function
    id: str
    type: Literal["function"]


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    type: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    arguments: str | UnsetType = UNSET
    call_id: str | UnsetType = UNSET
    content: str | list[_Part] | UnsetType | None = UNSET
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    output: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    tool_calls: list[_Call] | UnsetType = UNSET
    type: Literal["function_call", "function_call_output", "message"] | UnsetType = UNSET


def _whole(item: _Item, size: int) -> Sequence[Shaped] | None:
    if isinstance(item.content, list):
        if len(item.content) != 1 or item.content[0].type not in TEXT_TYPES:
            return None
        item.content = item.content[0].text  # a lone text is the same, whichever way it came
    texts = [text for text in (item.content, item.arguments, item.name, item.output) if isinstance(text, str)]
    if item.tool_calls is not UNSET:
        for call in item.tool_calls:
            texts += call.function.arguments, call.function.name
    role = "" if item.role is UNSET else item.role
    is_result = role == "tool" or item.type == "function_call_output"
    return ((role, _encode(item), tuple(texts), size, "", is_result),)


_messages = msgspec.json.Decoder(_Message)
_items = msgspec.json.Decoder(_Item)
_encode = msgspec.json.Encoder().encode
_sorted = msgspec.json.Encoder(order="sorted").encode
