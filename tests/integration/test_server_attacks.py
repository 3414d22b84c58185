"""The HTTP server against callers that break the rules: raw sockets, one connection each, nothing between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.server import Limits, Server

Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def echo(request: HttpRequest) -> HttpResponse:
    said = f"{request.method} {request.path} {len(request.body)} {dict(request.headers).get('x-evil', '-')}"
    return HttpResponse(200, (("content-type", "text/plain"),), said.encode())


def refuse(request: HttpRequest, status: int, kind: str, message: str) -> HttpResponse:
    return HttpResponse(status, (("content-type", "application/json"),), f'{{"{kind}": "{message}"}}'.encode())


@asynccontextmanager
async def serving(respond: Respond = echo, **limits: float) -> AsyncIterator[Server]:
    server = Server(respond, refuse, limits=Limits(**limits))  # type: ignore[arg-type]
    server.bound = await server.start("127.0.0.1", 0)  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        await server.stop(drain_s=0.1)


async def say(server: Server, data: bytes, *, eof: bool = False, wait_s: float = 60.0) -> bytes:
    """All that the server answers to these bytes until it closes, or until it has said nothing for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.bound)  # type: ignore[attr-defined]
    try:
        writer.write(data)
        if eof:
            writer.write_eof()
        got = b""
        while True:
            try:
                more = await asyncio.wait_for(reader.read(65_536), wait_s if not got else 0.12)
            except (TimeoutError, ConnectionError):
                return got
            if not more:
                return got
            got += more
    finally:
        writer.close()


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))  # type: ignore[arg-type]


POST = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n"

SMUGGLED = {
    "CL and TE": POST
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "TE and CL": POST
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "two CLs": POST + b"content-length: 0\r\ncontent-length: 30\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "CL list": POST + b"content-length: 0, 30\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "CL plus": POST + b"content-length: +5\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "CL hex": POST + b"content-length: 0x5\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "CL negative": POST + b"content-length: -1\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "CL overflow": POST + b"content-length: 99999999999999999999999\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "TE not last": POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "space before colon": POST + b"content-length : 30\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "folded": POST
    + b"x-a: b\r\n content-length: 30\r\ncontent-length: 0, 1\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "bare LF": b"POST /v1/messages HTTP/1.1\nhost: x\ncontent-length: 0\n\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "bare CR": b"POST /v1/messages HTTP/1.1\rhost: x\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "NUL in a value": POST + b"x-a: b\0c\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "LF in a value": POST + b"x-a: b\nx-evil: 1\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "chunk size overflow": POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "chunk size sign": POST + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    "chunk without CRLF": POST + b"transfer-encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
    "version": b"POST /v1/messages HTTP/9.9\r\nhost: x\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 64,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": b"\x00\xff\xfe garbage \r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(name: str) -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, SMUGGLED[name])
        assert got.startswith(b"HTTP/1.1 400 "), got
        assert len(re.findall(rb"HTTP/1.1 \d", got)) == 1, got
        assert b"/evil" not in got
        assert b"connection: close" in got

    run(main)


def test_a_trailer_is_not_a_header() -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(
                server,
                POST + b"transfer-encoding: chunked\r\ntrailer: x-evil\r\n\r\n3\r\nabc\r\n0\r\nx-evil: yes\r\n\r\n",
            )
        assert got.endswith(b"POST /v1/messages 3 -"), got

    run(main)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def slow_first(request: HttpRequest) -> HttpResponse:
        if request.path == "/0":
            await asyncio.sleep(0.05)
        return HttpResponse(200, (), request.path.encode())

    async def main() -> None:
        async with serving(slow_first) as server:
            many = b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(50))
            got = await say(server, many)
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"/%d" % n for n in range(50)]

    run(main)


def test_a_continue_does_not_stand_in_the_middle_of_another_answer() -> None:
    async def stream(request: HttpRequest) -> HttpResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"part"
                await asyncio.sleep(0.05)

        return HttpResponse(200, (), chunks())

    async def main() -> None:
        async with serving(stream) as server:
            second = POST + b"content-length: 3\r\nexpect: 100-continue\r\n\r\n"
            got = await say(server, b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n" + second, wait_s=2)
        first, sign, _ = got.partition(b"HTTP/1.1 100 Continue")
        assert sign
        assert first.endswith(b"0\r\n\r\n"), got

    run(main)


@pytest.mark.parametrize("expect", [b"100-continue", b"100-Continue"])
def test_expect_is_answered_before_the_body_comes(expect: bytes) -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, POST + b"expect: " + expect + b"\r\ncontent-length: 3\r\n\r\n")
            assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
            got = await say(server, POST + b"expect: " + expect + b"\r\ncontent-length: 999999999\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 413 ")

    run(main)


def test_http_1_0_gets_an_answer_that_ends_with_the_connection() -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, b"GET /a HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n")
        assert b"connection: close" in got
        assert b"transfer-encoding" not in got

    run(main)


