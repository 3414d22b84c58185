"""The HTTP server over real loopback sockets, spoken to in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pennyweight.errors import StreamCut
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway import connection
from pennyweight.gateway.server import Limits, Server

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def refuse(request: HttpRequest, status: int, kind: str, message: str) -> HttpResponse:
    return HttpResponse(status, (("content-type", "text/plain"),), f"{request.path} {kind} {message}".encode())


class Echo:
    """Answers with the request's method, path and body; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[HttpRequest] = []
        self.closed = 0

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)

        async def close() -> None:
            self.closed += 1

        told = f"{request.method} {request.path}?{request.query} ".encode() + request.body
        return HttpResponse(200, (("X-Echo", "Yes"), ("content-type", "text/plain")), told, close)


def streaming(*chunks: bytes, error: Exception | None = None) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (("content-type", "text/event-stream"),), body())

    return respond


@asynccontextmanager
async def served(
    respond: Callable[[HttpRequest], Awaitable[HttpResponse]], limits: Limits | None = None
) -> AsyncIterator[tuple[Server, Callable[[], Awaitable[Streams]]]]:
    server = Server(respond, refuse, limits=limits)
    port = await server.start("127.0.0.1", 0)
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    try:
        async with asyncio.timeout(60):
            yield server, connect
    finally:
        for writer in opened:
            writer.close()
        await server.stop(drain_s=0)


async def head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)]
    return int(lines[0].split()[1]), fields


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    status, fields = await head(reader)
    found = dict(fields)
    return status, found, await reader.readexactly(int(found.get("content-length", "0")))


GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/messages?beta=1") -> bytes:
    return b"\r\n".join(
        [b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers, b"", body]
    )


def test_a_connection_is_kept_and_answers_one_after_the_other() -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (server, connect):
            reader, writer = await connect()
            for number in range(3):
                writer.write(post(b"%d" % number))
                status, headers, body = await answer(reader)
                assert (status, body) == (200, b"POST /v1/messages?beta=1 %d" % number)
                assert "connection" not in headers
            assert len(server.connections) == 1
            assert echo.closed == 3

    asyncio.run(main())


def test_no_header_is_added_but_the_framing_and_case_is_kept() -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (_, connect):
            reader, writer = await connect()
            writer.write(b"GET /a%20b HTTP/1.1\r\nHost: x\r\nX-Odd-CASE: Value\r\nx-twice: 1\r\nX-Twice: 2\r\n\r\n")
            _, fields = await head(reader)
            names = [name for name, _ in fields]
            assert names == ["X-Echo", "content-type", "content-length"]
            (request,) = echo.asked
            assert request.path == "/a%20b"
            assert request.headers == (("host", "x"), ("x-odd-case", "Value"), ("x-twice", "1"), ("x-twice", "2"))
            assert request.peer == "127.0.0.1"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"http://127.0.0.1:8000/v1/models", "/v1/models", "", "127.0.0.1:8000"),
        (b"HTTP://Evil.example/a?b=http://x/", "/a", "b=http://x/", "Evil.example"),
        (b"https://[::1]:8000?q", "/", "q", "[::1]:8000"),
        (b"http://x@evil.example/a", "http://x@evil.example/a", "", "ours"),
        (b"//evil.example/a", "//evil.example/a", "", "ours"),
        (b"/http://evil.example/a", "/http://evil.example/a", "", "ours"),
    ],
)
def test_a_target_in_absolute_form_is_its_path_and_its_authority_the_host(
    target: bytes, path: str, query: str, host: str
) -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (_, connect):
            reader, writer = await connect()
            body = b"x" * 40
            for _ in range(2):  # the second time its head is known
                sent = b"POST %b HTTP/1.1\r\na: 1\r\nHost: ours\r\nhost: too\r\ncontent-length: 40\r\n\r\n" % target
                writer.write(sent + body[:10])
                await writer.drain()
                writer.write(body[10:])
                assert (await answer(reader))[0] == 200
            for asked in echo.asked:
                assert (asked.path, asked.query, asked.fields["host"]) == (path, query, host)
                assert asked.fields["a"] == "1"
                assert asked.body == body

    asyncio.run(main())


