"""One connection of a client: bytes to requests, responses to bytes, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING, cast

import httptools
import msgspec

from ..errors import PennyweightError
from ..flow import Flow
from ..front.http import HttpRequest, HttpResponse
from ..request import get_header
from .heads import Head, aim, head_of

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Connection", "Limits", "Refuse"]

log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that cannot be read; `kind` as in errors.py, `begun` what is known of it."""

    begun = HttpRequest("POST", "", "", (), b"", "")

    def __init__(self, status: int, kind: str, message: str) -> None:
        self.status, self.kind, self.message = status, kind, message


_Queued = tuple[HttpRequest | Refused, bool, bool]
"""A request, whether the connection is kept after it, and whether it came as HTTP/1.0."""

Refuse = Callable[[HttpRequest, int, str, str], HttpResponse]
"""From (what is known of the request, status, kind, message) to an answer in the protocol that its path speaks."""


class Limits(msgspec.Struct, frozen=True):
    """What one connection may ask for."""

    max_body_bytes: int = 64 * 2**20
    max_header_bytes: int = 64 * 2**10
    max_headers: int = 200
    read_timeout_s: float = 60.0  # for a whole request to arrive; a body gets more at `least_bytes_s`
    least_bytes_s: int = 16 * 2**10  # bytes per second: a body that comes slower than this is not waited for
    idle_timeout_s: float = 120.0  # between requests on a kept connection
    request_timeout_s: float = 900.0  # from a whole request to the end of its answer, a stream's too
    max_connections: int = 4096


_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_HEADS: dict[int, str] = {status: f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}" for status in range(200, 600)}
# Framing is ours; the rest of a response's headers belong to whoever answered.
_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "proxy-connection", "te"}
)
_NAME = itemgetter(0)
_HIGH_WATER_BYTES = 256 * 1024
_AT_ONCE_BYTES = 64 * 1024  # beside what may wait to be written
_LINGER_S = 30.0
_PIECE_BYTES = 16 * 1024  # of what is looked up whole; longer requests are known by their bodies


_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
"""Lets a caller on this machine have its answer before that is noted: the kernel takes who writes to be about to wait,
and wakes who reads on the same processor (decision 0058). With more calls under way the next one would have to wait."""


