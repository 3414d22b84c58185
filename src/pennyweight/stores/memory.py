"""Stores in memory: for one process, and for tests that want a real store without a file."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from ..call import Receipt
from ..errors import StoreError
from ..protocols import Clock

__all__ = ["MemoryKV", "MemoryLedger"]


class MemoryKV:
    """A KV bounded by `count` entries and `size_bytes` of values: the least recently used goes first.

    A value larger than the whole bound is not kept. It belongs to one event loop; nothing here waits.
    """

    def __init__(self, *, clock: Clock, count: int = 100_000, size_bytes: int = 256 << 20) -> None:
        self._clock = clock
        self._count = count
        self._size_bytes = size_bytes
        self._held_bytes = 0
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()

    def peek(self, key: str) -> bytes | None:
        """What `get` gives, at once."""
        entry = self._live(key)
        return None if entry is None else entry[0]

    async def get(self, key: str) -> bytes | None:
        return self.peek(key)

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        entry = self._live(key)
        if entry is None:
            return None
        value, expires = entry
        return value, None if expires is None else expires - self._clock.now()

    async def remove(self, key: str) -> None:
        self._remove(key)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._remove(key)
        self._set(key, value, None if ttl_s is None else self._clock.now() + ttl_s)

    async def delete(self, prefix: str) -> int:
        keys = [key for key in self._entries if key.startswith(prefix)]
        for key in keys:
            self._remove(key)
        return len(keys)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        entry = self._live(key)
        if entry is None:
            value, expires = 0, None if ttl_s is None else self._clock.now() + ttl_s
        else:
            value, expires = _number(key, entry[0]), entry[1]
        self._remove(key)
        self._set(key, b"%d" % (value + amount), expires)
        return value + amount

    def _live(self, key: str) -> tuple[bytes, float | None] | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] is not None and entry[1] <= self._clock.now():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _set(self, key: str, value: bytes, expires: float | None) -> None:
        if len(value) > self._size_bytes:
            return
        self._entries[key] = (value, expires)
        self._held_bytes += len(value)
        while len(self._entries) > self._count or self._held_bytes > self._size_bytes:
            _, (evicted, _) = self._entries.popitem(last=False)
            self._held_bytes -= len(evicted)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held_bytes -= len(entry[0])


class MemoryLedger:
    """The newest `count` receipts, by call id; a call that is already there is left as is."""

    def __init__(self, *, count: int = 100_000) -> None:
        self._order: deque[str] = deque()
        self._receipts: dict[str, Receipt] = {}
        self._count = count

    @property
    def receipts(self) -> list[Receipt]:
        """Oldest first."""
        return [self._receipts[call_id] for call_id in self._order]

    async def append(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            if receipt.call_id in self._receipts:
                continue
            self._receipts[receipt.call_id] = receipt
            self._order.append(receipt.call_id)
            if len(self._order) > self._count:
                del self._receipts[self._order.popleft()]


def _number(key: str, value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None
