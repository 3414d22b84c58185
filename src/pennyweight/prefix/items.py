"""The items of a conversation, as raw JSON, and who said them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..request import Request

__all__ = ["Worked", "items", "role", "says_user"]


class Worked:
    """What was worked out of a conversation's items, for the request that goes on with it (see `rereading`).

    start: whose they are, which item is the first of a user, and the digest of all up to it; None: not known. contents:
    each item's digest, as far as somebody asked. before: the `token` of another request's, with which so many items are
    in common from their start, and all that is beside the items.
    """

    __slots__ = ("before", "contents", "start", "token")

    def __init__(
        self,
        contents: list[bytes | None],
        start: tuple[str, int, bytes] | None = None,
        before: tuple[object, int] | None = None,
    ) -> None:
        self.contents = contents
        self.start = start
        self.before = before
        self.token = object()  # and not the one before itself, which would hold all that were before it

    def kept(self, most: int, count: int) -> Worked:
        """Of the first `most` items, which are also the first of `count` others; all else of the two is the same."""
        start = self.start if self.start is not None and self.start[1] < most else None
        return Worked([*self.contents[:most], *[None] * (count - most)], start, (self.token, most))

    def shared(self, token: object) -> int | None:
        """How many items this request has in common with the one of that token; None: it does not go on with that."""
        return self.before[1] if self.before is not None and self.before[0] is token else None


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
