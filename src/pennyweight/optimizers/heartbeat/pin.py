"""The form in which a message was first sent, where its client later rewrites it around a wake.

OpenClaw sends "[time] text". When a silent wake came before that message, later requests hold it as two blocks,
"[time] [OpenClaw heartbeat poll]" and "text". Only a message that, without the marker, is to the last character one
that was sent before gets its first form back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgspec

from ...prefix import canonical

__all__ = ["MARKER", "first_form", "is_merged", "new_users", "print_of"]

MARKER = "[OpenClaw heartbeat poll]"
_MARKER = MARKER.encode()
_TEXT = ("text", "input_text")
_any = msgspec.json.Decoder()


def print_of(raw: bytes | msgspec.Raw) -> bytes:
    """16 bytes that tell a message from others; cache marks and the form of a lone text do not count."""
    return hashlib.blake2b(canonical(bytes(raw)), digest_size=16).digest()


def is_merged(raw: bytes | msgspec.Raw) -> bool:
    """Whether the marker stands near the beginning of a user's message, at next to no cost."""
    head = bytes(memoryview(raw)[:240])
    return _MARKER in head and b"tool_result" not in head[:80] and b'"assistant"' not in head[:40]


def new_users(items: Sequence[bytes | msgspec.Raw]) -> Iterator[bytes]:
    """The prints of the users' messages since the last answer: what this request sends for the first time."""
    for raw in reversed(items):
        head = bytes(memoryview(raw)[:120])
        if b'"assistant"' in head or b'"user"' not in head + bytes(memoryview(raw)[-30:]):
            return
        if b"tool_result" in head or b"BEGIN_OPENCLAW_INTERNAL_CONTEXT" in head or is_merged(raw):
            continue
        yield print_of(raw)


def first_form(raw: bytes | msgspec.Raw, known: Container[bytes]) -> bytes | None:
    """The message as it was first sent, its cache mark kept; None where none that is `known` fits exactly."""
    try:
        message = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("role") != "user":
        return None
    for content in _unmerged(message.get("content")):
        candidate = msgspec.json.encode({**message, "content": content})
        if print_of(candidate) in known:
            return candidate
    return None


def _unmerged(content: Any) -> Iterator[Any]:
    """What the content may have been before the marker came in. The caller knows which of them was sent."""
    if isinstance(content, str):
        stamp, found, rest = content.partition(MARKER)
        if found and _is_stamp(stamp) and rest[:1] == "\n":
            yield stamp + rest.lstrip("\n")
        return
    if not isinstance(content, list) or len(content) < 2:
        return
    first = _text_of(content[0])
    if first is None or not first.endswith(MARKER) or not _is_stamp(first.removesuffix(MARKER)):
        return
    stamp = first.removesuffix(MARKER)
    at = 1
    while at < len(content) - 1 and _text_of(content[at]) in (MARKER, first):  # two silent wakes in a row
        at += 1
    text = _text_of(content[at])
    if text is None:
        return
    others = content[at + 1 :]
    mark = next((b["cache_control"] for b in reversed(content[: at + 1]) if "cache_control" in b), None)
    for joined in (stamp + text, stamp.rstrip() + text) if text.startswith(" ") else (stamp + text,):
        block = {key: value for key, value in content[at].items() if key != "cache_control"} | {"text": joined}
        if mark is not None:
            block["cache_control"] = mark
        plain = not others and block.keys() == {"type", "text"}
        yield joined if plain else [block, *others]


def _is_stamp(text: str) -> bool:
    """Nothing, or one bracketed time and a blank: "[Fri 2026-11-20 21:31 UTC] "."""
    return not text or (text[0] == "[" and text.endswith("] ") and "\n" not in text and text.count("[") == 1)


def _text_of(block: Any) -> str | None:
    if not isinstance(block, dict) or block.get("type") not in _TEXT or not isinstance(block.get("text"), str):
        return None
    return str(block["text"])
