"""An embedder that remembers: the newest texts by their hash, and one flight for a text that several want at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import msgspec

from ...errors import StoreError
from ...protocols import Embedder
from ...request import Charge
from .worker import Tell

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
        self._flights: dict[bytes, list[asyncio.Future[Embedded]]] = {}  # of a text, those who wait for it
        self._tasks: set[asyncio.Task[None]] = set()
        self._charges = isinstance(inner, Charging)
        # An embedder with a thread of its own says so: its flights need no task.
        self._give: Callable[[str, Tell], None] | None = getattr(inner, "give", None)

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
        waiting = self._flights.get(key)
        if waiting is None:
            if len(self._flights) >= self._waiting:
                raise StoreError(f"The embedder is busy: {self._waiting} texts are under way.")
            waiting = self._flights[key] = []
            self._begin(key, text)
        waiter: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        waiting.append(waiter)  # of its own: whoever is cancelled takes nobody along
        return await waiter

    def _begin(self, key: bytes, text: str) -> None:
        if self._give is not None:
            self._give(text, partial(self._landed, key))
            return
        task = asyncio.create_task(self._fetched(key, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what is under way, and the embedder inside."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for key in list(self._flights):
            self._landed(key, b"", None)
        if isinstance(self._inner, _Closable):
            self._inner.close()

    async def _fetched(self, key: bytes, text: str) -> None:
        found = Embedded(b"")
        error: Exception | None = None
        try:
            found = await self._fetch(text)
            if not found.vector:
                error = StoreError("The embedder gave a vector of nothing.")
        except Exception as raised:  # noqa: BLE001 - for whoever waits
            error = raised
        finally:  # cancelled, too
            self._landed(key, found.vector, error, found.charges)

    async def _fetch(self, text: str) -> Embedded:
        inner = self._inner
        if self._charges and isinstance(inner, Charging):
            return await inner.ask(text)
        return Embedded(await inner.embed(text))

    def _landed(self, key: bytes, vector: bytes, error: Exception | None, charges: tuple[Charge, ...] = ()) -> None:
        """Tell those who wait; the charges go to the first. Neither a vector nor an error: it was not begun."""
        if vector:
            self._known[key] = vector
            if len(self._known) > self._count:
                self._known.popitem(last=False)
        for waiter in self._flights.pop(key, ()):
            if waiter.done():  # its caller has left
                continue
            if error is not None:
                waiter.set_exception(error)
            elif vector:
                waiter.set_result(Embedded(vector, charges))
                charges = ()
            else:
                waiter.cancel()