def test_an_answers_own_framing_headers_are_replaced() -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        headers = (("transfer-encoding", "chunked"), ("connection", "close"), ("content-length", "99"), ("etag", "e"))
        return HttpResponse(200, headers, b"ok")

    async def main() -> None:
        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(GET)
            assert await head(reader) == (200, [("etag", "e"), ("content-length", "2")])

    asyncio.run(main())


def test_a_name_that_no_header_can_carry_costs_no_answer() -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (("x-pennyweight-model", "lab/模型"), ("x-cafe", "café")), b"paid for")

    async def main() -> None:
        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(post(b"{}"))
            status, headers, body = await answer(reader)
            assert (status, body) == (200, b"paid for")
            assert headers["x-pennyweight-model"] == "lab/??"
            assert headers["x-cafe"] == "café"

    asyncio.run(main())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (_, connect):
            reader, writer = await connect()
            writer.write(b"".join(post(b"%d" % n) for n in range(40)))
            for number in range(40):
                assert (await answer(reader))[2].endswith(b" %d" % number)
            writer.write(GET)  # reading goes on after the queue was full
            assert (await answer(reader))[0] == 200

    asyncio.run(main())


def test_only_the_request_that_asks_to_close_ends_a_pipelined_connection() -> None:
    async def main() -> None:
        async with served(Echo()) as (_, connect):
            reader, writer = await connect()
            writer.write(post(b"1") + post(b"2", b"connection: close") + post(b"3"))
            _, first, _ = await answer(reader)
            assert "connection" not in first
            _, second, body = await answer(reader)
            assert second["connection"] == "close"
            assert body.endswith(b" 2")
            assert await reader.read() == b""  # what came after it is not answered

    asyncio.run(main())


def test_a_refused_request_in_a_pipeline_does_not_hide_the_answers_before_it() -> None:
    async def main() -> None:
        async with served(Echo(), Limits(max_body_bytes=10)) as (_, connect):
            reader, writer = await connect()
            writer.write(post(b"1") + post(b"x" * 11, path=b"/v1/messages") + post(b"3", path=b"/other"))
            status, headers, _ = await answer(reader)
            assert (status, "connection" in headers) == (200, False)
            status, headers, body = await answer(reader)
            assert (status, headers["connection"]) == (413, "close")
            assert body.startswith(b"/v1/messages request_too_large ")
            assert await reader.read() == b""

    asyncio.run(main())


def test_a_chunked_request_body_is_joined() -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await asyncio.sleep(0.01)
            writer.write(b"2\r\nde\r\n0\r\n\r\n")
            assert (await answer(reader))[0] == 200
            assert echo.asked[0].body == b"abcde"

    asyncio.run(main())


def test_a_chunked_body_over_the_limit_is_refused_as_it_grows() -> None:
    async def main() -> None:
        async with served(Echo(), Limits(max_body_bytes=4)) as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n")
            assert (await answer(reader))[0] == 413

    asyncio.run(main())


def test_100_continue_is_said_before_the_body_and_not_for_one_too_large() -> None:
    async def main() -> None:
        async with served(Echo(), Limits(max_body_bytes=10)) as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\nExpect: 100-Continue\r\ncontent-length: 2\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"ok")
            assert (await answer(reader))[2].endswith(b"ok")
            reader, writer = await connect()
            writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n")
            assert (await answer(reader))[0] == 413

    asyncio.run(main())


