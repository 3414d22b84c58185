"""Where replicas meet: who asks the upstream for an answer that several of them want, and that answer, for a moment."""

from __future__ import annotations

from ..protocols import Lease, Leases
from .level import Level

__all__ = ["Meeting"]

_PREFIX = "meeting/"
_KEPT_S = 30.0  # an answer, for those who wait for it


class Meeting:
    """Leases and answers on one server, asked for no longer than a caller should wait, and not while it is down.

    level: over the store for answers; its timeouts and circuit breaker serve for the leases too. Raises StoreError.
    """

    def __init__(self, leases: Leases, level: Level) -> None:
        self._leases = leases
        self._level = level

    def start(self) -> None:
        self._level.try_again()

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        """None: another replica holds it."""
        return await self._level.ask(self._leases.acquire(key, ttl_s=ttl_s), self._level.settings.timeout_s)

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        """As `Leases.wait`."""
        return await self._leases.wait(key, timeout_s=timeout_s)

    async def answer(self, key: str) -> bytes | None:
        found = await self._level.read(_PREFIX + key)
        return None if found is None else found[0]

    async def keep(self, key: str, answer: bytes) -> None:
        await self._level.put(_PREFIX + key, answer, _KEPT_S)

    async def close(self) -> None:
        await self._level.close()
