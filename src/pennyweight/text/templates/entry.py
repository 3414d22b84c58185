"""How a template with its answers is kept: bytes behind a version and a checksum that is bound to the key."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from ...request import Usage, Wire
from .family import Family

__all__ = ["Entry", "Kept", "decode", "encode"]

_VERSION = b"\x01"  # entries of another version are misses
_CHECK_BYTES = 8


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """The whole answer behind one example. `place`: where its text stands."""

    created_at: float  # unix seconds
    wire: Wire
    raw: bytes
    place: tuple[str | int, ...]
    usage: Usage | None
    finish_reason: str | None


class Entry(msgspec.Struct, frozen=True, array_like=True):
    family: Family
    answers: dict[str, Kept] = {}  # by the example's source


_entry = msgspec.msgpack.Decoder(Entry)


def encode(key: str, entry: Entry) -> bytes:
    payload = msgspec.msgpack.encode(entry)
    return b"".join((_VERSION, _check(key, payload), payload))


def decode(key: str, value: bytes) -> Entry | None:
    """None for an entry that is of another version, damaged, or another key's."""
    payload = value[1 + _CHECK_BYTES :]
    if value[:1] != _VERSION or value[1 : 1 + _CHECK_BYTES] != _check(key, payload):
        return None
    try:
        return _entry.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _check(key: str, payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_CHECK_BYTES, key=blake2b(key.encode(), digest_size=32).digest()).digest()
