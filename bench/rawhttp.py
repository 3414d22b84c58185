"""HTTP/1.1 to the byte, both ends: an upstream that records what reaches it and a caller that records what comes back.

It shares no code with the gateway, so that a mistake there is not made here too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

__all__ = ["Answer", "Arrived", "Caller", "Came", "Upstream", "split_head", "upstream"]

Headers = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """What the upstream says: `pieces`, one write each. chunked: in that framing. cut: then the connection breaks."""

    status: int
    headers: Headers
    pieces: Sequence[bytes]
    chunked: bool = False
    cut: bool = False


class Arrived(NamedTuple):
    """A request at the upstream. Header names in lower case; the body without its framing."""

    method: str
    target: str
    headers: Headers
    body: bytes


class Came(NamedTuple):
    """An answer at the caller. `clean`: its end was told, and not a broken connection."""

    status: int
    headers: Headers
    body: bytes
    clean: bool


class Upstream:
    def __init__(self) -> None:
        self.port = 0
        self.next: Answer | None = None
        self.arrived: list[Arrived] = []

    def take(self) -> list[Arrived]:
        taken, self.arrived = self.arrived, []
        return taken

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (arrived := await _request(reader)) is not None:
                self.arrived.append(arrived)
                answer = self.next or Answer(500, (), [b"no answer was prepared"])
                await _send(writer, answer)
                if answer.cut:
                    break
        writer.transport.abort() if self.next is not None and self.next.cut else writer.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    recorder = Upstream()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0, limit=1 << 20)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()


class Caller:
    """Sends requests byte by byte as given, one after the other, over one connection while it lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, target: str, headers: Headers, body: bytes) -> Came:
        """Raises TimeoutError after 30 s of silence."""
        lines = [("host", f"127.0.0.1:{self._port}"), *headers]
        if body or method == "POST":
            lines.append(("content-length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(head.encode("latin-1") + body)
        came, keep = await asyncio.wait_for(_response(reader), 30)
        if not keep or not came.clean:
            self.close()
        return came

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _request(reader: asyncio.StreamReader) -> Arrived | None:
    try:
        first, headers = split_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.split(" ", 2)
    names = dict(headers)
    if "chunked" in names.get("transfer-encoding", ""):
        body, _ = await _chunks(reader)
    else:
        body = await reader.readexactly(int(names.get("content-length", 0)))
    return Arrived(method, target, headers, body)


async def _response(reader: asyncio.StreamReader) -> tuple[Came, bool]:
    first, headers = split_head(await reader.readuntil(b"\r\n\r\n"))
    status, names = int(first.split(" ")[1]), dict(headers)
    keep = names.get("connection", "").lower() != "close"
    if "chunked" in names.get("transfer-encoding", ""):
        body, clean = await _chunks(reader)
    elif "content-length" in names:
        try:
            body, clean = await reader.readexactly(int(names["content-length"])), True
        except asyncio.IncompleteReadError as error:
            body, clean = error.partial, False
        except ConnectionError:
            body, clean = b"", False
    else:
        body, clean, keep = await reader.read(-1), True, False
    return Came(status, headers, body, clean), keep


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """The body of a chunked message, and whether its last chunk came."""
    parts: list[bytes] = []
    try:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
    except asyncio.IncompleteReadError as error:
        return b"".join(parts) + error.partial, False
    except ConnectionError:
        return b"".join(parts), False
    return b"".join(parts), True


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    lines = list(answer.headers)
    size = sum(map(len, answer.pieces))
    lines.append(("transfer-encoding", "chunked") if answer.chunked else ("content-length", str(size + answer.cut)))
    head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    writer.write(head.encode("latin-1"))
    for piece in answer.pieces:
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            await writer.drain()
            await asyncio.sleep(0)  # so that the pieces leave as such
    if answer.chunked and not answer.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    if answer.cut:
        await asyncio.sleep(0.05)  # a reset overtakes what is still in the socket


def split_head(head: bytes) -> tuple[str, Headers]:
    """The first line, and the headers with names in lower case."""
    first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
