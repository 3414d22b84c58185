"""Whether bytes are a vector as the protocol wants it: float32, little-endian, of unit length."""

from __future__ import annotations

import sys
from array import array

from ...errors import StoreError

__all__ = ["check_length", "check_size", "floats"]


def floats(space: str, vector: bytes) -> array[float]:
    """Its values. Raises StoreError for bytes that are no vector of unit length."""
    check_size(space, vector)
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    check_length(space, sum(value * value for value in values))
    return values


def check_size(space: str, vector: bytes) -> None:
    if not vector or len(vector) % 4:
        raise StoreError(f"A vector for the space {space!r} has {len(vector)} bytes: it must be float32 values.")


def check_length(space: str, squared: float) -> None:
    if not 0.9 < squared < 1.1:  # not for NaN either
        raise StoreError(f"A vector for the space {space!r} has the length {abs(squared) ** 0.5:.3g}: it must be 1.")
