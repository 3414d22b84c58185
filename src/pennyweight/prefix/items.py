"""The items of a conversation, as raw JSON, and who said them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..request import Request

__all__ = ["items", "role", "says_user"]


def items(request: Request) -> Sequence[bytes | msgspec.Raw]:
    """The conversation's items as raw JSON: `messages`, or a Responses `input` (a text is one item)."""
    envelope = request.envelope
    if envelope.messages is not None:
        return envelope.messages
    if envelope.input is None:
        return ()
    found = request.items("input")
    return found if found is not None else (envelope.input,)


def role(raw: bytes | msgspec.Raw) -> str:
    """The role of a message, read without building it; "" when it has none."""
    told = _FIRST.match(raw)  # as most SDKs write it: the rest need not be gone over
    if told is not None:
        return told[1].decode()
    try:
        return _role.decode(raw).role or ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "user" if bytes(memoryview(raw)[:1]) == b'"' else ""


def says_user(raw: bytes | msgspec.Raw) -> bool:
    """Whether it is a message of the user's."""
    told = _FIRST.match(raw)
    return told[1] == b"user" if told is not None else role(raw) == "user"


_FIRST = re.compile(rb'\{"role": ?"([a-z]{1,12})"')


class _Role(msgspec.Struct):
    role: str | None = None


_role = msgspec.json.Decoder(_Role)
