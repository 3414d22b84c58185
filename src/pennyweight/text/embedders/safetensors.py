"""Reads safetensors files: a JSON header, then the arrays' bytes. Nothing in such a file is ever executed.

The format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ...errors import StoreError

__all__ = ["Tensor", "Tensors"]

_DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}
MAX_HEADER_BYTES = 100 << 20


class Tensor(msgspec.Struct, frozen=True):
    """Where one array lies: `offset` in bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Tensors:
    """The arrays of a file by name, read only when asked for. Raises StoreError for a file that is not sound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}.") from None
        try:
            self.tensors = _header(self._data, len(self._data))
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise StoreError(f"{path} is no sound safetensors file ({error}); fetch it again.") from None

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def placed(self, name: str) -> Tensor:
        """Where that array lies. Raises StoreError."""
        found = self.tensors.get(name)
        if found is None:
            raise StoreError(f"{self.path} has no {name!r}: it is not a model of the known kind.")
        return found

    def __getitem__(self, name: str) -> Any:
        """The array, as a copy of its own type. Raises StoreError."""
        found = self.placed(name)
        raw = self._data[found.offset : found.offset + found.size_bytes]
        return np.frombuffer(raw, _DTYPES[found.dtype]).reshape(found.shape)

    def close(self) -> None:
        self._data.close()


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _header(data: Any, size: int) -> dict[str, Tensor]:
    if size < 8:
        raise ValueError("no header")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, size - 8):
        raise ValueError("its header is longer than the file")
    said = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
    return {
        name: _placed(msgspec.json.decode(raw, type=_Entry), 8 + length, size)
        for name, raw in said.items()
        if name != "__metadata__"
    }


def _placed(entry: _Entry, start: int, size: int) -> Tensor:
    count = np.dtype(_DTYPES[entry.dtype]).itemsize
    for extent in entry.shape:
        if extent < 0:
            raise ValueError("an extent below zero")
        count *= extent
    begin, end = entry.data_offsets
    if begin < 0 or end - begin != count or start + end > size:
        raise ValueError("an array that its bytes do not hold")
    return Tensor(entry.dtype, entry.shape, start + begin, count)