def test_head_has_no_body() -> None:
    async def stream(request: HttpRequest) -> HttpResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"BODY"

        return HttpResponse(200, (), chunks() if request.path == "/s" else b"BODY")

    async def main() -> None:
        async with serving(stream) as server:
            for path in (b"/s", b"/w"):
                got = await say(server, b"HEAD " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
                assert got.startswith(b"HTTP/1.1 200 OK")
                assert got.endswith(b"\r\n\r\n")
                assert b"BODY" not in got

    run(main)


HUGE = {
    "one header that never ends": (b"x-long: " + b"a" * 200_000, 431),
    "one long header": (b"x-long: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "a header name that never ends": (b"x" * 200_000, 431),
    "many headers": (b"".join(b"x-%d: 1\r\n" % n for n in range(5_000)) + b"\r\n", 431),
    "a chunk extension that never ends": (b"transfer-encoding: chunked\r\n\r\n1;" + b"e" * 300_000, 431),
    "trailers without end": (
        b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"".join(b"t%d: x\r\n" % n for n in range(20_000)),
        431,
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_heads_are_refused(name: str) -> None:
    data, status = HUGE[name]

    async def main() -> None:
        async with serving() as server:
            got = await say(server, POST + data)
        assert got.startswith(b"HTTP/1.1 %d " % status), got[:200]
        assert b"max_header_bytes" in got

    run(main)


def test_a_huge_url_is_refused() -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 431 ")

    run(main)


def test_a_huge_body_is_refused_at_its_announcement_or_when_it_has_grown() -> None:
    async def main() -> None:
        async with serving(max_body_bytes=100_000) as server:
            got = await say(server, POST + b"content-length: 300000000\r\n\r\nabc")
            assert got.startswith(b"HTTP/1.1 413 ")
            assert b"max_body_bytes" in got
            chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
            got = await say(server, POST + b"transfer-encoding: chunked\r\n\r\n" + chunk * 40)
            assert got.startswith(b"HTTP/1.1 413 ")

    run(main)


def test_nothing_after_a_refused_request_is_served() -> None:
    seen = []

    async def note(request: HttpRequest) -> HttpResponse:
        seen.append(request.path)
        return HttpResponse(200, (), b"")

    async def main() -> None:
        async with serving(note, max_body_bytes=2) as server:
            after = b"GET /evil HTTP/1.1\r\nhost: x\r\n\r\n"
            got = await say(server, POST + b"content-length: 3\r\n\r\nabc" + after)
            assert got.count(b"HTTP/1.1 ") == 1
            assert got.startswith(b"HTTP/1.1 413 ")
        assert seen == []

    run(main)


@pytest.mark.parametrize(
    "start", [b"POST /v1/mess", POST, POST + b"content-length: 100\r\n\r\nabc"], ids=["line", "head", "body"]
)
def test_a_slow_loris_is_told_and_left(start: bytes) -> None:
    async def main() -> None:
        async with serving(read_timeout_s=0.2) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.bound)  # type: ignore[attr-defined]

            async def drip() -> None:
                writer.write(start)
                while True:  # a byte now and then does not buy more time
                    await asyncio.sleep(0.03)
                    writer.write(b"a")

            dripping = asyncio.create_task(drip())
            got = await asyncio.wait_for(reader.read(), 60)
            dripping.cancel()
            writer.close()
        assert got.startswith(b"HTTP/1.1 408 "), got

    run(main)


def test_a_slow_but_steady_body_is_waited_for() -> None:
    async def main() -> None:
        async with serving(read_timeout_s=0.1, least_bytes_s=1_000) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.bound)  # type: ignore[attr-defined]
            writer.write(POST + b"content-length: 2000\r\n\r\n")
            for _ in range(10):
                writer.write(b"a" * 200)
                await asyncio.sleep(0.04)
            got = await asyncio.wait_for(reader.read(64), 60)
            writer.close()
        assert got.startswith(b"HTTP/1.1 200 ")

    run(main)


def test_a_body_shorter_than_announced_is_told() -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, POST + b"content-length: 100\r\n\r\nabc", eof=True)
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"ended early" in got

    run(main)


def test_rubbish_before_a_half_close_is_told() -> None:
    async def main() -> None:
        async with serving() as server:
            got = await say(server, b"rubbish\r\n\r\n", eof=True)
        assert got.startswith(b"HTTP/1.1 400 ")

    run(main)


def test_a_half_closed_caller_has_left() -> None:
    left = asyncio.Event()

    async def hang(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            left.set()
            raise
        raise AssertionError

    async def main() -> None:
        async with serving(hang) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.bound)  # type: ignore[attr-defined]
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.02)
            writer.write_eof()
            await asyncio.wait_for(left.wait(), 60)
            writer.close()
            while server.connections:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)

    run(main)


def test_past_the_limit_of_connections_one_is_told() -> None:
    async def main() -> None:
        async with serving(max_connections=3) as server:
            kept = [await asyncio.open_connection("127.0.0.1", server.bound) for _ in range(3)]  # type: ignore[attr-defined]
            while len(server.connections) < 3:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)
            got = await say(server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 503 ")
            for _, writer in kept:
                writer.close()
            while server.connections:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)
            assert (await say(server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    run(main)


def test_a_flood_of_pipelined_requests_is_held_back() -> None:
    """While one answer is under way, what a caller sends behind it waits in the socket, not in our memory."""
    release = asyncio.Event()

    async def wait(request: HttpRequest) -> HttpResponse:
        await release.wait()
        return HttpResponse(200, (), b"")

    async def main() -> None:
        async with serving(wait) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.bound)  # type: ignore[attr-defined]
            body = b"a" * 1_000_000
            writer.write((POST + b"content-length: 1000000\r\n\r\n" + body) * 40)
            await asyncio.sleep(0.3)
            (connection,) = server.connections
            assert sum(len(one.body) for one in connection._queue if isinstance(one, HttpRequest)) < 4_000_000
            release.set()
            writer.close()

    run(main)
