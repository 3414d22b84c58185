"""Cache breakpoints where callers set them: on messages, on their content blocks, on the blocks inside a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

__all__ = ["HOLDERS", "MARKS", "Mark", "mark_of", "marks_of", "ttl_of", "unmarked", "with_marks"]

Mark = Literal["", "5m", "1h"]
"""The time to live of a breakpoint; "": there is none."""

MARKS = ("cache_control", "prompt_cache_breakpoint")
"""The fields by which blocks are marked: Anthropic's, and OpenAI's from GPT-5.6 on."""

HOLDERS = ("content", "output")

_any = msgspec.json.Decoder()


def mark_of(value: Any) -> Mark:
    """The breakpoint on a block, or on the last of its parts that has one."""
    if isinstance(value, list):
        return next((mark for block in reversed(value) if (mark := mark_of(block))), "")
    if not isinstance(value, dict):
        return ""
    own = next((value[key] for key in MARKS if value.get(key) is not None), None)
    if own is not None:
        return ttl_of(own)
    for holder in HOLDERS:
        content = value.get(holder)
        for block in reversed(content) if isinstance(content, list) else ():
            marks = [block[key] for key in MARKS if block.get(key) is not None] if isinstance(block, dict) else []
            if marks:
                return ttl_of(marks[0])
    return ""


def marks_of(raw: bytes) -> tuple[Any, ...]:
    """The cache marks in a piece of a prompt, in order."""
    if not _may_be_marked(raw):
        return ()
    return tuple(_marks(_any.decode(raw)))


def unmarked(raw: bytes) -> bytes:
    """The piece without its cache marks; its other bytes stay where there are none."""
    if not _may_be_marked(raw):
        return raw
    return msgspec.json.encode(_bare(_any.decode(raw)))


def _may_be_marked(raw: bytes) -> bool:
    return any(mark.encode() in raw for mark in MARKS)


def with_marks(raw: bytes, marks: Sequence[Any]) -> bytes:
    """A message or system prompt without marks, with the last of `marks` on its last block. A text becomes a block.

    Thinking and empty texts take no mark: the provider refuses them there.
    """
    if not marks:
        return raw
    value = _any.decode(raw)
    holder = (
        next((key for key in HOLDERS if isinstance(value.get(key), str | list)), "") if isinstance(value, dict) else ""
    )
    if holder:
        value = {**value, holder: _with_mark(value[holder], marks[-1])}
    elif isinstance(value, str | list):
        value = _with_mark(value, marks[-1])
    return msgspec.json.encode(value)


def _with_mark(content: Any, mark: Any) -> Any:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    last = blocks[-1] if blocks else None
    if not isinstance(last, dict) or last.get("text") == "" or last.get("type") in ("thinking", "redacted_thinking"):
        return content
    return [*blocks[:-1], {**last, MARKS["mode" in mark]: mark}]


def _marks(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _marks(item)
    elif isinstance(value, dict):
        for holder in HOLDERS:
            yield from _marks(value.get(holder))
        for key in MARKS:
            if value.get(key) is not None:
                yield value[key]


def _bare(value: Any) -> Any:
    """Without marks where marks can stand: on blocks, and on the blocks in a result."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: inner for key, inner in value.items() if key not in MARKS}
    for holder in HOLDERS:
        if holder in plain:
            plain[holder] = _bare(plain[holder])
    return plain


def ttl_of(mark: Any) -> Mark:
    if not isinstance(mark, dict):
        return ""
    return "1h" if mark.get("ttl") == "1h" else "5m"
