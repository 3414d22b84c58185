"""What the exact cache keeps of an answer, as bytes."""

from __future__ import annotations

import msgspec

from ...kept import unwrapped, wrapped
from ...request import Usage, Wire

__all__ = ["Entry", "encoded", "entry_of"]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer: `raw` is its whole body in the protocol `wire`."""

    created_at: float  # unix seconds
    wire: Wire
    asked_model: str
    provider: str
    call_id: str  # of the call that it was given to
    usage: Usage | None
    finish_reason: str | None
    raw: bytes


_entry = msgspec.msgpack.Decoder(Entry)
_encode = msgspec.msgpack.Encoder().encode


def encoded(key: str, entry: Entry) -> bytes:
    return wrapped(key, entry.created_at, _encode(entry))


def entry_of(key: str, value: bytes) -> Entry | None:
    """None for one of another version or key, or damaged."""
    found = unwrapped(key, value)
    if found is None:
        return None
    try:
        return _entry.decode(found.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
