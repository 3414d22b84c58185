"""An oracle that answers templated questions in JSON: the template, the value, and at times something made from it.

What it computes is drawn per template by a hash of the template, so that an answer is the same whenever it is asked.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping

__all__ = ["COMPUTED", "computes", "oracle"]


def _digit_sum(value: str) -> object:
    return sum(int(char) for char in value if char.isdigit()) if any(map(str.isdigit, value)) else len(set(value))


def _next(value: str) -> object:
    return int(value) + 1 if value.isdecimal() else value + "s"


COMPUTED: Mapping[str, Callable[[str], object]] = {
    "upper": lambda value: value.swapcase() if value.swapcase() != value else value + "-X",
    "length": len,
    "reversed": lambda value: value[::-1],
    "digit_sum": _digit_sum,
    "next": _next,
    "initials": lambda value: "".join(word[0] for word in value.split()),
    "words": lambda value: len(value.split()),
    "parity": lambda value: "odd" if zlib.crc32(value.encode()) % 2 else "even",
    "checksum_digit": lambda value: zlib.crc32(value.encode()) % 10,
    "digest": lambda value: hashlib.sha256(value.encode()).hexdigest()[:6],
    "vowel_first": lambda value: value[0].lower() in "aeiou",
    "class": lambda value: ("alpha", "beta", "gamma")[zlib.crc32(value.encode()) % 3],
}
"""Some of these have two or three outcomes, so that two answers often agree by chance."""


def computes(template: str, share: float, seed: int) -> str:
    """What the oracle computes for this template; "" for the most."""
    draw = int.from_bytes(hashlib.blake2b(f"{seed}\0{template}".encode(), digest_size=8).digest(), "big")
    if draw / 2**64 >= share:
        return ""
    return sorted(COMPUTED)[draw % len(COMPUTED)]


def oracle(template: str, slot: str, value: str, *, share: float = 0.1, seed: int = 0) -> str:
    """The right answer to the question that this template makes with this value."""
    answer: dict[str, object] = {"template": template, slot: value}
    how = computes(template, share, seed)
    if how:
        answer[how] = COMPUTED[how](value)
    return json.dumps(answer)
