"""HTTP/1.1 on asyncio: bytes from sockets to requests, responses to bytes, chunk by chunk.

Knows nothing of models or money: it is given one `respond` function. Parsing is llhttp's (through httptools); this
module adds limits, flow control and the two things ready-made servers do not offer: a stream that ends in an error is
cut, without a clean end, so the caller can tell; and no header is added to what `respond` returns but the framing.
See docs/decisions/0005-server.md for what was compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Container

from ..front.http import HttpRequest, Known, Respond
from .connection import Connection, Limits, Refuse

__all__ = ["Limits", "Server"]


class _Nothing:
    """Protocol: `Known`."""

    lengths: Container[int] = ()

    def packet(self, data: bytes, peer: str) -> bytes | None:
        return None

    def again(self, request: HttpRequest) -> bytes | None:
        return None


class Server:
    """Listens, and drains when told to stop."""

    def __init__(
        self, respond: Respond, refuse: Refuse, *, limits: Limits | None = None, known: Known | None = None
    ) -> None:
        """known: answers some requests at once, before `respond` is asked."""
        self.respond = respond
        self.known = known or _Nothing()
        self.refuse = refuse
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        self.serving = 0  # of them, those with a request that has no answer yet
        self.closing = False
        self._cut = False
        self.loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, sock: socket.socket | None = None
    ) -> int:
        """Start listening; gives the port. Raises OSError when the address is taken."""
        self.loop = asyncio.get_running_loop()
        if sock is not None:
            self._server = await self.loop.create_server(lambda: Connection(self), sock=sock, ssl=tls)
        else:
            self._server = await self.loop.create_server(
                lambda: Connection(self), host, port, ssl=tls, backlog=2048, reuse_address=True
            )
        self._sweep()
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            connection.check(now)
        limits = self.limits
        every_s = min(1.0, *(t / 4 for t in (limits.read_timeout_s, limits.idle_timeout_s, limits.request_timeout_s)))
        self._sweeper = self.loop.call_later(every_s, self._sweep)

    def _busy(self) -> bool:
        return any(connection.busy for connection in self.connections)

    def cut(self) -> None:
        """Let a stop that is draining wait no longer."""
        self._cut = True

    async def stop(self, *, drain_s: float = 30.0) -> None:
        """Stop accepting, let what is in flight end within `drain_s`, then cut what is left."""
        self.closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        deadline = self.loop.time() + drain_s
        for connection in list(self.connections):
            connection.shut()
        while self._busy() and self.loop.time() < deadline and not self._cut:  # noqa: ASYNC110 - only at the end
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            if connection._task is not None:
                connection._task.cancel()
            elif connection._transport is not None:
                connection._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while self.connections:  # noqa: ASYNC110 - only at the end
                    await asyncio.sleep(0.01)
