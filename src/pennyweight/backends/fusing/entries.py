"""What one replica tells the others of an answer on its way: its head, its bytes, how it ended."""

from __future__ import annotations

import msgspec

from ...errors import StoreError
from ...request import Done, Headers, Reply, Usage, Wire

__all__ = ["BYTES", "END", "FAILED", "HEAD", "Head", "decode_end", "decode_head", "end", "head"]

HEAD, BYTES, END, FAILED = b"h", b"b", b"e", b"x"
"""The first byte of an entry. FAILED: no more will come, each replica asks for itself."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    status: int
    headers: Headers
    wire: Wire
    streams: bool


class _End(msgspec.Struct, frozen=True, array_like=True):
    usage: Usage | None
    finish_reason: str | None
    complete: bool


_head = msgspec.msgpack.Decoder(Head)
_end = msgspec.msgpack.Decoder(_End)


def head(reply: Reply) -> bytes:
    told = Head(reply.status, reply.headers, reply.wire, reply.chunks is not None)
    return HEAD + msgspec.msgpack.encode(told)


def decode_head(entry: bytes) -> Head:
    """Raises StoreError."""
    try:
        return _head.decode(entry[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("An answer of another replica cannot be read: it may run another version.") from None


def end(done: Done | None) -> bytes:
    done = done or Done(complete=False)
    return END + msgspec.msgpack.encode(_End(done.usage, done.finish_reason, done.complete))


def decode_end(entry: bytes) -> Done:
    """The end for those who do not pay: no charges, and a usage that nobody told is none. Raises StoreError."""
    try:
        told = _end.decode(entry[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("An answer of another replica cannot be read: it may run another version.") from None
    return Done(told.usage if told.usage is not None else Usage(), told.finish_reason, (), told.complete)
