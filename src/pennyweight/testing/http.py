"""A small HTTP/1.1 server on loopback, for providers that exist only in a test or a demo, and a client for it.

It does what a test needs and a real server would forbid: an answer cut in the middle, one that never comes, a wrong
content length. It also sees at once when the caller leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import httptools

__all__ = ["Exchange", "LoopbackServer", "ask", "post"]


class Exchange:
    """One request and the way to answer it: `send` whole, or `start`, `write` and `end`; `cut` breaks off."""

    def __init__(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes, writer: asyncio.StreamWriter
    ):
        self.method = method
        path, _, self.query = target.partition("?")
        self.path = unquote(path)
        self.headers = headers
        self.body = body
        self.caller_left = False
        self._writer = writer
        self._chunked = False

    def header(self, name: str) -> str:
        """The first header of that lower-case name, or ""."""
        return next((value for key, value in self.headers if key == name), "")

    async def send(self, status: int, body: bytes, *, headers: dict[str, str] | None = None) -> None:
        await self.start(status, {"content-length": str(len(body)), **(headers or {})})
        self._writer.write(body)
        await self._writer.drain()

    async def start(self, status: int, headers: dict[str, str]) -> None:
        """The head. Without a content-length the body is chunked."""
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
        self._chunked = "content-length" not in headers
        if self._chunked:
            headers = {**headers, "transfer-encoding": "chunked"}
        lines += [f"{key}: {value}" for key, value in headers.items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await self._writer.drain()

    async def write(self, data: bytes) -> None:
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")
            await self._writer.drain()

    def cut(self) -> None:
        """Break the connection off, as a crash would."""
        self._writer.close()


Answer = Callable[[Exchange], Coroutine[Any, Any, None]]


class LoopbackServer:
    """`async with LoopbackServer(answer) as server`: `server.url` is its root. `answer` is called for every request."""

    def __init__(self, answer: Answer, *, port: int = 0) -> None:
        self._answer = answer
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await _Connection(self._answer, reader, writer).run()
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """Parses one connection's requests and answers them one after the other."""

    def __init__(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answer = answer
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._ready: list[Exchange] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        if key == "expect":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._headers.append((key, value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        target, headers, body = self._target.decode("latin-1"), self._headers, b"".join(self._body)
        self._ready.append(Exchange(method, target, headers, body, self._writer))
        self._target, self._headers, self._body = b"", [], []

    async def run(self) -> None:
        reading = asyncio.ensure_future(self._reader.read(65_536))
        try:
            while data := await reading:
                try:
                    self._parser.feed_data(data)
                except httptools.HttpParserError:
                    return
                reading = asyncio.ensure_future(self._reader.read(65_536))
                while self._ready:
                    await self._one(self._ready.pop(0), reading)
        finally:
            reading.cancel()

    async def _one(self, exchange: Exchange, reading: asyncio.Future[bytes]) -> None:
        """Answers, and stops answering when the caller hangs up (the next read says so)."""
        answering = asyncio.create_task(self._answer(exchange))
        try:
            waiting: set[asyncio.Future[Any]] = {answering, reading}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and _hung_up(reading):
                exchange.caller_left = True
                answering.cancel()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await answering
        finally:
            answering.cancel()


def _hung_up(reading: asyncio.Future[bytes]) -> bool:
    return reading.cancelled() or reading.exception() is not None or reading.result() == b""


_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Error",
}


class _Answer:
    """Collects an answer for httptools. An answer to HEAD ends with its head, whatever length that tells."""

    def __init__(self, method: str) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self._has_body = method != "HEAD"

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.complete = not self._has_body

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def post(url: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One POST; see `ask`."""
    return await ask("POST", url, path, headers, body)


async def ask(
    method: str, url: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """One request over a connection of its own: status, headers, and the whole body of the answer.

    Raises ConnectionError when the answer ends early.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        sent = {"host": f"{host}:{port}", **headers, "content-length": str(len(body)), "connection": "close"}
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in sent.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
        await writer.drain()
        answer = _Answer(method)
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(65_536)
            if not data:
                raise ConnectionError("The answer ended early.")
            parser.feed_data(data)
        return parser.get_status_code(), answer.headers, answer.body
    finally:
        writer.close()
