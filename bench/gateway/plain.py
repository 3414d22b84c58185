"""The upstream and the load in Python, for machines without a C compiler: same arguments and output as `upstream.c` and
`load.c`, and many times their cost, so wall times are worse; the CPU of what is measured is not touched by it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from .bodies import MARK

__all__ = ["main"]


class Provider:
    def __init__(self, answer: bytes, stream: bytes) -> None:
        events = [event + b"\n\n" for event in stream.split(b"\n\n") if event]
        self.chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        self.chunks[-1] += b"0\r\n\r\n"
        kind = b"content-type: %b\r\nx-request-id: req_bench\r\n"
        self.whole = b"HTTP/1.1 200 OK\r\n" + kind % b"application/json" + b"content-length: %d\r\n\r\n" % len(answer)
        self.whole += answer
        self.head = b"HTTP/1.1 200 OK\r\n" + kind % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
        self.pace_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                path = head.split(b" ", 2)[1]
                if path.startswith(b"/pace/"):
                    self.pace_s = int(path[6:]) / 1e6
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                elif b'"stream":true' in body or b'"stream": true' in body:
                    await self._stream(writer)
                else:
                    writer.write(self.whole)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        if not self.pace_s:
            writer.write(self.head + b"".join(self.chunks))
            return
        writer.write(self.head)
        due = time.monotonic()
        for chunk in self.chunks:
            writer.write(chunk)
            due += self.pace_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Load:
    def __init__(self, port: int, request: bytes, expect: bytes, number: int) -> None:
        self._port, self._request, self._expect, self._number = port, request, expect, number
        self.started = self.ok = self.failed = 0
        self.failure = ""
        self.latencies: list[float] = []
        self.gaps: list[float] = []

    async def connection(self, start: float, interval_s: float, most: int, stop: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        while self.started < most and time.monotonic() < stop and self.failed < 50:
            self.started += 1
            await asyncio.sleep(max(0.0, start - time.monotonic()))
            start += interval_s
            mark = b"%08d" % (self._number % 100_000_000)
            self._number += 1
            asked = time.monotonic()
            try:
                writer.write(self._request.replace(MARK.encode(), mark))
                status, body = await asyncio.wait_for(self._answer(reader), 60)
            except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
                status, body = 0, type(error).__name__.encode()
            if status == 200 and self._expect in body:
                self.ok += 1
                self.latencies.append((time.monotonic() - asked) * 1000)
                continue
            self.failed += 1
            self.failure = self.failure or f"{status}: {body[:150]!r}"
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if b"transfer-encoding: chunked" not in head.lower():
            return status, await reader.readexactly(_length(head))
        body = b""
        last: float | None = None
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            now = time.monotonic()
            for _ in range(piece.count(b"\n\n")):
                if last is not None:
                    self.gaps.append((now - last) * 1000)
                last = now
            body += piece
        await reader.readuntil(b"\r\n")
        return status, body


def _length(head: bytes) -> int:
    """Raises ValueError when the head has no length and is not of a request without a body."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        if lower.startswith(b"get "):
            return 0
        raise ValueError("no content-length")
    return int(lower[at + 17 : lower.index(b"\r\n", at + 2)])


async def _upstream(provider: Provider, port: str) -> None:
    server = await asyncio.start_server(provider.serve, "127.0.0.1", int(port), limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _load(load: Load, wide: str, most: str, seconds: str, interval: str) -> None:
    begin, each = time.monotonic(), int(interval) / 1e6
    stop = begin + float(seconds)
    starts = [begin + each * number / int(wide) for number in range(int(wide))]
    await asyncio.gather(*[load.connection(start, each, int(most), stop) for start in starts])
    told: dict[str, Any] = {"ok": load.ok, "failed": load.failed, "first_failure": load.failure}
    told |= {"wall_s": time.monotonic() - begin, "latency_ms": _percentiles(load.latencies)}
    print(json.dumps({**told, "gap_ms": _percentiles(load.gaps)}))


def _percentiles(samples: list[float]) -> list[float] | None:
    ordered = sorted(samples)
    return [ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]] if ordered else None


def main(arguments: list[str]) -> None:
    import uvloop

    if arguments[0] == "upstream":
        port, answer, stream = arguments[1:]
        uvloop.run(_upstream(Provider(Path(answer).read_bytes(), Path(stream).read_bytes()), port))
    else:
        port, file, *how, expect, first = arguments[1:]
        uvloop.run(_load(Load(int(port), Path(file).read_bytes(), expect.encode(), int(first)), *how))


if __name__ == "__main__":
    main(sys.argv[1:])
