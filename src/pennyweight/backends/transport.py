"""The one seam to upstream HTTP: a request out, status and headers back, the body whole or as it arrives.

HTTP/1.1 over asyncio with llhttp's parser (through httptools): pooled keep-alive connections, TLS, proxies. Nothing is
decompressed, redirected or retried: bytes are the caller's. What was compared, and why a ready-made client did not
serve (leaving one before the headers came did not stop the upstream), is in docs/decisions/0005-server.md.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import httptools
import msgspec

from ..errors import BackendError, ConfigError, NotConnected, StreamCut, Unreachable, UpstreamTimeout
from ..flow import Flow
from ..framing import Frame, frame_of
from ..request import Headers

__all__ = ["Http1", "Opened", "Origin", "Transport", "origin"]


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """Where an upstream is; `prefix` is the path that every target is appended to, without a slash at its end."""

    host: str
    port: int
    tls: bool
    prefix: str = ""

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def origin(url: str) -> Origin:
    """The origin of a base URL. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is not a base URL. Write it like https://api.example.com/v1.")
    tls = parts.scheme == "https"
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))


class Opened(msgspec.Struct, eq=False):
    """An upstream's answer: `content` when it is all here already, else `chunks`. `close` stops what is under way.

    room: for what is worked out of status and headers alone, shared by all answers of a connection that have this very
    head; each who keeps something there does so under itself. None: the head is new, and may not come again.
    """

    status: int
    headers: Headers
    content: bytes | None = None
    chunks: Flow | None = None
    close: Callable[[], Awaitable[None]] | None = None
    room: dict[Any, Any] | None = None


class Transport(Protocol):
    """Raises Unreachable or UpstreamTimeout when nothing came back; `chunks` raises StreamCut."""

    async def send(
        self,
        where: Origin,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        *,
        head: bytes = b"",
        fresh: bool = False,
    ) -> Opened:
        """head: what `head` gives for the same. fresh: over a connection of its own, so that it is never sent twice."""
        ...

    def head(self, where: Origin, method: str, target: str, headers: Headers) -> bytes:
        """What is sent before the length of the body, for whoever sends the same many times. Raises ValueError."""
        ...

    async def aclose(self) -> None: ...


_MAX_BUFFERED_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 18


class _Like(Frame, frozen=True, eq=False):
    """The head of an answer whose connection was kept. Local servers send the same with each answer, or for a second;
    lives no longer than its connection."""

    status: int
    headers: Headers
    room: dict[Any, Any]


_UNLIKE = 3  # heads one after the other that are not the one before: of that connection no more are kept


