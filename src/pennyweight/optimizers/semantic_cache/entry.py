"""What the semantic cache keeps of an answer, as bytes: the question too, because vetoes read it."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from ...kept import entry_key, unwrapped, wrapped
from ...request import Usage, Wire

__all__ = ["Entry", "encoded", "entry_of", "key_of", "text_id"]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer: `raw` is its whole body in the protocol `wire`; `text` is the question, `said` the answer's text."""

    created_at: float  # unix seconds
    wire: Wire
    asked_model: str
    provider: str
    call_id: str  # of the call that it was given to
    usage: Usage | None
    finish_reason: str | None
    raw: bytes
    text: str
    said: str


_entry = msgspec.msgpack.Decoder(Entry)
_encode = msgspec.msgpack.Encoder().encode


def key_of(tenant: str, space: str, name: str, model: str) -> str:
    """The key of an entry of that space; the digest covers tenant, kind of call, embedder, question and answer."""
    digest = blake2b(f"{space}\0{name}\0{model}".encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    return entry_key("semantic", tenant, digest, model)


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


def text_id(text: str) -> str:
    """16 hexadecimal digits that equal texts share."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
