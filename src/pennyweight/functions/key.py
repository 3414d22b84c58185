"""Arguments as bytes: equal arguments give equal bytes, in every process and whatever the order of sets and dicts.

Files count by their content and suffix. What has no content that can be told (a client, a lock, a generator) is refused
with the argument's name: a key that left it out would mix up results.
"""

from __future__ import annotations

import array
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import ipaddress
import math
import os
import re
import struct
import sys
import time
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import msgspec

from .source import named, source_of

__all__ = ["Files", "Unkeyable", "encode"]

_DEEPEST = 100  # levels of nesting; deeper is taken for a cycle
_RACY_S = 2.0  # a file changed so short ago may change again without its time telling
_FILES = 10_000
_PART_BYTES = 1 << 20

_PLAIN = (decimal.Decimal, fractions.Fraction, uuid.UUID, range, slice, complex, dt.timezone)
_BASES: tuple[Any, ...] = (str, int, float, bytes)
_SPELLED = (dt.datetime, dt.date, dt.time, dt.timedelta)
_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)


class Unkeyable(TypeError):
    """A value whose content cannot be told. `where`: the way to it, such as `options['client']`."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where} {what}")
        self.where = where
        self.what = what


class Files:
    """Digests of files, remembered as long as size, times and inode stay. Safe in threads: at worst one reads twice."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[int, ...], bytes]] = OrderedDict()

    def digest(self, path: Path) -> bytes:
        """Of its content. Raises OSError."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            seen = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
            name = str(path.absolute())
            known = self._known.get(name)
            if known is not None and known[0] == seen:
                return known[1]
            hashed = hashlib.blake2b(digest_size=16)
            while part := file.read(_PART_BYTES):
                hashed.update(part)
        if abs(time.time() - stat.st_mtime) > _RACY_S:
            self._known[name] = (seen, hashed.digest())
            while len(self._known) > _FILES:
                self._known.popitem(last=False)
        return hashed.digest()


def encode(value: object, where: str, files: Files) -> bytes:
    """The content of `value`. `where`: what to call it in errors. Raises Unkeyable."""
    return _encode(value, where, files, 0)


def _encode(value: Any, where: str, files: Files, depth: int) -> bytes:
    if depth > _DEEPEST:
        raise Unkeyable(where[:60], f"is nested more than {_DEEPEST} levels deep, or contains itself")
    kind = type(value)
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple(value)
    if kind is list or kind is tuple:
        parts = [_encode(item, f"{where}[{n}]", files, depth + 1) for n, item in enumerate(value)]
        return _joined(b"l" if kind is list else b"t", parts)
    if kind is dict:
        return _mapping(value, where, files, depth)
    if kind is set or kind is frozenset:
        return _joined(b"S", sorted(_encode(item, f"an element of {where}", files, depth + 1) for item in value))
    return _other(value, kind, where, files, depth)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def _data(value: bytes | bytearray | memoryview) -> bytes:
    data = bytes(value)
    return b"b%d:%b" % (len(data), data)


def _float(value: float) -> bytes:
    return b"fnan" if math.isnan(value) else b"f" + struct.pack(">d", value)


_SIMPLE: Mapping[type, Callable[[Any], bytes]] = types.MappingProxyType(
    {
        str: _text,
        int: lambda value: b"i%d;" % value,
        bool: lambda value: b"T" if value else b"F",
        type(None): lambda value: b"N",
        type(...): lambda value: b"E",
        float: _float,
        bytes: _data,
        bytearray: _data,
        memoryview: _data,
    }
)


def _joined(tag: bytes, parts: list[bytes]) -> bytes:
    return b"%b%d:%b" % (tag, len(parts), b"".join(parts))


def _tagged(tag: bytes, kind: type | types.FunctionType, *parts: bytes) -> bytes:
    return b"%b%b%b" % (tag, _text(named(kind)), _joined(b"", list(parts)))


def _mapping(value: Mapping[Any, Any], where: str, files: Files, depth: int) -> bytes:
    pairs = sorted(
        (_encode(key, f"a key of {where}", files, depth + 1), _encode(item, f"{where}[{key!r:.40}]", files, depth + 1))
        for key, item in value.items()
    )
    return _joined(b"d", [part for pair in pairs for part in pair])


def _fields(tag: bytes, kind: type, fields: Mapping[str, Any], where: str, files: Files, depth: int) -> bytes:
    parts = [_text(name) + _encode(item, f"{where}.{name}", files, depth + 1) for name, item in sorted(fields.items())]
    return _tagged(tag, kind, *parts)


def _other(value: Any, kind: type, where: str, files: Files, depth: int) -> bytes:
    """Types that are told by more than their exact class, the commoner first."""
    if isinstance(value, enum.Enum):
        return _tagged(b"e", kind, _text(value.name or repr(value.value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare}
        return _fields(b"D", kind, fields, where, files, depth)
    if isinstance(value, msgspec.Struct):
        return _fields(b"M", kind, {n: getattr(value, n) for n in value.__struct_fields__}, where, files, depth)
    if isinstance(value, PurePath):
        return _path(value, where, files)
    if kind in _PLAIN:
        return _tagged(b"p", kind, repr(value).encode())
    if kind in _ADDRESSES:
        return _tagged(b"p", kind, str(value).encode())
    if isinstance(value, _SPELLED):
        zone = getattr(value, "tzinfo", None)
        return _tagged(b"p", kind, f"{value!s} {zone!r} {getattr(value, 'fold', 0)}".encode())
    if isinstance(value, re.Pattern):
        return _tagged(b"p", kind, _encode(value.pattern, where, files, depth + 1), b"%d" % value.flags)
    if isinstance(value, array.array):
        return _tagged(b"A", kind, value.typecode.encode(), value.tobytes())
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _array(value, numpy, kind, where)
    if isinstance(value, type):
        return _tagged(b"c", value)
    if isinstance(value, types.FunctionType):
        return _function(value, where, files, depth)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return _tagged(b"P", kind, *(_encode(part, f"{where} (partial)", files, depth + 1) for part in parts))
    if isinstance(value, types.BuiltinFunctionType | types.ModuleType):
        return b"B" + _text(f"{getattr(value, '__module__', '')}.{value.__name__}")
    return _derived(value, kind, where, files, depth)


def _derived(value: Any, kind: type, where: str, files: Files, depth: int) -> bytes:
    """Classes made of others: their name and what they hold."""
    if isinstance(value, Mapping):
        return _tagged(b"m", kind, _mapping(value, where, files, depth))
    if isinstance(value, tuple | list):
        return _tagged(b"q", kind, *(_encode(item, f"{where}[{n}]", files, depth + 1) for n, item in enumerate(value)))
    if isinstance(value, set | frozenset):
        return _tagged(b"q", kind, _encode(frozenset(value), where, files, depth + 1))
    for base in _BASES:
        if isinstance(value, base):
            return _tagged(b"q", kind, _SIMPLE[base](base(value)))
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        fields = {a.name: getattr(value, a.name) for a in attributes if a.eq}
        return _fields(b"D", kind, fields, where, files, depth)
    model = getattr(kind, "model_fields", None)
    if isinstance(model, Mapping) and hasattr(kind, "model_dump"):  # pydantic
        return _fields(b"D", kind, {name: getattr(value, name) for name in model}, where, files, depth)
    inner = getattr(value, "__wrapped__", None)
    if isinstance(inner, types.FunctionType) and callable(value):  # a cached function, for one
        return _tagged(b"w", kind, _function(inner, where, files, depth))
    raise Unkeyable(where, f"is a {named(kind)}, whose content cannot be told")


def _function(value: types.FunctionType, where: str, files: Files, depth: int) -> bytes:
    """By name and source, and by what it has captured."""
    captured: list[bytes] = []
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not set yet
            continue
        inner = getattr(content, "__wrapped__", content)
        if inner is value:  # it calls itself
            continue
        captured.append(_text(name) + _encode(content, f"{where}: captured {name!r}", files, depth + 1))
    return _tagged(b"F", value, _text(source_of(value)), *captured)


def _path(value: PurePath, where: str, files: Files) -> bytes:
    if not isinstance(value, Path):
        return b"r" + _text(str(value))
    try:
        return b"R" + _text(value.suffix) + files.digest(value)
    except FileNotFoundError:
        return b"R!" + _text(str(value))
    except IsADirectoryError:
        raise Unkeyable(where, f"is a folder ({value}), whose content would have to be read whole") from None
    except OSError as error:
        raise Unkeyable(where, f"is a file that cannot be read ({value}: {error.strerror})") from None


def _array(value: Any, numpy: Any, kind: type, where: str) -> bytes:
    if value.dtype.hasobject or isinstance(value, numpy.ma.MaskedArray):
        raise Unkeyable(where, f"is a {named(kind)} of {value.dtype}, whose content cannot be told")
    made = numpy.ascontiguousarray(value)
    shape = ",".join(map(str, numpy.shape(value)))
    scalar = b"n" if isinstance(value, numpy.generic) else b"a"
    data = made.reshape(-1).view(numpy.uint8).data if made.size else b""
    content = hashlib.blake2b(data, digest_size=16).digest()
    return scalar + _text(f"{value.dtype.descr!r} {shape}") + content