class _Connection(asyncio.Protocol):
    """One connection to an upstream, used for one exchange at a time."""

    # Slots: so many attributes stand in a table of their own otherwise, in which each is looked for with every chunk.
    __slots__ = (
        "_buffered",
        "_chunk_timeout_s",
        "_drained",
        "_feed",
        "_flow",
        "_held_back",
        "_keep_alive",
        "_last",
        "_like",
        "_lines",
        "_method",
        "_parser",
        "_parts",
        "_read_timeout_s",
        "_timer",
        "_trailer_bytes",
        "_unlike",
        "_unparsed_bytes",
        "_until_close",
        "_waiter",
        "chunks",
        "complete",
        "error",
        "head_done",
        "headers",
        "heard",
        "idle_since",
        "loop",
        "on_body",
        "room",
        "status",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, read_timeout_s: float, chunk_timeout_s: float) -> None:
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self._read_timeout_s = read_timeout_s
        self._chunk_timeout_s = chunk_timeout_s
        self._held_back = False
        self._waiter: asyncio.Future[None] | None = None
        self._flow: Flow | None = None  # where the body is poured
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._like: _Like | None = None  # the head of the last answer
        self.chunks: deque[bytes] = deque()
        self._parts: list[bytes] = []  # of the body, in what was fed last
        self.on_body = self._parts.append  # the parser's: of each chunk of a stream, one call of Python's less
        self._unlike = 0  # answers since one that had the head of the one before
        self._reset("GET")
        self._begin()

    def _reset(self, method: str) -> None:
        self.head_done = False
        self.complete = False
        self.error: BackendError | None = None
        self.heard = False
        if self.chunks:
            self.chunks.clear()
        if self._parts:
            self._parts.clear()
        self.room: dict[Any, Any] | None = None
        self._method = method
        self._keep_alive = False
        self._parser: httptools.HttpResponseParser | None = None  # made when there is something to parse

    def _begin(self) -> None:
        """Begin to parse an answer."""
        self.status = 0
        self.headers: Headers = ()
        self._lines: list[tuple[str, str]] = []
        self._buffered = 0
        self._trailer_bytes = 0
        self._unparsed_bytes = 0  # fed since the parser last told us anything
        self._until_close = False
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    # --- an exchange -----------------------------------------------------------------------------------------------

    def begin(self, method: str, data: bytes, rest: bytes = b"") -> asyncio.Future[None]:
        """Write a request. What is given ends when something was heard, most times the answer's headers. Raises
        Unreachable."""
        self._reset(method)
        transport = self.transport
        if transport is None or transport.is_closing():
            raise Unreachable("The upstream closed the connection.")
        if rest:
            transport.writelines((data, rest))
        else:
            transport.write(data)
        self._last = self.loop.time()
        if self._timer is None:  # one timer lasts over many exchanges: setting one for each costs more than it checks
            self._timer = self.loop.call_later(min(self._read_timeout_s, self._chunk_timeout_s), self._check_silence)
        self._waiter = self.loop.create_future()
        return self._waiter

    async def wait(self) -> None:
        """Wait for the answer's headers. Raises BackendError."""
        if self._drained is not None:
            await self._drained
        while not self.head_done:
            await self._wait()
        if self.error is not None and not self.chunks:
            raise self.error

    async def body(self) -> AsyncIterator[bytes]:
        """What is left of the body, as it arrives. Raises StreamCut."""
        while True:
            while self.chunks:
                chunk = self.chunks.popleft()
                self._buffered -= len(chunk)
                yield chunk
            if self.complete:
                return
            self.go_on()
            await self._wait()

    async def pour(self, flow: Flow) -> None:
        """What is left of the body into the flow's sinks, each chunk in the callback that received it. Raises
        StreamCut."""
        self.go_on()
        while self.chunks:
            chunk = self.chunks.popleft()
            self._buffered -= len(chunk)
            for sink in flow.sinks:
                sink(chunk)
        if self.complete:
            return
        self._flow = flow
        try:
            while not self.complete:
                await self._wait()
        finally:
            self._flow = None

    def hold(self) -> None:
        # Not behind a whole answer: its connection goes back to the pool reading.
        if not self.complete and not self._held_back and self.transport is not None:
            self._held_back = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        if self._held_back and self.transport is not None:
            self._held_back = False
            self._last = self.loop.time()
            self.transport.resume_reading()

    async def _wait(self) -> None:
        if self.complete or self.chunks:
            return
        if self.error is not None:
            raise self.error
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self.error is not None and not self.chunks:
            raise self.error

    def end(self) -> bool:
        """Stop the exchange; whether the connection can be used again."""
        if self.transport is None:
            return False
        if self.complete and self._keep_alive and self.error is None:
            return True
        self.transport.abort()  # an answer still coming is not read to its end: the upstream stops at once
        return False

    def _check_silence(self) -> None:
        self._timer = None
        if self.complete or self.transport is None:
            return  # idle; the next exchange sets it again
        limit = self._chunk_timeout_s if self.head_done else self._read_timeout_s
        ours = self._held_back or self.chunks  # what came is waiting here: the silence is our caller's
        left = limit if ours else self._last + limit - self.loop.time()
        if left > 0.001:
            self._timer = self.loop.call_later(min(left, self._chunk_timeout_s), self._check_silence)
        else:
            self._fail(UpstreamTimeout(f"The upstream sent nothing for {limit:g} s."))

    def _fail(self, error: BackendError) -> None:
        if self.error is None and not self.complete:
            self.error = error
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- transport and parser callbacks ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        self._last = self.loop.time()
        flow = self._flow
        first = False
        if flow is None:  # else it is one of the many reads of a stream
            self.heard = True
            if self.complete:  # nothing was asked: whatever this is, the connection is of no use
                self._fail(Unreachable("The upstream sent data unasked."))
                return
            if self._parser is None:
                if self._like is not None and self._begins_alike(data, self._like):
                    return
                self._begin()
                first = True
            self._unparsed_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._keep_alive = False
            if not self.complete:  # else the answer is whole, and only the connection is of no more use
                self._fail(self._cut(f"its answer is not valid HTTP ({type(error).__name__})"))
                return
        parts = self._parts
        if parts:
            self._unparsed_bytes = 0
            if flow is None and (self._method == "HEAD" or not self.head_done):
                if not self.head_done:
                    self._fail(self._cut("its answer is not valid HTTP (an interim answer with a body)"))
                    return
                parts.clear()
        else:
            if flow is not None:
                self._unparsed_bytes += len(data)
            # The parser keeps a header until it is whole and skips what follows a chunk's size: both must have an end.
            if self._unparsed_bytes > _MAX_HEADER_BYTES:
                self._keep_alive = False
                if not self.complete:
                    self._fail(self._cut("its answer is not valid HTTP (a header without end)"))
                    return
        if first and self.complete and self._keep_alive and self._unlike < _UNLIKE:
            self._keep_head(data)
        if parts:  # one network read is one chunk, however finely the upstream framed it
            chunk = parts.pop()
            if parts:
                parts.append(chunk)
                chunk = b"".join(parts)
                parts.clear()
            if flow is not None:
                try:
                    for sink in flow.sinks:
                        sink(chunk)
                except Exception as error:  # noqa: BLE001 - whoever waits in `pour` gets it
                    if self._waiter is not None and not self._waiter.done():
                        self._waiter.set_exception(error)
                else:
                    if self.complete:
                        self._wake()
                return
            self.chunks.append(chunk)
            self._buffered += len(chunk)
            if self._buffered > _MAX_BUFFERED_BYTES:
                self.hold()
        self._wake()

    def _begins_alike(self, data: bytes, like: _Like) -> bool:
        """Take an answer that came in one piece with the head of the last one; False for any other."""
        told = like.length(data)
        if told is None or self._method == "HEAD":
            return False
        length, start = told
        if start + length != len(data):
            return False
        self.status, self.headers, self.room = like.status, like.headers, like.room
        if length:
            self.chunks.append(data[start:])
        self._unlike = 0
        self.head_done = self.complete = self._keep_alive = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def _keep_head(self, data: bytes) -> None:
        """Remember the head of a whole answer that came in one piece."""
        self._unlike += 1
        self._like = None
        if self._method == "HEAD" or self.status in (204, 304) or not data.startswith(b"HTTP/1.1 %d " % self.status):
            return
        frame = frame_of(data, [name for name, _ in self.headers])
        told = frame.length(data) if frame is not None else None
        if frame is not None and told is not None and sum(told) == len(data):
            headers = tuple([header for header in self.headers if header[0] != "content-length"])  # each body tells
            self._like = _Like(frame.before, frame.after, frame.start, frame.rest, self.status, headers, {})

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._until_close and self.head_done and exc is None:
            self.complete = True
        elif not self.complete and self.error is None:
            self.error = self._cut("it closed the connection")
        self._wake()

    def _cut(self, why: str) -> BackendError:
        kind = StreamCut if self.head_done else Unreachable
        return kind(f"The upstream broke off its answer: {why}.")

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:
            self._lines.append((name.decode("latin-1").lower(), value.decode("latin-1")))
            return
        self._unparsed_bytes = 0  # trailers, which nobody reads, or a second answer that nobody asked for
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > _MAX_HEADER_BYTES:
            raise ValueError("trailers too large")

    def on_headers_complete(self) -> None:
        if self.complete:
            raise ValueError("a second answer")
        if self._parts:
            raise ValueError("an interim answer with a body")
        status = cast(httptools.HttpResponseParser, self._parser).get_status_code()
        if 100 <= status < 200:
            self._lines.clear()
            return
        fed = self._unparsed_bytes  # no less than the headers
        if fed > _MAX_HEADER_BYTES and sum([len(n) + len(v) for n, v in self._lines]) > _MAX_HEADER_BYTES:
            raise ValueError("headers too large")
        self._unparsed_bytes = 0
        self.status = status
        self.headers = tuple(self._lines)
        self.head_done = True
        if self._method == "HEAD":
            self.complete = True
        elif status not in (204, 304):
            told = dict(self.headers)
            self._until_close = "content-length" not in told and "transfer-encoding" not in told

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True
            self._flow = None  # what comes now is no chunk of it
            self._keep_alive = cast(
                httptools.HttpResponseParser, self._parser
            ).should_keep_alive()  # only the parser's state of this moment tells
            self.go_on()


