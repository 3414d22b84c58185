"""An App in this process: how it is opened, and the two ways to keep one open (a task, a thread with a loop).

Knows nothing of what is asked; `calls.py` and `sdk.py` do.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..app import App, build
from ..call import Receipt
from ..config import Config, find, load
from ..errors import ConfigError
from ..front.auth import Gate
from ..front.front import Front
from ..front.http import HttpRequest
from ..ledger.reading import receipt
from ..request import Headers

__all__ = [
    "Body",
    "BodyReader",
    "Entrance",
    "LoopThread",
    "Reply",
    "Source",
    "TaskOwner",
    "close_body",
    "entrance",
    "open",
]

T = TypeVar("T")

Body = bytes | AsyncIterator[bytes]
"""A whole body, or one that arrives; whoever stops reading it early closes it (`aclose`), which stops the upstream."""

Reply = tuple[int, Headers, Body]


class Entrance(Protocol):
    """What clients ask. Errors come as replies in the caller's protocol, like over HTTP."""

    async def respond(self, method: str, path: str, query: str, headers: Headers, body: bytes) -> Reply: ...

    async def receipt(self, call_id: str) -> Receipt | None:
        """The receipt of a finished call, what is still queued included; None if there is none of that id."""
        ...


Source = None | str | Path | Config | App | Callable[[], AbstractAsyncContextManager[Entrance]]
"""What to go through: None for the configuration that `pennyweight serve` would find, a path to a TOML file, a Config,
an App that is open already and stays so, or a function that opens an Entrance."""


def open(source: str | Path | Config | None = None) -> AbstractAsyncContextManager[App]:
    """The App itself: `async with pennyweight.open("pennyweight.toml") as app`. Raises ConfigError, StoreError."""
    if not isinstance(source, Config):
        source = load(Path(source) if source is not None else find(os.environ), os.environ)
    return build(source)


@asynccontextmanager
async def entrance(source: Source) -> AsyncIterator[Entrance]:
    """Whatever `source` opens, until the block ends."""
    if isinstance(source, App):
        yield _AppEntrance(source)
    elif callable(source):
        async with source() as given:
            yield given
    else:
        async with open(source) as app:
            yield _AppEntrance(app)


class _AppEntrance:
    """The front that the gateway serves over HTTP, without the HTTP."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._front = Front(app, Gate(app.config, app.keys))

    async def respond(self, method: str, path: str, query: str, headers: Headers, body: bytes) -> Reply:
        response = await self._front.respond(HttpRequest(method, path, query, headers, body, peer=""))
        if not isinstance(response.body, bytes):
            return response.status, response.headers, _Streamed(response.body, response.close)
        if response.close is not None:
            await response.close()
        return response.status, response.headers, response.body

    async def receipt(self, call_id: str) -> Receipt | None:
        await self._app.clerk.flush(_RECEIPT_S)
        return await asyncio.to_thread(receipt, self._app.config.data_dir / "pennyweight.db", call_id)


_RECEIPT_S = 1.0  # how long a receipt may take to be written; the clerk's batches come every 0.2 s


class _Streamed:
    """The chunks of an answer; the answer is closed at their end, at an error, and by `aclose`, whichever is first."""

    def __init__(self, chunks: AsyncIterator[bytes], close: Callable[[], Awaitable[None]] | None) -> None:
        self._chunks = chunks
        self._close = close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()
            await close_body(self._chunks)


async def close_body(body: Body) -> None:
    """Stop a body that is not read to its end; the upstream stops too. Safe on one that has ended."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