def test_100_continue_never_lands_in_an_answer_on_its_way() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await gate.wait()
            yield b"two"

        async def respond(request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, (), b"late") if request.body else HttpResponse(200, (), body())

        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(GET + b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            await head(reader)
            assert await reader.readexactly(8) == b"3\r\none\r\n"
            writer.write(b"ok")
            await asyncio.sleep(0.02)  # it is here before the first answer ends, so nobody has to be told to go on
            gate.set()
            assert await reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"
            assert (await answer(reader))[2] == b"late"

    asyncio.run(main())


def test_http_1_0_gets_no_chunks_and_the_connection_ends() -> None:
    async def main() -> None:
        async with served(streaming(b"one", b"", b"two")) as (_, connect):
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            _, fields = await head(reader)
            assert ("connection", "close") in fields
            assert "transfer-encoding" not in dict(fields)
            assert await reader.read() == b"onetwo"

    asyncio.run(main())


def test_a_stream_ends_with_its_terminator_and_the_connection_is_kept() -> None:
    async def main() -> None:
        async with served(streaming(b"one", b"", b"two")) as (_, connect):
            reader, writer = await connect()
            for _ in range(2):
                writer.write(GET)
                assert dict((await head(reader))[1])["transfer-encoding"] == "chunked"
                assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"

    asyncio.run(main())


@pytest.mark.parametrize("error", [StreamCut("cut"), ValueError("a bug")])
def test_a_cut_stream_has_no_terminator(error: Exception) -> None:
    async def main() -> None:
        async with served(streaming(b"one", error=error)) as (_, connect):
            reader, writer = await connect()
            writer.write(GET)
            await head(reader)
            assert await reader.read() == b"3\r\none\r\n"

    asyncio.run(main())


def test_a_cut_stream_over_http_1_0_is_reset_and_not_closed() -> None:
    async def main() -> None:
        async with served(streaming(b"one", error=StreamCut("cut"))) as (_, connect):
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await reader.read()

    asyncio.run(main())


def test_a_slow_reader_holds_the_stream_back() -> None:
    async def main() -> None:
        sent = 0
        closed = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * 65_536

        async def respond(request: HttpRequest) -> HttpResponse:
            async def close() -> None:
                closed.set()

            return HttpResponse(200, (), body(), close)

        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(GET)
            await head(reader)
            before = -1
            while before != sent:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.05)
            assert sent < 500  # kernel buffers and 256 kB of our own, not everything
            await reader.readexactly(20_000_000)
            await asyncio.sleep(0.05)
            assert sent > before
            writer.close()
            await closed.wait()  # the caller left while the stream waited for it

    asyncio.run(main())


def test_a_caller_who_leaves_cancels_the_answer() -> None:
    async def main() -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def respond(request: HttpRequest) -> HttpResponse:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        async with served(respond) as (server, connect):
            _, writer = await connect()
            writer.write(GET)
            await started.wait()
            writer.transport.abort()
            await cancelled.wait()
            assert not server.connections

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: v\r\n" % n for n in range(300)) + b"\r\n", 431),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_ends(sent: bytes, status: int) -> None:
    async def main() -> None:
        echo = Echo()
        async with served(echo) as (_, connect):
            reader, writer = await connect()
            writer.write(sent + GET)
            found, headers, _ = await answer(reader)
            assert (found, headers["connection"]) == (status, "close")
            assert await reader.read() == b""
            assert not echo.asked

    asyncio.run(main())


def test_a_request_that_stalls_is_told_so_and_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        async with served(Echo(), Limits(read_timeout_s=0.05, idle_timeout_s=0.05)) as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab")
            assert (await answer(reader))[0] == 408
            reader, writer = await connect()
            assert await reader.read() == b""
            reader, writer = await connect()
            writer.write(GET)
            assert (await answer(reader))[0] == 200
            assert await reader.read() == b""

    asyncio.run(main())