class Http1:
    """The transport over connections kept per origin.

    `read_timeout_s` bounds the silence before an answer begins, `chunk_timeout_s` that between two reads of it (None:
    the same); long answers are not bounded. `proxies`: scheme to proxy URL ("http", "https"), with the hosts of
    `no_proxy` (suffixes) asked directly. `tls`: what to trust; None: what the machine trusts.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 600.0,
        chunk_timeout_s: float | None = None,
        idle_s: float = 50.0,
        proxies: Mapping[str, str] | None = None,
        no_proxy: tuple[str, ...] = ("localhost", "127.0.0.1", "::1"),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._chunk_timeout_s = chunk_timeout_s if chunk_timeout_s is not None else read_timeout_s
        self._idle_s = idle_s
        self._proxies = dict(proxies or {})
        self._no_proxy = no_proxy
        self._idle: dict[Origin, list[_Connection]] = {}
        self._tls = tls

    def head(self, where: Origin, method: str, target: str, headers: Headers) -> bytes:
        """What is sent before the length of the body. Raises ValueError for a header with a line break in it."""
        return _head(where, method, target, headers, via=self._plain_proxy(where))

    async def send(
        self,
        where: Origin,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        *,
        head: bytes = b"",
        fresh: bool = False,
    ) -> Opened:
        """Raises Unreachable, UpstreamTimeout, or ValueError for a header with a line break in it."""
        data = head or self.head(where, method, target, headers)
        rest = b""
        if len(body) > _LARGE_BYTES:  # not worth a copy
            data, rest = b"%bcontent-length: %d\r\n\r\n" % (data, len(body)), body
        elif body or method in _WITH_BODY:
            data = b"%bcontent-length: %d\r\n\r\n%b" % (data, len(body), body)
        else:
            data += b"\r\n"
        connection = None if fresh else self._reuse(where)
        while True:
            fresh = connection is None
            if connection is None:
                connection = await self._connect(where)
            try:
                await connection.begin(method, data, rest)
                if not connection.head_done or connection.error is not None or connection._drained is not None:
                    await connection.wait()
                break
            except Unreachable:
                connection.end()
                # A kept connection that the upstream had closed meanwhile: it never read our request.
                if fresh or connection.heard:
                    raise
                connection = None
            except BaseException:
                connection.end()
                raise
        held = connection
        if held.complete:
            content = held.chunks.popleft() if len(held.chunks) == 1 else b"".join(held.chunks)
            self._release(where, held)
            return Opened(held.status, held.headers, content, room=held.room)

        released = False

        async def close() -> None:
            nonlocal released
            if not released:  # twice in the pool, it would carry two exchanges at once
                released = True
                self._release(where, held)

        return Opened(held.status, held.headers, chunks=Flow(held), close=close)

    async def aclose(self) -> None:
        for kept in self._idle.values():
            for connection in kept:
                if connection.transport is not None:
                    connection.transport.close()
        self._idle.clear()

    def _reuse(self, where: Origin) -> _Connection | None:
        kept = self._idle.get(where)
        while kept:
            connection = kept.pop()
            transport = connection.transport
            if transport is None:
                continue
            if connection.loop.time() - connection.idle_since < self._idle_s and not transport.is_closing():
                return connection
            transport.close()
        return None

    def _release(self, where: Origin, connection: _Connection) -> None:
        if connection.end():
            now = connection.idle_since = connection.loop.time()
            kept = self._idle.get(where)
            if kept is None:
                kept = self._idle[where] = []
            while kept and now - kept[0].idle_since >= self._idle_s:  # the newest are used first, so the oldest pile up
                oldest = kept.pop(0)
                if oldest.transport is not None:
                    oldest.transport.close()
            kept.append(connection)

    async def _connect(self, where: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        proxy = self._proxy(where)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                host, port = (proxy.host, proxy.port) if proxy else (where.host, where.port)
                direct_tls = self._context() if where.tls and proxy is None else None
                connection = _Connection(loop, self._read_timeout_s, self._chunk_timeout_s)
                await loop.create_connection(
                    lambda: connection, host, port, ssl=direct_tls, server_hostname=where.host if direct_tls else None
                )
                if proxy is not None and where.tls:
                    try:
                        await self._tunnel(connection, where, proxy)
                    except BaseException:
                        if connection.end() and connection.transport is not None:
                            connection.transport.abort()
                        raise
                return connection
        except TimeoutError:
            raise NotConnected(f"{where.host} did not accept a connection in {self._connect_timeout_s:g} s.") from None
        except ssl.SSLError as error:
            raise NotConnected(
                f"No secure connection to {where.host}: {error.reason or type(error).__name__}."
            ) from None
        except OSError:
            raise NotConnected(
                f"No connection to {where.authority}. Is the address right, and is it running?"
            ) from None

    async def _tunnel(self, connection: _Connection, where: Origin, proxy: _Proxy) -> None:
        """Ask the proxy for a tunnel, then speak TLS through it."""
        name = f"{where.host}:{where.port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"host: {name}", *proxy.headers]
        await connection.begin("HEAD", ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await connection.wait()
        if connection.status != 200 or connection.transport is None:
            raise NotConnected(f"The proxy refused a tunnel to {name} (status {connection.status}).")
        if connection._timer is not None:
            connection._timer.cancel()
            connection._timer = None
        upgraded = await connection.loop.start_tls(
            connection.transport, connection, self._context(), server_hostname=where.host
        )
        if upgraded is None:
            raise NotConnected(f"The proxy closed the tunnel to {name}.")
        connection.transport = upgraded

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _proxy(self, where: Origin) -> _Proxy | None:
        url = self._proxies.get("https" if where.tls else "http")
        if not url or any(where.host == name or where.host.endswith("." + name.lstrip(".")) for name in self._no_proxy):
            return None
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if not parts.hostname or parts.scheme != "http":
            raise ConfigError(f"{url!r} is not a proxy that can be used. Write it like http://proxy.example.com:3128.")
        headers: tuple[str, ...] = ()
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers = (f"proxy-authorization: Basic {base64.b64encode(login).decode()}",)
        return _Proxy(parts.hostname, parts.port or 3128, headers)

    def _plain_proxy(self, where: Origin) -> _Proxy | None:
        return self._proxy(where) if self._proxies and not where.tls else None


class _Proxy(msgspec.Struct, frozen=True):
    host: str
    port: int
    headers: tuple[str, ...] = ()


_LARGE_BYTES = 8_192
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def _head(where: Origin, method: str, target: str, headers: Headers, *, via: _Proxy | None) -> bytes:
    start = f"http://{where.authority}{target}" if via else target
    lines = [f"{method} {start} HTTP/1.1", f"host: {where.authority}", *map(": ".join, headers)]
    if via:
        lines += via.headers
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header holds a line break")
    return (head + "\r\n").encode("latin-1")
