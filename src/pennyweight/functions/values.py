"""Results as bytes and back, by the type that the function says it returns. Never pickle: bytes are data, not code."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from ..kept import unwrapped, wrapped

__all__ = ["Codec", "Entry", "Unstorable", "codec", "seal", "unseal"]

R = TypeVar("R")

_ARRAY, _SCALAR = 1, 2  # codes of MessagePack extensions


class Unstorable(Exception):
    """A result that would not come back as it went in; says why."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A stored result. `made`: unix seconds; `took_s`, `cost`: what it took to make, cost in pico-dollars."""

    made: float
    took_s: float
    cost: int
    body: bytes
    version: int = 1


_encode_entry = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


def seal(key: str, entry: Entry) -> bytes:
    """As all caches wrap their entries: what was torn, or moved to another key, is seen."""
    return wrapped(key, entry.made, _encode_entry(entry))


def unseal(key: str, sealed: bytes) -> Entry | None:
    """None for bytes that are not what was stored under that key."""
    found = unwrapped(key, sealed)
    if found is None:
        return None
    try:
        entry = _decode_entry(found.payload)
    except msgspec.MsgspecError:
        return None
    return entry if entry.version == 1 else None


class Codec(Generic[R]):
    """For results of one type. `typed`: the function says what it returns, and msgspec can make it."""

    def __init__(self, decode: Callable[[bytes], R], *, typed: bool) -> None:
        self.decode = decode
        self.typed = typed

    def encode(self, value: R) -> bytes:
        """Raises Unstorable for a value that would come back as something else."""
        try:
            body = _encoder.encode(value)
            back = self.decode(body)
        except (
            TypeError,
            ValueError,
            NotImplementedError,
            OverflowError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            raise Unstorable(f"{type(error).__name__}: {error}") from None
        different = _difference(value, back)
        if different:
            raise Unstorable(f"{different}. Say what the function returns, as `-> tuple[int, str]`.")
        return body


def codec(function: Callable[..., Any]) -> Codec[Any]:
    """By the return annotation; without one, or with one that msgspec cannot make, what MessagePack can tell."""
    try:
        wanted = typing.get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - a name that is only imported for type checkers, for one
        wanted = Any
    try:
        decoder = msgspec.msgpack.Decoder(wanted, ext_hook=_from_ext, dec_hook=_as_is)
    except (TypeError, NotImplementedError):
        wanted = Any
        decoder = msgspec.msgpack.Decoder(Any, ext_hook=_from_ext)
    return Codec(decoder.decode, typed=wanted is not Any)


def _to_ext(value: object) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic) and not value.dtype.hasobject:
        code = _ARRAY if isinstance(value, numpy.ndarray) else _SCALAR
        head = msgspec.msgpack.encode((value.dtype.str, numpy.shape(value)))
        return msgspec.msgpack.Ext(code, len(head).to_bytes(2, "big") + head + value.tobytes())
    raise NotImplementedError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be stored")


def _from_ext(code: int, data: memoryview) -> Any:
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"an unknown kind of value ({code})")
    import numpy

    size = int.from_bytes(data[:2], "big")
    dtype, shape = msgspec.msgpack.decode(data[2 : 2 + size], type=tuple[str, tuple[int, ...]])
    made = numpy.frombuffer(bytearray(data[2 + size :]), dtype)  # a copy of its own, which may be written to
    return made.reshape(shape) if code == _ARRAY else made[0]


def _as_is(wanted: Any, value: Any) -> Any:
    kind = typing.get_origin(wanted) or wanted
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise NotImplementedError(f"a {wanted} cannot be made of what is stored")


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_ext)


def _difference(a: Any, b: Any) -> str:
    """How the value `b` that came back differs from `a`; "" when it does not."""
    if type(a) is not type(b):
        return f"a {type(a).__qualname__} would come back as a {type(b).__qualname__}"
    if isinstance(a, str | int | bytes | types.NoneType):
        return "" if a == b else "a value would come back changed"
    if isinstance(a, float):
        return "" if a == b or (a != a and b != b) else "a number would come back changed"
    if isinstance(a, list | tuple):
        pairs = zip(a, b, strict=True) if len(a) == len(b) else [(0, "")]
        return next((told for x, y in pairs if (told := _difference(x, y))), "")
    if isinstance(a, dict):
        if list(a) != list(b):
            return "a dictionary's keys would come back changed"
        return next((told for key in a if (told := _difference(a[key], b[key]))), "")
    if isinstance(a, msgspec.Struct) or dataclasses.is_dataclass(a):
        names = a.__struct_fields__ if isinstance(a, msgspec.Struct) else tuple(f.name for f in dataclasses.fields(a))
        return next((told for name in names if (told := _difference(getattr(a, name), getattr(b, name)))), "")
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(a, numpy.ndarray | numpy.generic):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return "" if same else "an array would come back changed"
    return "" if a == b else f"a {type(a).__qualname__} would come back changed"
