"""The App in this process, asked like over HTTP but through no socket: what the library's clients stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ..app import App, build
from ..call import Receipt
from ..config import Config
from ..ledger.reading import receipt
from ..request import Headers
from .auth import Gate
from .front import Front
from .http import HttpRequest

__all__ = ["LocalApp", "open_app"]

Body = bytes | AsyncIterator[bytes]


class LocalApp:
    """Answers like the gateway does, errors in the caller's protocol included. `app` is what is inside."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._front = Front(app, Gate(app.config, app.keys))

    async def respond(
        self, method: str, path: str, query: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, Body]:
        """Status, headers and body. A body that arrives must be read to its end or closed (`aclose`)."""
        response = await self._front.respond(HttpRequest(method, path, query, headers, body, peer=""))
        if isinstance(response.body, bytes):
            if response.close is not None:
                await response.close()
            return response.status, response.headers, response.body
        return response.status, response.headers, _Closing(response.body, response.close)

    async def receipt(self, call_id: str) -> Receipt | None:
        """The receipt of a finished call, what is still queued included; None if there is none of that id."""
        await self.app.clerk.flush()
        return await asyncio.to_thread(receipt, self.app.config.data_dir / "pennyweight.db", call_id)


class _Closing:
    """The chunks of an answer that is closed at its end, when it breaks off, or by `aclose`, even before the first."""

    def __init__(self, body: AsyncIterator[bytes], close: Callable[[], Awaitable[None]] | None) -> None:
        self._body = body
        self._close = close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._body)
        except BaseException:  # the end of the stream is one too
            await self.aclose()
            raise

    async def aclose(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()


@asynccontextmanager
async def open_app(config: Config) -> AsyncIterator[LocalApp]:
    """Raises ConfigError, StoreError."""
    async with build(config) as app:
        yield LocalApp(app)
