"""Halves of characters in JSON: `\\ud83d` without the other half, as an answer has it that was cut within an emoji.

Servers in Python and Java write it and most clients read it, but it is no character, and our reader takes none. Pure.
"""

from __future__ import annotations

import re

__all__ = ["sound"]

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF_BYTES = 6


def sound(body: bytes) -> bytes:
    """The JSON with U+FFFD in place of each half; the very same bytes where there is none."""
    if b"\\u" not in body:
        return body
    mended = _ESCAPES.sub(lambda found: found[0] if len(found[0]) != _HALF_BYTES else rb"\ufffd", body)
    return body if mended == body else mended
