"""An embedder that remembers: the newest texts by their hash, and one flight for a text that several want at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import msgspec

from ...errors import StoreError
from ...protocols import Embedder
from ...request import Charge

__all__ = ["Charging", "Embedded", "Remembered"]


class Embedded(msgspec.Struct, frozen=True):
    """A vector, and what getting it was billed as: nothing for a model on this machine or a text seen before."""

    vector: bytes
    charges: tuple[Charge, ...] = ()


@runtime_checkable
class Charging(Protocol):
    """An Embedder that may cost money."""

    async def ask(self, text: str) -> Embedded:
        """The vector and its charges. Raises StoreError."""
        ...


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class Remembered:
    """An Embedder around another. `count`: vectors kept, about 1.7 kB each with 384 dimensions.

    `waiting`: texts that may be under way at once. One more is refused: its caller's time would be up before its turn
    came, and a queue that only grows would take a core for vectors that nobody waits for.

    A vector depends on nothing but its text, so texts of all tenants share them. Errors are not remembered.
    """

    def __init__(self, inner: Embedder, *, count: int = 4096, waiting: int = 32) -> None:
        self._inner = inner
        self._count = count
        self._waiting = waiting
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[bytes] | asyncio.Future[Embedded]] = {}
        self._charges = isinstance(inner, Charging)
        # An embedder with a thread of its own says so: its flights need no task.
        self._submit: Callable[[str], asyncio.Future[bytes]] | None = getattr(inner, "submit", None)

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    async def embed(self, text: str) -> bytes:
        """Raises StoreError when no vector can be had."""
        return (await self.ask(text)).vector

    async def ask(self, text: str) -> Embedded:
        """The vector and its charges; of several who wait for one text, the first has the charges.

        Whoever leaves does not stop the others. Raises StoreError.
        """
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return Embedded(known)
        flight = self._flights.get(key)
        first = flight is None
        if flight is None:
            if len(self._flights) >= self._waiting:
                raise StoreError(f"The embedder is busy: {self._waiting} texts are under way.")
            flight = self._submit(text) if self._submit is not None else asyncio.create_task(self._fetch(text))
            self._flights[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        found: bytes | Embedded = await asyncio.shield(flight)
        if isinstance(found, bytes):
            return Embedded(found)
        return found if first else Embedded(found.vector)

    async def close(self) -> None:
        """Stop what is under way, and the embedder inside."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        if isinstance(self._inner, _Closable):
            self._inner.close()

    async def _fetch(self, text: str) -> Embedded:
        inner = self._inner
        if self._charges and isinstance(inner, Charging):
            return await inner.ask(text)
        return Embedded(await inner.embed(text))

    def _landed(self, key: bytes, flight: asyncio.Future[Any]) -> None:
        self._flights.pop(key, None)
        if flight.cancelled() or flight.exception() is not None:  # those who waited are told
            return
        found: bytes | Embedded = flight.result()
        self._known[key] = found if isinstance(found, bytes) else found.vector
        if len(self._known) > self._count:
            self._known.popitem(last=False)
