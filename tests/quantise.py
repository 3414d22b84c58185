"""A GGUF file in fewer bits, for tests that need one model in several precisions: f16 to Q8_0 or Q4_0.

Both formats keep blocks of 32 weights with one f16 scale (ggml's reference: ggml/src/ggml-quants.c). Written for the
tiny models of `data/models`; everything but the weights' own bytes is copied.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

import numpy as np

__all__ = ["quantise"]

_F16, _Q4_0, _Q8_0 = 1, 2, 8
_BLOCK = 32
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a metadata value, by its type
_STRING, _ARRAY = 8, 9


def quantise(source: Path, into: Path, kind: Literal["q8_0", "q4_0"]) -> Path:
    """Write `source` with every matrix of f16 in that precision to `into`."""
    data = source.read_bytes()
    _, _, tensors, values = struct.unpack_from("<4sIQQ", data)
    at = 24
    for _ in range(values):
        at = _skip_string(data, at)
        at = _skip_value(data, at + 4, struct.unpack_from("<I", data, at)[0])
    head, infos = data[:at], []
    for _ in range(tensors):
        start = at
        at = _skip_string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
        place = at + 4 + 8 * dimensions
        type_, offset = struct.unpack_from("<IQ", data, place)
        infos.append((data[start:place], shape, type_, offset))
        at = place + 12
    base = _aligned(at)
    new_infos, body = [], bytearray()
    ends = [*sorted(offset for *_, offset in infos), len(data) - base]
    for named, shape, type_, offset in infos:
        raw = data[base + offset : base + ends[ends.index(offset) + 1]]
        if type_ == _F16 and len(shape) == 2 and shape[0] % _BLOCK == 0:
            raw = raw[: 2 * shape[0] * shape[1]]
            type_, raw = (_Q8_0, _q8_0(raw)) if kind == "q8_0" else (_Q4_0, _q4_0(raw))
        body += b"\0" * (_aligned(len(body)) - len(body))
        new_infos.append(named + struct.pack("<IQ", type_, len(body)))
        body += raw
    front = head + b"".join(new_infos)
    into.write_bytes(front + b"\0" * (_aligned(len(front)) - len(front)) + bytes(body))
    return into


def _blocks(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.float16).astype(np.float32).reshape(-1, _BLOCK)


def _q8_0(raw: bytes) -> bytes:
    blocks = _blocks(raw)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    whole = np.round(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), whole.view(np.uint8)], axis=1).tobytes()


def _q4_0(raw: bytes) -> bytes:
    blocks = _blocks(raw)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = largest / -8
    level = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale != 0)
    whole = np.clip(np.floor(level + 8.5), 0, 15).astype(np.uint8)
    nibbles = whole[:, : _BLOCK // 2] | (whole[:, _BLOCK // 2 :] << 4)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), nibbles], axis=1).tobytes()


def _aligned(size: int) -> int:
    return (size + 31) // 32 * 32


def _skip_string(data: bytes, at: int) -> int:
    return at + 8 + int(struct.unpack_from("<Q", data, at)[0])


def _skip_value(data: bytes, at: int, type_: int) -> int:
    if type_ == _STRING:
        return _skip_string(data, at)
    if type_ == _ARRAY:
        inner, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if inner == _STRING:
            for _ in range(count):
                at = _skip_string(data, at)
            return at
        return at + _FIXED[inner] * int(count)
    return at + _FIXED[type_]
