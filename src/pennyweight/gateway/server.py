"""HTTP/1.1 on asyncio: bytes from sockets to requests, responses to bytes, chunk by chunk.

Knows nothing of models or money: it is given one `respond` function. Parsing is llhttp's (through httptools); this
module adds limits, flow control and the two things ready-made servers do not offer: a stream that ends in an error is
cut, without a clean end, so the caller can tell; and no header is added to what `respond` returns but the framing.
See docs/decisions/0005-server.md for what was compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import cast

import httptools
import msgspec

from ..errors import PennyweightError
from ..flow import Flow
from ..front.http import HttpRequest, HttpResponse, Respond
from ..request import get_header

__all__ = ["Limits", "Server"]

log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that cannot be read; `kind` as in errors.py."""

    path = ""

    def __init__(self, status: int, kind: str, message: str) -> None:
        self.status, self.kind, self.message = status, kind, message


_Queued = tuple[HttpRequest | Refused, bool, bool]
"""A request, whether the connection is kept after it, and whether it came as HTTP/1.0."""

Refuse = Callable[[str, int, str, str], HttpResponse]
"""From (path, status, kind, message) to an answer in the protocol that this path speaks."""


class Limits(msgspec.Struct, frozen=True):
    """What one connection may ask for."""

    max_body_bytes: int = 64 * 2**20
    max_header_bytes: int = 64 * 2**10
    max_headers: int = 200
    read_timeout_s: float = 60.0  # from the first byte of a request to its last, renewed by progress
    idle_timeout_s: float = 120.0  # between requests on a kept connection
    request_timeout_s: float = 900.0  # from a whole request to the end of its answer, a stream's too


_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_HEADS: dict[int, str] = {status: f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}" for status in range(200, 600)}
# Framing is ours; the rest of a response's headers belong to whoever answered.
_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "proxy-connection", "te"}
)
_HIGH_WATER_BYTES = 256 * 1024


