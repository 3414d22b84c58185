"""Writes ONNX files: a graph of named nodes and constants, as protobuf.

A few of the format's messages are all that a BERT needs, and protobuf is length-prefixed fields, so this takes the
place of the `onnx` package (18 MB, and protobuf with it) on users' machines. The tests read the files with `onnx`.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ["Graph", "External"]

IR_VERSION = 8
OPSET = 17  # LayerNormalization as one node; runs from ONNX Runtime 1.12 on

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10}


class External:
    """A float32 constant that lies in another file of the same folder, so that nothing is stored twice."""

    def __init__(self, file: str, offset: int, shape: tuple[int, ...]) -> None:
        self.file, self.offset, self.shape = file, offset, shape

    @property
    def size_bytes(self) -> int:
        count = 4
        for extent in self.shape:
            count *= extent
        return count


class Graph:
    """A graph under construction. `node` gives the names of what it computes, `constant` that of what it holds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._names = 0

    def node(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node; the name of its output, or a list of them where `outputs` is more than one."""
        made = [self._fresh(op) for _ in range(outputs)]
        fields = [_text(1, name) for name in inputs] + [_text(2, name) for name in made]
        fields += [_text(3, made[0]), _text(4, op)]
        fields += [_message(5, _attribute(name, value)) for name, value in attributes.items()]
        if domain:
            fields.append(_text(7, domain))
        self._nodes.append(b"".join(fields))
        return made[0] if outputs == 1 else made

    def constant(self, value: Any, hint: str = "c") -> str:
        """Hold an array, or External data; its name."""
        name = self._fresh(hint)
        if isinstance(value, External):
            entries = {"location": value.file, "offset": str(value.offset), "length": str(value.size_bytes)}
            data = [_message(13, _text(1, key) + _text(2, said)) for key, said in entries.items()] + [_int(14, 1)]
            shape, kind = value.shape, "float32"
        else:
            array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
            data, shape, kind = [_bytes(9, array.tobytes())], array.shape, array.dtype.name
        head = [_int(1, extent) for extent in shape] + [_int(2, _TYPES[kind]), _text(8, name)]
        self._constants.append(b"".join(head + data))
        return name

    def model(
        self, inputs: dict[str, tuple[str, list[str | int]]], outputs: dict[str, tuple[str, list[str | int]]]
    ) -> bytes:
        """The file's bytes. Inputs and outputs by name: element type, and extents or names for those that vary."""
        graph = [_message(1, node) for node in self._nodes]
        graph += [_text(2, self._name)]
        graph += [_message(5, constant) for constant in self._constants]
        graph += [_message(11, _value(name, *spec)) for name, spec in inputs.items()]
        graph += [_message(12, _value(name, *spec)) for name, spec in outputs.items()]
        opsets = _message(8, _text(1, "") + _int(2, OPSET)) + _message(8, _text(1, "com.microsoft") + _int(2, 1))
        return _int(1, IR_VERSION) + _text(2, "pennyweight") + _message(7, b"".join(graph)) + opsets

    def rename(self, inner: str, outer: str) -> None:
        """Give a result the name that callers ask for."""
        fields = _text(1, inner) + _text(2, outer) + _text(3, outer) + _text(4, "Identity")
        self._nodes.append(fields)

    def _fresh(self, hint: str) -> str:
        self._names += 1
        return f"{hint}_{self._names}"


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers in two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


_message = _bytes


def _attribute(name: str, value: Any) -> bytes:
    match value:
        case int():
            return _text(1, name) + _int(3, value) + _int(20, 2)
        case float():
            return _text(1, name) + _float(2, value) + _int(20, 1)
        case str():
            return _text(1, name) + _text(4, value) + _int(20, 3)
        case list() | tuple():
            return _text(1, name) + b"".join(_int(8, int(item)) for item in value) + _int(20, 7)
    raise TypeError(f"attribute {name} of type {type(value).__name__} cannot be written")


def _value(name: str, kind: str, shape: list[str | int]) -> bytes:
    extents = [_message(1, _text(2, extent) if isinstance(extent, str) else _int(1, extent)) for extent in shape]
    tensor = _int(1, _TYPES[kind]) + _message(2, b"".join(extents))
    return _text(1, name) + _message(2, _message(1, tensor))
