"""The tool results of a conversation: what each is called, as the tool gave it and as it is sent. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from ...wire.blocks import Block, Conversation

__all__ = ["Result", "results"]

MOST_NAME_CHARS = 72
_HEAD_CHARS, _TAIL_CHARS = 44, 24
_UNFIT = re.compile(r"[\[\]\"\\\r\n\s]+")


class Result(msgspec.Struct, frozen=True):
    """One text that a tool gave back. `name`: by which its reader knows it, and no other. `original`: as the tool gave
    it; `sent`: as the request has it now. `message`: the index of its message. `block`: of the request as it is sent.
    """

    name: str
    message: int
    block: Block
    original: str
    arguments: str = ""

    @property
    def sent(self) -> str:
        return self.block.text

    @property
    def untouched(self) -> bool:
        return self.sent == self.original


def results(sent: Conversation, asked: Conversation) -> Iterator[Result]:
    """All of a conversation in order. sent: with the forms of earlier calls. asked: as the caller wrote it."""
    originals = asked is not sent and {key: block.text for key, _, block in _numbered(asked)}
    names: Counter[str] = Counter()
    for key, message, block in _numbered(sent):
        call = sent.call_of(block)
        name = _named(call.name if call is not None else block.name, call.text if call is not None else "")
        names[name] += 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        original = originals.get(key, block.text) if originals else block.text
        yield Result(name, message, block, original, call.text if call is not None else "")


def _numbered(conversation: Conversation) -> Iterator[tuple[tuple[str, int], int, Block]]:
    """The results, each under what tells it from the others: its call, and which of that call's texts it is."""
    seen: Counter[str] = Counter()
    for message, block in conversation.results():
        seen[block.call_id] += 1
        yield (block.call_id, seen[block.call_id]), message, block


def _named(tool: str, arguments: str) -> str:
    """A tool's name and what it was asked for, short enough to be said again and again."""
    said = " ".join((tool or "a tool", *_values(arguments)))
    said = _UNFIT.sub(" ", said).strip() or "a tool"
    if len(said) <= MOST_NAME_CHARS:
        return said
    return f"{said[:_HEAD_CHARS].rstrip()} … {said[-_TAIL_CHARS:].lstrip()}"


def _values(arguments: str) -> Iterator[str]:
    try:
        value: Any = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = arguments
    for given in value.values() if isinstance(value, dict) else (value,):
        if isinstance(given, str):
            yield given
        elif isinstance(given, int | float) and not isinstance(given, bool):
            yield str(given)