class Connection(asyncio.Protocol):
    """One client connection: parses, hands complete requests to `respond` one after the other, writes the answers."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[_Queued] = deque()
        self._refused: Refused | None = None  # the first is the last: what follows it cannot be told apart
        self._task: asyncio.Task[None] | None = None
        self._late_at = 0.0  # loop time; 0: no bound
        self._overdue = False
        self._answering = False  # the head of the answer is on its way
        self._asked = ""  # path of the request that is being answered
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._held: Flow | None = None  # what is being poured to the caller
        self._keep_alive = True
        self._http_1_0 = False
        self._peer = ""
        self._begin()

    # --- parser callbacks ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        expects = False
        for name, value in self._headers:
            if name == "content-length" and int(value) > self._limits.max_body_bytes:
                self._too_large()
            elif name == "expect" and value.lower() == "100-continue":
                expects = True
        # Not while an earlier answer is on its way: it would land in the middle of it.
        if expects and self._refused is None and self._task is None and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused is not None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body_bytes:
            self._too_large()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused is not None:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("latin-1")
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        request = HttpRequest(method, path, query, tuple(self._headers), body, self._peer)
        self._push((request, keep_alive, self._parser.get_http_version() == "1.0"))

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        over = self._header_bytes > self._limits.max_header_bytes or len(self._headers) >= self._limits.max_headers
        if over and self._refused is None:
            message = f"Request headers are larger than {self._limits.max_header_bytes} bytes or too many."
            self._refuse(Refused(431, "invalid_request_error", message))

    def _too_large(self) -> None:
        message = (
            f"The request body is larger than {self._limits.max_body_bytes} bytes. "
            "Send less, or raise server.max_body_bytes in pennyweight.toml."
        )
        self._refuse(Refused(413, "request_too_large", message))

    def _refuse(self, refused: Refused) -> None:
        if self._refused is None:
            self._refused = refused
            refused.path = self._url.decode("latin-1").partition("?")[0]
            self._body.clear()
            self._push((refused, False, False))

    # --- transport callbacks ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._server.connections.add(self)
        self._arm(self._limits.idle_timeout_s)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return  # what is left of a request that was refused
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered like any request, and the connection ends with it
        except httptools.HttpParserError as error:
            self._refuse(Refused(400, "invalid_request_error", f"This is not a valid HTTP/1.1 request: {error}."))
        except ValueError:
            self._refuse(Refused(400, "invalid_request_error", "A request header has an invalid value."))
        if self._task is None:
            self._arm(self._limits.read_timeout_s)
        if len(self._queue) > 16 and self._transport:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._disarm()
        self._queue.clear()
        self._transport = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._task is not None:
            self._task.cancel()  # the caller left: stop the provider

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._held is not None:
            self._held.go_on()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def shut(self) -> None:
        """End the connection once nothing is in flight."""
        self._keep_alive = False
        if self._task is None and self._transport is not None:
            self._transport.close()

    @property
    def busy(self) -> bool:
        return self._task is not None

    def _arm(self, seconds: float) -> None:
        self._late_at = self._loop.time() + seconds

    def _disarm(self) -> None:
        self._late_at = 0.0

    def check(self, now: float) -> None:
        """End a wait that has lasted too long. The server asks all connections now and then: no timers per request."""
        if self._transport is None or not self._late_at or now < self._late_at:
            return
        if self._task is not None:
            self._overdue = True
            self._task.cancel()
            return
        if self._header_bytes and self._refused is None:
            self._refuse(Refused(408, "timeout_error", "The request did not arrive in time."))
        else:
            self._transport.close()

    # --- requests in, answers out ----------------------------------------------------------------------------------

    def _push(self, queued: _Queued) -> None:
        self._header_bytes = 0
        self._queue.append(queued)
        if self._task is None:
            self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        self._keep_alive = True
        try:
            while self._queue and self._keep_alive:
                request, self._keep_alive, self._http_1_0 = self._queue.popleft()
                self._answering = False
                self._asked = request.path
                self._arm(self._limits.request_timeout_s)
                if isinstance(request, Refused):
                    response = self._server.refuse(request.path, request.status, request.kind, request.message)
                    await self._send(response, "POST")
                    break
                response = await self._server.respond(request)
                await self._send(response, request.method)
        except asyncio.CancelledError:
            self._keep_alive = False
            if self._overdue and not self._answering and self._transport is not None:
                message = f"The call took longer than {self._limits.request_timeout_s:g} s (server.request_timeout_s)."
                await self._send(self._server.refuse(self._asked, 504, "timeout_error", message), "POST")
            elif self._transport is not None:  # cancelled by a shutdown, not by the caller's leaving
                self._transport.abort()
            raise
        except PennyweightError as error:  # an answer under way broke off: cut it, so that the caller can tell
            log.info("answer cut", extra={"error": type(error).__name__})
            self._cut()
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback ever reaches a caller
            log.error("request failed", extra={"error": type(error).__name__})
            self._cut()
        finally:
            self._task = None
            if self._transport is not None:
                if self._keep_alive and not self._server.closing:
                    self._arm(self._limits.idle_timeout_s)
                    if not self._queue:
                        self._transport.resume_reading()
                else:
                    self._finish()

    def _cut(self) -> None:
        """End the connection in a way that no caller can take for the end of the answer."""
        self._keep_alive = False
        if self._http_1_0 and self._transport is not None:  # no chunks to count: only a reset tells it from a close
            connection = self._transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _finish(self) -> None:
        """Close, but let a caller that is still sending a refused body read our answer first."""
        assert self._transport is not None
        if self._refused is not None and self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(2.0, self._transport.close)
        else:
            self._transport.close()

    async def _send(self, response: HttpResponse, method: str) -> None:
        try:
            body = response.body
            if isinstance(body, bytes) and method == "HEAD":
                told = get_header(response.headers, "content-length")
                self._write(self._head(response, length=int(told) if told and told.isdecimal() else len(body)))
            elif isinstance(body, bytes):
                self._write(self._head(response, length=len(body)) + body)
                if self._paused:
                    await self._drain()
            else:
                await self._send_stream(response, body)
        finally:
            if response.close is not None:
                await response.close()

    async def _send_stream(self, response: HttpResponse, body: AsyncIterator[bytes]) -> None:
        self._write(self._head(response, length=None))
        if isinstance(body, Flow):
            await self._pour(body)
        else:
            await self._each(body)
        if not self._http_1_0:
            self._write(b"0\r\n\r\n")

    async def _pour(self, flow: Flow) -> None:
        plain = self._http_1_0

        def sink(chunk: bytes) -> None:
            if not chunk:
                return
            self._write(chunk if plain else b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if self._paused:
                flow.hold()  # the caller reads slower than the upstream writes

        self._held = flow
        try:
            await flow.pour(sink)
        finally:
            self._held = None
        if self._paused:
            await self._drain()

    async def _each(self, body: AsyncIterator[bytes]) -> None:
        plain = self._http_1_0
        async for chunk in body:
            if not chunk:
                continue
            self._write(chunk if plain else b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if self._paused:
                await self._drain()

    def _head(self, response: HttpResponse, *, length: int | None) -> bytes:
        self._answering = True
        lines = [_HEADS.get(response.status) or _HEADS[500]]
        lines += [f"{name}: {value}" for name, value in response.headers if name not in _HOP]
        if length is not None:
            if response.status not in (204, 304):
                lines.append(f"content-length: {length}")
        elif self._http_1_0:
            self._keep_alive = False
        else:
            lines.append("transfer-encoding: chunked")
        if not self._keep_alive or self._server.closing:
            self._keep_alive = False
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise ConnectionResetError("the caller left")
        self._transport.write(data)

    async def _drain(self) -> None:
        self._drained = self._loop.create_future()
        try:
            await self._drained
        finally:
            self._drained = None


class Server:
    """Listens, and drains when told to stop."""

    def __init__(self, respond: Respond, refuse: Refuse, *, limits: Limits | None = None) -> None:
        self.respond = respond
        self.refuse = refuse
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        self.closing = False
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
        while any(c.busy for c in self.connections) and self.loop.time() < deadline:  # noqa: ASYNC110 - only at the end
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
