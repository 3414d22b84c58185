"""Halves of characters in JSON: `\\ud83d` without the other half, as text has it that was cut within an emoji. Pure.

Servers in Python and Java write it and most clients read it, but it is no character, and our reader takes none. In a
request Anthropic and OpenAI refuse it, saying no more than a position; an agent's history keeps it from then on.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["lone_surrogate", "sound"]

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF_BYTES = 6
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_LONGEST_BYTES = 2 * 2**20
_MARKS = range(0xE000, 0xE100)  # of nobody's own characters: one that the body has not marks the place
_DEEPEST = 40  # names of a path: what is told stays short, and finding it cheap
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


def sound(body: bytes) -> bytes:
    """The JSON with U+FFFD in place of each half; the very same bytes where there is none."""
    if b"\\u" not in body:
        return body
    mended = _ESCAPES.sub(lambda found: found[0] if len(found[0]) != _HALF_BYTES else rb"\ufffd", body)
    return body if mended == body else mended


def lone_surrogate(raw: bytes) -> str | None:
    r"""What is wrong and where, such as `half a surrogate pair, \ud83d, at byte 57, in messages[3].content`; None for
    a body that has no such half, or would not be JSON without it, or is so long that looking would hold others up."""
    if len(raw) > _LONGEST_BYTES:
        return None
    found = next((found for found in _ESCAPES.finditer(raw) if len(found[0]) == _HALF_BYTES), None)
    if found is None:
        return None
    mark = next((mark for mark in map(rb"\u%04x".__mod__, _MARKS) if mark not in raw), rb"\ufffd")
    whole = raw[: found.start()] + mark + sound(raw[found.end() :])
    try:
        msgspec.json.decode(whole)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return f"half a surrogate pair, {found[0].decode()}, at byte {found.start()}, in {_path(whole, mark)}"


def _path(raw: bytes, mark: bytes) -> str:
    """To the first text in which the mark is, in valid JSON that has it. Names that are no plain words are left out."""
    path, value = "", msgspec.Raw(raw)
    for _ in range(_DEEPEST):
        kind = bytes(value).lstrip()[:1]
        if kind == b"{":
            members = _members.decode(value)
            name = next((name for name, member in members.items() if mark in bytes(member)), None)
            if name is None:
                return f"a name in {path}" if path else "a name of the body"
            path += "." * bool(path) + (name if _PLAIN.fullmatch(name) else "…")
            value = members[name]
        elif kind == b"[":
            items = _items.decode(value)
            index, value = next((index, item) for index, item in enumerate(items) if mark in bytes(item))
            path = f"{path}[{index}]"
        else:
            return path or "the body"
    return f"{path}…"
