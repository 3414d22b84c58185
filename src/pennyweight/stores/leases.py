"""Leases within one process. Those among processes are in `redis` and `postgres`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from ..protocols import Clock, Lease

__all__ = ["REMEMBER_S", "MemoryLeases", "polled"]

REMEMBER_S = 10.0  # how long a holder's last word is kept for those who come to wait a moment too late
_REMEMBERED = 10_000  # words at most


_FIRST_LOOK_S, _LAST_LOOK_S = 0.005, 0.1


async def polled(look: Callable[[], Awaitable[tuple[bool, bytes]]], timeout_s: float) -> bytes | None:
    """`Leases.wait` by looking again and again, at longer and longer intervals up to a tenth of a second.

    look: whether the lease is held, and the last word. One waits per process and lease, for answers that take seconds:
    a connection kept open for being told would cost more than the looks do.
    """
    loop = asyncio.get_running_loop()
    end, pause_s = loop.time() + timeout_s, _FIRST_LOOK_S
    while True:
        held, word = await look()
        if not held:
            return word
        left_s = end - loop.time()
        if left_s <= 0:
            return None
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _LAST_LOOK_S)


class _Held(msgspec.Struct):
    token: object
    expires: float  # on the monotonic clock
    news: asyncio.Event


class MemoryLeases:
    """Leases among the tasks of one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._words: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        if self._live(key) is not None:
            return None
        self._words.pop(key, None)
        if len(self._held) >= _REMEMBERED:  # some holders never came back
            for name in list(self._held):
                self._live(name)  # drops what has lapsed
        token = object()
        self._held[key] = _Held(token, self._clock.monotonic() + ttl_s, asyncio.Event())
        return _Lease(self, key, token, ttl_s)

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        end = self._clock.monotonic() + timeout_s
        while (held := self._live(key)) is not None:
            now = self._clock.monotonic()
            if now >= end:
                return None
            try:
                async with asyncio.timeout(min(held.expires, end) - now):
                    await held.news.wait()
            except TimeoutError:
                continue
        word, until = self._words.get(key, (b"", 0.0))
        return word if self._clock.monotonic() < until else b""

    def renew(self, key: str, token: object, ttl_s: float) -> bool:
        held = self._live(key)
        if held is None or held.token is not token:
            return False
        held.expires = self._clock.monotonic() + ttl_s
        return True

    def release(self, key: str, token: object, word: bytes) -> None:
        held = self._live(key)
        if held is None or held.token is not token:
            return
        del self._held[key]
        self._words[key] = (word, self._clock.monotonic() + REMEMBER_S)
        while len(self._words) > _REMEMBERED:
            self._words.popitem(last=False)
        held.news.set()

    def _live(self, key: str) -> _Held | None:
        held = self._held.get(key)
        if held is not None and held.expires <= self._clock.monotonic():
            del self._held[key]
            held.news.set()
            return None
        return held


class _Lease:
    def __init__(self, leases: MemoryLeases, key: str, token: object, ttl_s: float) -> None:
        self._leases = leases
        self._key = key
        self._token = token
        self._ttl_s = ttl_s

    async def renew(self) -> bool:
        return self._leases.renew(self._key, self._token, self._ttl_s)

    async def release(self, word: bytes = b"") -> None:
        self._leases.release(self._key, self._token, word)
