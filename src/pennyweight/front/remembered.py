"""Requests that were answered, with what their answers rested on: bounded, and found by digests of what came.

Decides nothing, see `repeated`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TypeVar

import msgspec

from ..call import Call, Step
from ..hits import Again, Still
from ..money import Price
from ..prefix import Place
from ..request import Done, Headers

__all__ = ["Kept", "Memory", "sketch"]

_MOST = 1_000  # requests
_MOST_BYTES = 32 * 2**20  # of their bodies and of their answers
_ENTRY_BYTES = 4_000  # of what is kept of each beside bytes
_TAIL_BYTES = 64

K = TypeVar("K")

Sketch = tuple[int, int]
"""The length of some bytes and a hash of their end: tells most that were never seen without reading them."""


def sketch(data: bytes) -> Sketch:
    return len(data), hash(data[-_TAIL_BYTES:])


class Kept(msgspec.Struct, frozen=True, eq=False):
    """A request that was answered, as it came, and what its answer rested on."""

    name: bytes
    packet: bytes  # the name of the bytes that it came in, b"" where they came in pieces
    packet_sketch: Sketch
    sketch: Sketch
    call: Call
    still: Still
    steady: bool  # nothing that may change decides whether the caller is let in
    place: Place | None  # in the sessions' index, where that told the session
    flags: int  # the version of the policy
    price: Price | None
    step: Step
    arm: str
    again: Again
    done: Done
    headers: Headers
    streamed: bool
    head: str  # of the response, with places for the age and the call's id
    body: bytes  # framed, if streamed

    @property
    def size_bytes(self) -> int:
        return len(self.call.original.raw) + len(self.body) + _ENTRY_BYTES


class Memory:
    """The newest of them, by name, and by the name of the bytes that they came in where that was one piece."""

    def __init__(self) -> None:
        self.by_name: OrderedDict[bytes, Kept] = OrderedDict()
        self.by_packet: dict[bytes, Kept] = {}
        self._sketches: Counter[Sketch] = Counter()  # of bodies
        self._packet_sketches: Counter[Sketch] = Counter()
        self.lengths: Counter[int] = Counter()  # of bodies and of pieces: what most others are told by
        self._bytes = 0

    def may_have(self, body: bytes) -> bool:
        """False for most bodies that never came before, after a look at their last bytes."""
        return sketch(body) in self._sketches

    def may_have_packet(self, data: bytes) -> bool:
        return sketch(data) in self._packet_sketches

    def keep(self, kept: Kept) -> None:
        """In place of what went by its name."""
        earlier = self.by_name.get(kept.name)
        if earlier is not None:
            self.forget(earlier)
        self.by_name[kept.name] = kept
        self._sketches[kept.sketch] += 1
        self.lengths[kept.sketch[0]] += 1
        if kept.packet:
            self.lengths[kept.packet_sketch[0]] += 1
            self.by_packet[kept.packet] = kept
            self._packet_sketches[kept.packet_sketch] += 1
        self._bytes += kept.size_bytes
        while len(self.by_name) > _MOST or self._bytes > _MOST_BYTES:
            self.forget(next(iter(self.by_name.values())))

    def forget(self, kept: Kept) -> None:
        if self.by_name.get(kept.name) is not kept:
            return
        del self.by_name[kept.name]
        _less(self._sketches, kept.sketch)
        _less(self.lengths, kept.sketch[0])
        if kept.packet:
            _less(self.lengths, kept.packet_sketch[0])
            self.by_packet.pop(kept.packet, None)
            _less(self._packet_sketches, kept.packet_sketch)
        self._bytes -= kept.size_bytes

    def clear(self) -> None:
        """Forget all of them."""
        for held in (self.by_name, self.by_packet, self._sketches, self._packet_sketches, self.lengths):
            held.clear()
        self._bytes = 0


def _less(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
