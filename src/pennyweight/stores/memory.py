"""Stores in memory: for one process, and for tests that want a real store without a file."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from ..call import Receipt
from ..errors import StoreError
from ..protocols import Clock

__all__ = ["MemoryKV", "MemoryLedger"]


class _Kept:
    """One entry. `used`: how often it was asked for since it was last looked at, at most `_MOST_USED`."""

    __slots__ = ("expires", "used", "value")

    def __init__(self, value: bytes, expires: float | None) -> None:
        self.value = value
        self.expires = expires
        self.used = 0


_MOST_USED = 3
_NEW_SHARE = 10  # one part in so many is for entries that were not asked for again yet
_ENTRY_BYTES = 200  # of an entry beside its key and value


class MemoryKV:
    """A KV bounded by `count` entries and by `size_bytes` of keys and values.

    Evicts by S3-FIFO (Yang et al., SOSP 2023): new entries wait in a short queue and must be asked for once more to get
    into the long one, so that answers nobody asks for twice do not push out those that many do. Keys that left the
    short queue of late are remembered, and get into the long one at once. See docs/decisions/0010-exact-cache.md.

    A value larger than the short queue is not kept. It belongs to one event loop; nothing here waits.
    """

    name = "memory"

    def __init__(self, *, clock: Clock, count: int = 100_000, size_bytes: int = 256 << 20) -> None:
        self._clock = clock
        self._count = count
        self._size_bytes = size_bytes
        self._held_bytes = 0
        self._new_bytes = 0
        self._new: OrderedDict[str, _Kept] = OrderedDict()
        self._long: OrderedDict[str, _Kept] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self.on_drop: list[Callable[[], None]] = []  # told when somebody wants something deleted

    def holds(self, key: str, value: bytes) -> bool:
        """Whether that very value is still kept: as `peek`, and the same object."""
        entry = self._live(key)
        return entry is not None and entry.value is value

    def peek(self, key: str) -> bytes | None:
        """What `get` gives, at once."""
        entry = self._live(key)
        return None if entry is None else entry.value

    async def get(self, key: str) -> bytes | None:
        return self.peek(key)

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        entry = self._live(key)
        if entry is None:
            return None
        return entry.value, None if entry.expires is None else entry.expires - self._clock.now()

    async def remove(self, key: str) -> None:
        self._remove(key)
        self._tell()

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        found: list[str] = []
        for queue in (self._long, self._new):
            for key, entry in queue.items():
                if len(found) < limit and key.startswith(prefix) and not self._lapsed(entry):
                    found.append(key)
        return found

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._set(key, value, None if ttl_s is None else self._clock.now() + ttl_s)

    async def delete(self, prefix: str) -> int:
        keys = [key for queue in (self._new, self._long) for key in queue if key.startswith(prefix)]
        for key in keys:
            self._remove(key)
        self._tell()
        return len(keys)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        entry = self._live(key)
        if entry is None:
            value, expires = 0, None if ttl_s is None else self._clock.now() + ttl_s
        else:
            value, expires = _number(key, entry.value), entry.expires
        self._set(key, b"%d" % (value + amount), expires)
        return value + amount

    def _tell(self) -> None:
        for listener in self.on_drop:
            listener()

    def _live(self, key: str) -> _Kept | None:
        entry = self._long.get(key) or self._new.get(key)
        if entry is None:
            return None
        if entry.expires is not None and self._lapsed(entry):
            self._remove(key)
            return None
        if entry.used < _MOST_USED:
            entry.used += 1
        return entry

    def _set(self, key: str, value: bytes, expires: float | None) -> None:
        """Put it where it was, or at the end of a queue; make room."""
        entry = self._long.get(key) or self._new.get(key)
        size = _ENTRY_BYTES + len(key) + len(value)
        if size > self._size_bytes // _NEW_SHARE:
            self._remove(key)
            return
        if entry is not None:
            more = len(value) - len(entry.value)
            self._held_bytes += more
            if key in self._new:
                self._new_bytes += more
            entry.value, entry.expires = value, expires
        else:
            self._held_bytes += size
            if key in self._left:
                del self._left[key]
                self._long[key] = _Kept(value, expires)
            else:
                self._new[key] = _Kept(value, expires)
                self._new_bytes += size
        while self._held_bytes > self._size_bytes or len(self._new) + len(self._long) > self._count:
            self._evict()

    def _evict(self) -> None:
        """One entry less, or one that moved on."""
        short = len(self._new) <= self._count // _NEW_SHARE and self._new_bytes <= self._size_bytes // _NEW_SHARE
        if self._new and not (short and self._long):
            key, entry = self._new.popitem(last=False)
            size = _ENTRY_BYTES + len(key) + len(entry.value)
            self._new_bytes -= size
            if entry.used and not self._lapsed(entry):
                entry.used = 0
                self._long[key] = entry
                return
            self._held_bytes -= size
            self._left[key] = None
            if len(self._left) > max(len(self._long), _LEFT):
                self._left.popitem(last=False)
            return
        key, entry = self._long.popitem(last=False)
        if entry.used and not self._lapsed(entry):
            entry.used -= 1
            self._long[key] = entry
            return
        self._held_bytes -= _ENTRY_BYTES + len(key) + len(entry.value)

    def _lapsed(self, entry: _Kept) -> bool:
        return entry.expires is not None and entry.expires <= self._clock.now()

    def _remove(self, key: str) -> None:
        entry = self._long.pop(key, None)
        if entry is None:
            entry = self._new.pop(key, None)
            if entry is None:
                return
            self._new_bytes -= _ENTRY_BYTES + len(key) + len(entry.value)
        self._held_bytes -= _ENTRY_BYTES + len(key) + len(entry.value)


_LEFT = 1_000  # keys that are remembered at least, as long as the long queue is short


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
