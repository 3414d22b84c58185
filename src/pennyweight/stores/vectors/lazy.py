"""A store of vectors that is made when it is first used: what nobody asks for loads no library and opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ...errors import ConfigError
from ...protocols import Clock, Vectors
from ..assembly import Servers
from ..database import Database

__all__ = ["LazyVectors", "ListedVectors", "Settings", "open_vectors"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[vectors]`: where semantic entries are looked for.

    size_bytes, flat and keep are for `memory`: its bound, the entries of a space up to which all are compared, and
    whether entries survive a restart. quantized: eight bits a value in Redis, a quarter of the room.
    """

    store: Literal["memory", "redis", "postgres"] = "memory"
    size_bytes: int = 256 << 20
    flat: int = 5_000
    keep: bool = True
    quantized: bool = True


class ListedVectors(Vectors, Protocol):
    """Vectors that can also say what they hold: all of ours can. Raises StoreError."""

    async def spaces(self, prefix: str) -> list[str]:
        """The names that begin so, of spaces that hold something, in order."""
        ...

    async def ids(self, space: str, *, limit: int) -> list[str]:
        """Up to `limit` ids of that space, in no order."""
        ...

    async def aclose(self) -> None: ...


class LazyVectors:
    """Protocol: `ListedVectors`, by way of the one that `make` gives when it is first asked for something.

    make: raises ConfigError where what it needs is not installed; then so does every use.
    """

    def __init__(self, make: Callable[[], ListedVectors]) -> None:
        self._make = make
        self._made: ListedVectors | None = None

    @property
    def made(self) -> ListedVectors:
        """The store itself; made now if it was not. Raises ConfigError."""
        if self._made is None:
            self._made = self._make()
        return self._made

    async def add(self, space: str, id: str, vector: bytes, *, ttl_s: float | None = None) -> None:
        await self.made.add(space, id, vector, ttl_s=ttl_s)

    async def nearest(self, space: str, vector: bytes, *, limit: int) -> Sequence[tuple[str, float]]:
        return await self.made.nearest(space, vector, limit=limit)

    async def remove(self, space: str, id: str) -> None:
        await self.made.remove(space, id)

    async def delete(self, prefix: str) -> int:
        return await self.made.delete(prefix)

    async def spaces(self, prefix: str) -> list[str]:
        return await self.made.spaces(prefix)

    async def ids(self, space: str, *, limit: int) -> list[str]:
        return await self.made.ids(space, limit=limit)

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()


def open_vectors(settings: Settings, *, clock: Clock, database: Database | None, servers: Servers) -> LazyVectors:
    """The store that the settings name. database: where those in memory survive a restart, if `settings.keep`."""

    def make() -> ListedVectors:
        match settings.store:
            case "memory":
                return _in_memory(settings, clock, database)
            case "redis":
                client = servers.redis()
                from .redis import RedisVectors

                return RedisVectors(client, clock=clock, quantized=settings.quantized)
            case "postgres":
                from .postgres import PostgresVectors

                return PostgresVectors(servers.postgres(), clock=clock)

    return LazyVectors(make)


def _in_memory(settings: Settings, clock: Clock, database: Database | None) -> ListedVectors:
    try:
        from .kept import Kept
        from .memory import MemoryVectors
    except ImportError as error:
        raise ConfigError(f"vectors: {error}. Install it: pip install 'pennyweight[semantic]'.") from None
    kept = Kept(database) if settings.keep and database is not None else None
    return MemoryVectors(clock=clock, size_bytes=settings.size_bytes, flat=settings.flat, kept=kept)