class TaskOwner:
    """Keeps an App open in a task of its own on the caller's loop, from the first request to `aclose`.

    An App is entered and left in one task, whichever tasks use it. When `asyncio.run` ends, it cancels that task and
    the App closes in order; a request on a later loop opens a new one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ready: asyncio.Future[Entrance] | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._closed = False

    async def app(self) -> Entrance:
        """Raises ConfigError after `aclose`, or when another running loop has the App."""
        if self._closed:
            raise ConfigError("This client is closed; wrap the SDK's client again.")
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop().is_closed():
            self._leave = asyncio.Event()
            self._ready = loop.create_future()
            self._task = loop.create_task(self._own(self._ready, self._leave), name="pennyweight app")
        elif self._task.get_loop() is not loop:
            raise ConfigError("This client is in use on another event loop; wrap one for each loop.")
        assert self._ready is not None
        return await asyncio.shield(self._ready)

    async def _own(self, ready: asyncio.Future[Entrance], leave: asyncio.Event) -> None:
        try:
            async with entrance(self._source) as app:
                ready.set_result(app)
                await leave.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            if not ready.done():
                ready.cancel()

    async def aclose(self) -> None:
        self._closed = True
        self._leave.set()
        if self._task is not None and not self._task.get_loop().is_closed():
            await asyncio.gather(self._task, return_exceptions=True)


class LoopThread:
    """An App on a loop of its own, in a thread of its own, for callers that are not async. Open until `close`.

    Raises what opening the App raises. Calls from any thread are fine; they run beside each other on the one loop.
    """

    def __init__(self, source: Source) -> None:
        if isinstance(source, App):
            raise ConfigError("An open App belongs to its event loop; give a synchronous client the configuration.")
        self._source = source
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._app: Entrance | None = None
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="pennyweight", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failed is not None:
            raise self._failed
        atexit.register(self.close)

    @property
    def app(self) -> Entrance:
        if self._app is None:
            raise ConfigError("This client is closed; make a new one.")
        return self._app

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """The result of `work` on the loop. Raises TimeoutError; work that is not waited for any more is cancelled."""
        if self._loop is None or self._app is None:
            work.close()
            raise ConfigError("This client is closed; make a new one.")
        if threading.current_thread() is self._thread:
            work.close()
            raise ConfigError("A synchronous client was called from its own event loop; use AsyncClient there.")
        future = asyncio.run_coroutine_threadsafe(_within(work, timeout_s), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ConfigError("This client was closed while a call was in flight.") from None
        finally:
            future.cancel()

    def iterate(self, body: AsyncIterator[bytes], *, timeout_s: float | None = None) -> Iterator[bytes]:
        """The chunks as they arrive; closing the iterator early closes the body. Raises TimeoutError between two."""
        reader = BodyReader(body)
        reading: asyncio.Task[Any] | None = None

        async def read() -> bytes | None:
            nonlocal reading
            reading = asyncio.current_task()
            return await reader.next()

        async def leave() -> None:
            if reading is not None and not reading.done():  # interrupted: wait until it has let go of the body
                reading.cancel()
                await asyncio.wait([reading])
            await reader.close()

        try:
            while (chunk := self.run(read(), timeout_s=timeout_s)) is not None:
                yield chunk
        finally:
            if self._app is not None:
                self.run(leave())

    def close(self) -> None:
        """Close the App and end the thread: receipts are written, streams in flight stop. Safe to call again."""
        atexit.unregister(self.close)
        if self._loop is not None and self._leave is not None and self._thread.is_alive():
            self._app = None
            self._loop.call_soon_threadsafe(self._leave.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._own())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start
            self._failed = error
        finally:
            self._started.set()

    async def _own(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        async with entrance(self._source) as self._app:
            self._started.set()
            await self._leave.wait()


class BodyReader:
    """A body that is read piece by piece and closed by somebody who does not know whether it has ended.

    The OpenAI SDK closes a stream at `[DONE]`, before its end. Whoever closes there has seen the whole answer, so the
    end is read for it: to the App it would look like a caller who left half-way.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._tail = b""

    async def next(self) -> bytes | None:
        """The next chunk; None at the end."""
        chunk = await anext(self._body, None)
        if chunk:
            self._tail = (self._tail + chunk[-16:])[-16:]
        return chunk

    async def close(self) -> None:
        if self._tail.rstrip().endswith(b"data: [DONE]"):
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    while await anext(self._body, None) is not None:
                        pass
        await close_body(self._body)


_END_S = 1.0  # how long the end of a stream may come after its [DONE]


async def _within(work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
    async with asyncio.timeout(timeout_s):
        return await work
