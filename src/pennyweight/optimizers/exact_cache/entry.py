"""What is kept of an answer, as bytes that tell when they are damaged, copied to another key, or of another release.

The first byte is the layout's version, eight more a checksum over the key and the rest; then MessagePack, the answer
last. Entries are found again by tenant and model from their keys alone, by age from the entry.
"""

from __future__ import annotations

import msgspec
from xxhash import xxh3_64_digest

from ...request import Usage, Wire

__all__ = ["PREFIX", "Entry", "Named", "encoded", "entry_of", "named"]

PREFIX = "exact/"
"""Of all keys of this cache."""

_VERSION = b"\x02"  # entries of another version are misses
_HEAD = 9


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


class Named(msgspec.Struct, frozen=True):
    """What a key tells."""

    tenant: str
    model: str  # as sent to the provider
    digest: str


_entry = msgspec.msgpack.Decoder(Entry)
_encode = msgspec.msgpack.Encoder().encode
_DIGEST_CHARACTERS = 64


def named(key: str) -> Named | None:
    """None for a key that is none of this cache's. A tenant's name may hold slashes, and so may a model's."""
    if not key.startswith(PREFIX):
        return None
    parts = key[len(PREFIX) :].split("/")
    at = next((n for n, part in enumerate(parts) if n and _is_digest(part)), 0)
    return Named("/".join(parts[:at]), "/".join(parts[at + 1 :]), parts[at]) if at else None


def _is_digest(part: str) -> bool:
    return len(part) == _DIGEST_CHARACTERS and not part.strip("0123456789abcdef")


def encoded(key: str, entry: Entry) -> bytes:
    packed = _encode(entry)
    return b"".join((_VERSION, _checksum(key, packed), packed))


def entry_of(key: str, value: bytes) -> Entry | None:
    """None for one of another version or key, or damaged."""
    packed = memoryview(value)[_HEAD:]
    if value[:1] != _VERSION or value[1:_HEAD] != _checksum(key, packed):
        return None
    try:
        return _entry.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _checksum(key: str, packed: bytes | memoryview) -> bytes:
    """Against damage, not against forgers: whoever can write to a store is kept out by its password, or by sealing."""
    return xxh3_64_digest(packed, seed=hash_of(key))


def hash_of(key: str) -> int:
    return int.from_bytes(xxh3_64_digest(key.encode("utf-8", "surrogatepass")), "big")