class Connection(asyncio.Protocol):
    """One client connection: parses, hands complete requests to `respond` one after the other, writes the answers."""

    # Slots: see the upstream's connection in `backends.transport`.
    __slots__ = (
        "_answering",
        "_asked",
        "_begun",
        "_body",
        "_body_bytes",
        "_continue_due",
        "_drained",
        "_fed",
        "_full",
        "_head_done",
        "_header_bytes",
        "_headers",
        "_held",
        "_http_1_0",
        "_keep_alive",
        "_late_at",
        "_like",
        "_limits",
        "_linger_until",
        "_loop",
        "_missing_bytes",
        "_overdue",
        "_parser",
        "_paused",
        "_peer",
        "_queue",
        "_read_bytes",
        "_reading",
        "_reading_since",
        "_refused",
        "_server",
        "_task",
        "_transport",
        "_unparsed_bytes",
        "_url",
    )

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
        self._asked = Refused.begun  # what is being answered
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._full = False  # no more is read: too many requests wait
        self._held: Flow | None = None  # what is being poured to the caller
        self._keep_alive = True
        self._http_1_0 = False
        self._peer = ""
        self._reading = False  # a request has begun to arrive and is not complete
        self._reading_since = 0.0
        self._read_bytes = 0
        self._begun = 0  # requests, in what was fed last
        self._unparsed_bytes = 0  # fed since the parser last told us anything
        self._linger_until = 0.0
        self._continue_due = False
        self._fed = b""  # where the request being read began
        self._like: Head | None = None  # of the last request
        self._missing_bytes = 0  # of the body of one that has the same head
        self._begin()

    # --- parser callbacks ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._body: list[bytes | memoryview] = []
        self._body_bytes = 0
        self._head_done = False

    def on_message_begin(self) -> None:
        if self._refused is not None:
            return  # nothing after a refused request is read, what came in the same packet included
        self._begun += 1
        self._begin()
        self._reading = True
        self._reading_since = self._loop.time()
        self._read_bytes = 0

    def on_url(self, url: bytes) -> None:
        if self._refused is None:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
            return
        self._unparsed_bytes = 0  # a trailer, which must not pass for a header
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.max_header_bytes:
            self._headers_too_large()

    def on_headers_complete(self) -> None:
        # What was fed bounds the head, unless a request that is not answered yet came in the same packet.
        if self._task is not None or self._unparsed_bytes > self._limits.max_header_bytes:
            self._header_bytes = len(self._url) + sum([len(name) + len(value) for name, value in self._headers])
        if self._header_bytes > self._limits.max_header_bytes or len(self._headers) > self._limits.max_headers:
            self._headers_too_large()
        self._head_done = True
        self._unparsed_bytes = 0
        told = dict(self._headers)
        if int(told.get("content-length", 0)) > self._limits.max_body_bytes:
            self._too_large()
        expects = told.get("expect", "").lower() == "100-continue" and self._parser.get_http_version() != "1.0"
        if expects and self._refused is None:
            self._continue_due = True
            if self._task is None:  # not while an earlier answer is on its way: it would land in the middle of it
                self._continue()

    def _continue(self) -> None:
        self._continue_due = False
        if self._transport is not None and self._reading and not self._body:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self._refused is not None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.max_body_bytes:
            self._too_large()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._reading = False
        self._unparsed_bytes = 0
        if self._refused is not None:
            return
        path, query, headers = aim(self._url, tuple(self._headers))
        body = b"".join(self._body)
        self._body = []  # it may be long until the next one
        method = self._parser.get_method().decode("latin-1")
        old = self._parser.get_http_version() == "1.0"
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade() and not old
        request = HttpRequest(method, path, query, headers, body, self._peer)
        fed, self._fed = self._fed, b""
        self._like = head_of(fed, request) if keep_alive and fed else None
        if keep_alive and self._free() and (told := self._server.known.again(request)) is not None:
            self._write(told)
            return
        self._push((request, keep_alive, old))

    def _headers_too_large(self) -> None:
        message = (
            f"The request's headers are larger than {self._limits.max_header_bytes} bytes or more than "
            f"{self._limits.max_headers}. Send less, or raise server.max_header_bytes in pennyweight.toml."
        )
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
            refused.begun = HttpRequest("POST", *aim(self._url, tuple(self._headers)), b"", self._peer)
            self._body.clear()
            self._push((refused, False, False))

    # --- transport callbacks ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._server.connections.add(self)
        if len(self._server.connections) > self._limits.max_connections:
            message = (
                f"This gateway has {self._limits.max_connections} connections open, its limit. Try again in a moment, "
                "or raise server.max_connections in pennyweight.toml."
            )
            self._refuse(Refused(503, "overloaded_error", message))
            return
        self._arm(self._limits.idle_timeout_s)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            if self._task is None:
                self._linger()
            return  # what is left of a request that was refused
        if self._missing_bytes:
            self._go_on(data)
            return
        piece = len(data) <= _PIECE_BYTES and not self._reading and self._free()  # mostly a whole request
        known = self._server.known
        if piece and len(data) in known.lengths and (told := known.packet(data, self._peer)) is not None:
            self._write(told)
            self._arm(self._limits.idle_timeout_s)
            return
        if not self._reading:
            if self._like is not None and self._begins_alike(data, self._like, piece=piece):
                return
            self._fed = data
        self._read_bytes += len(data)
        self._unparsed_bytes += len(data)
        self._begun = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered like any request, and the connection ends with it
        except httptools.HttpParserError as error:
            self._refuse(Refused(400, "invalid_request_error", f"This is not a valid HTTP/1.1 request: {error}."))
        except ValueError:
            self._refuse(Refused(400, "invalid_request_error", "A request header has an invalid value."))
        # The parser keeps a header until it is whole and skips what follows a chunk's size: both must have an end.
        if self._unparsed_bytes > self._limits.max_header_bytes:
            self._headers_too_large()
        if self._task is None and self._transport is not None:
            self._arm(self._time_left())
        elif piece and self._begun == 1 and not self._reading and self._refused is None and self._queue:
            request, kept, _old = self._queue[-1]
            if kept:  # else the answer is not the same bytes
                cast(HttpRequest, request).came_in(data)
        if len(self._queue) > 1:
            self._pause()

    def _begins_alike(self, data: bytes, head: Head, *, piece: bool) -> bool:
        """Take a request that has the head of the last one; False for any other, and for several at once."""
        told = head.length(data)
        if told is None:
            return False
        length, start = told
        missing = length + start - len(data)
        if missing < 0 or length > self._limits.max_body_bytes:
            return False
        if not missing:
            self._whole(head, data[start:], data if piece else b"", free=piece or self._free())
            return True
        request = head.request
        self._begin()
        self._url = f"{request.path}?{request.query}".encode("latin-1")
        self._headers = list(request.headers)
        self._head_done = self._reading = True
        self._reading_since = self._loop.time()
        self._read_bytes, self._missing_bytes = len(data), missing
        self._body.append(memoryview(data)[start:])  # a large one: it is copied once, when it is whole
        self._body_bytes = len(data) - start
        if self._task is None:
            self._arm(self._time_left())
        return True

    def _go_on(self, data: bytes) -> None:
        """More of a body of which we know how long it is."""
        self._read_bytes += len(data)
        rest = data[self._missing_bytes :] if len(data) > self._missing_bytes else b""
        self._body.append(data[: self._missing_bytes] if rest else data)
        self._missing_bytes -= len(self._body[-1])
        self._body_bytes += len(self._body[-1])
        if self._missing_bytes:
            if self._task is None:
                self._arm(self._time_left())
            return
        self._reading = False
        assert self._like is not None
        self._whole(self._like, b"".join(self._body), free=self._free())
        self._body = []
        if rest:
            self.data_received(rest)

    def _whole(self, head: Head, body: bytes, packet: bytes = b"", *, free: bool) -> None:
        """packet: what it came in, where that was one short piece."""
        request = head.request.again(body, packet)
        known = self._server.known
        if free and len(body) in known.lengths and (told := known.again(request)) is not None:
            self._write(told)
            self._arm(self._limits.idle_timeout_s)
            return
        self._push((request, True, False))
        if len(self._queue) > 1:
            self._pause()

    def eof_received(self) -> bool:
        """A caller that ends its sending has left, unless it still owes us part of a request: then it is told."""
        if self._refused is not None:
            return self._task is not None  # the refusal is not written yet
        if self._task is None and self._reading:
            message = f"The request ended early: {self._body_bytes} bytes of its body came, and more were announced."
            self._refuse(Refused(400, "invalid_request_error", message))
            return True
        return False

    def _time_left(self) -> float:
        """Seconds that the request being read may still take, by how much of it has come."""
        if not self._reading:
            return self._limits.idle_timeout_s
        earned = self._read_bytes / self._limits.least_bytes_s if self._head_done else 0.0
        return max(self._reading_since + self._limits.read_timeout_s + earned - self._loop.time(), 0.0)

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
        if self._reading and self._refused is None:
            message = f"The request did not arrive within {self._limits.read_timeout_s:g} s. Send it faster."
            self._refuse(Refused(408, "timeout_error", message))
        else:
            self._transport.close()

    # --- requests in, answers out ----------------------------------------------------------------------------------

    def _free(self) -> bool:
        """Whether what is answered now does not overtake anything, and does not pile up."""
        return self._task is None and not self._queue and not self._paused and not self._server.closing

    def _pause(self) -> None:
        if self._transport is not None:
            self._full = True
            self._transport.pause_reading()

    def _push(self, queued: _Queued) -> None:
        self._queue.append(queued)
        if self._task is None:
            self._server.serving += 1
            self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        self._keep_alive = True
        try:
            while self._queue and self._keep_alive:
                request, self._keep_alive, self._http_1_0 = self._queue.popleft()
                self._answering = False
                self._late_at = self._loop.time() + self._limits.request_timeout_s
                if isinstance(request, Refused):
                    self._asked = request.begun
                    response = self._server.refuse(request.begun, request.status, request.kind, request.message)
                    await self._send(response, "POST")
                    break
                self._asked = request
                response = await self._server.respond(request)
                if response.end is None or not self._sent_at_once(response, response.end, request.method):
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
            self._server.serving -= 1
            self._task = None
            self._asked = Refused.begun  # an idle connection holds nobody's body
            if self._transport is not None:
                if self._keep_alive and not self._server.closing:
                    now = self._reading_since = self._loop.time()  # what had to wait for us is not late
                    self._read_bytes = 0
                    self._late_at = now + (self._time_left() if self._reading else self._limits.idle_timeout_s)
                    if self._continue_due:
                        self._continue()
                    if self._full and not self._queue:
                        self._full = False
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
            with contextlib.suppress(OSError):  # the caller is gone already
                self._transport.write_eof()
            self._linger_until = self._loop.time() + _LINGER_S
            self._linger()
        else:
            self._transport.close()

    def _linger(self) -> None:
        """Close when the caller has stopped sending for two seconds: closing on bytes not read would reset the
        connection and could take our answer with it."""
        if self._transport is None:
            return
        left = min(2.0, self._linger_until - self._loop.time())
        if left > 0:
            self._arm(left)
        else:
            self._transport.close()

    def _sent_at_once(self, response: HttpResponse, end: Callable[[], None], method: str) -> bool:
        """Send an answer that is whole, short, and over when it is sent, as nearly all are; False for any other."""
        body, transport = response.body, self._transport
        if not isinstance(body, bytes) or self._paused or len(body) > _AT_ONCE_BYTES or method == "HEAD":
            return False
        try:
            if transport is None:
                raise ConnectionResetError("the caller left")
            transport.write(self._head(response, len(body)) + body)
            if self._server.serving == 1:
                _give_way()
        finally:
            try:
                end()
            finally:
                if response.over is not None:
                    response.over()
        return True

    async def _send(self, response: HttpResponse, method: str) -> None:
        try:
            body = response.body
            if isinstance(body, bytes) and method == "HEAD":
                told = get_header(response.headers, "content-length")
                self._write(self._head(response, int(told) if told and told.isdecimal() else len(body)))
            elif isinstance(body, bytes):
                self._write(self._head(response, len(body)) + body)
                if self._paused:
                    await self._drain()
            else:
                await self._send_stream(response, body, method)
            if self._server.serving == 1:
                _give_way()
        finally:
            try:
                if response.close is not None:
                    await response.close()
            finally:
                if response.over is not None:
                    response.over()

    async def _send_stream(self, response: HttpResponse, body: AsyncIterator[bytes], method: str) -> None:
        self._write(self._head(response, None))
        if method == "HEAD" or response.status in (204, 304):
            return
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
                return  # it would be the end of a chunked body
            transport = self._transport
            if transport is None:
                raise ConnectionResetError("the caller left")
            transport.write(chunk if plain else b"%x\r\n%b\r\n" % (len(chunk), chunk))
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

    def _head(self, response: HttpResponse, length: int | None) -> bytes:
        self._answering = True
        headers = response.headers
        if not _HOP.isdisjoint(map(_NAME, headers)):
            headers = tuple([header for header in headers if header[0] not in _HOP])
        lines = [_HEADS.get(response.status) or _HEADS[500], *map(": ".join, headers)]
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
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")  # a model may have any name

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