def test_an_upgrade_is_answered_and_ends_the_connection() -> None:
    async def main() -> None:
        async with served(Echo()) as (_, connect):
            reader, writer = await connect()
            writer.write(b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            assert await reader.read() == b""

    asyncio.run(main())


def test_204_has_no_length_and_head_no_body() -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse(204, ()) if request.method == "DELETE" else HttpResponse(200, (), b"body")

    async def main() -> None:
        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(b"DELETE / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await head(reader) == (204, [])
            writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await head(reader) == (200, [("content-length", "4")])
            writer.write(GET)  # the next answer begins right after the head
            assert (await answer(reader))[2] == b"body"

    asyncio.run(main())


def test_a_bug_in_respond_closes_the_connection_without_a_traceback_to_the_caller() -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    async def main() -> None:
        async with served(respond) as (_, connect):
            reader, writer = await connect()
            writer.write(GET)
            assert await reader.read() == b""

    asyncio.run(main())


def test_stop_closes_idle_connections_and_lets_streams_end() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await gate.wait()
            yield b"two"

        async def respond(request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, (), body())

        async with served(respond) as (server, connect):
            idle, _ = await connect()
            reader, writer = await connect()
            writer.write(GET)
            await head(reader)
            await reader.readexactly(8)
            stopping = asyncio.create_task(server.stop(drain_s=3_600))
            assert await idle.read() == b""
            with pytest.raises(OSError):
                await connect()
            gate.set()
            assert await reader.read() == b"3\r\ntwo\r\n0\r\n\r\n"
            await stopping
            assert not server.connections

    asyncio.run(main())


def test_stop_cuts_what_does_not_end_in_time() -> None:
    async def main() -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.Event().wait()

        async def respond(request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, (), body())

        async with served(respond) as (server, connect):
            reader, writer = await connect()
            writer.write(GET)
            await head(reader)
            await reader.readexactly(8)
            await server.stop(drain_s=0.05)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""

    asyncio.run(main())


def test_an_address_that_is_taken_is_an_os_error() -> None:
    async def main() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            held.listen()
            server = Server(Echo(), refuse)
            with pytest.raises(OSError):
                await server.start("127.0.0.1", held.getsockname()[1])

    asyncio.run(main())


@pytest.mark.parametrize("streams", [False, True])
def test_who_is_alone_has_its_answer_before_what_follows_it(streams: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(connection, "_give_way", lambda: order.append("given way"))

    async def main() -> None:
        here, go_on = asyncio.Event(), asyncio.Event()

        async def respond(request: HttpRequest) -> HttpResponse:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"x"

            if request.body == b"wait":
                here.set()
                await go_on.wait()
            response = HttpResponse(200, (("connection", "close"),), chunks() if streams else b"x")
            response.over = lambda: order.append("noted")
            return response

        async with served(respond) as (server, connect):

            async def ask(body: bytes, *headers: bytes) -> None:
                reader, writer = await connect()
                writer.write(post(body, b"connection: close", *headers))
                await reader.read()

            await ask(b"alone")
            assert (order, server.serving) == (["given way", "noted"], 0)
            order.clear()
            waits = asyncio.create_task(ask(b"wait"))
            await here.wait()
            await ask(b"beside it")
            assert (order, server.serving) == (["noted"], 1)
            go_on.set()
            await waits
            assert (order, server.serving) == (["noted", "given way", "noted"], 0)
            await ask(b"refused", b"content-length: x")
            assert server.serving == 0

    asyncio.run(main())


def test_an_idle_connection_holds_nobodys_body() -> None:
    async def main() -> None:
        content = b"x" * 300_000  # comes in several pieces
        echo = Echo()
        async with served(echo) as (server, connect):
            reader, writer = await connect()
            for _ in range(3):  # the first is parsed, the others have its head
                writer.write(post(content))
                await answer(reader)
                while any(connection.busy for connection in server.connections):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.001)
                [connection] = server.connections
                assert not connection._body
                request = echo.asked.pop()
                assert request.body == content
                assert sys.getrefcount(request) == 2  # ours, and the argument
                del request

    asyncio.run(main())
