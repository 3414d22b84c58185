"""How a template is kept with its answers, and what of a kind of call is kept beside it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

import msgspec

from ...request import Usage, Wire
from .family import Family
from .gaps import Gap

__all__ = ["Entry", "Gaps", "Kept", "Question", "Recent", "decode", "digest", "encode"]


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


class Gaps(msgspec.Struct, frozen=True, array_like=True):
    """The words in lower case that vary in the questions of one kind of call, newest last."""

    gaps: tuple[Gap, ...] = ()


class Question(msgspec.Struct, frozen=True, array_like=True):
    text: str
    answer: str
    source: str
    kept: Kept


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """Questions of one kind of call, newest last, in which such words are looked for."""

    questions: tuple[Question, ...] = ()


T = TypeVar("T", bound=msgspec.Struct)


def encode(entry: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(entry)


def decode(payload: bytes | memoryview, kind: type[T]) -> T | None:
    """None for what is no such entry."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def digest(kind: str, part: str) -> str:
    """The name of an entry in 64 hexadecimal digits. kind: of call, all told; part: a template's key, or a word."""
    return blake2b(f"{kind}/{part}".encode(), digest_size=32).hexdigest()
