"""The upstream transport against servers on loopback that do what real ones do, and what they should not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pennyweight.backends.transport import Http1, Opened, Origin, origin
from pennyweight.errors import (
    ConfigError,
    NotConnected,
    PennyweightError,
    StreamCut,
    Unreachable,
    UpstreamTimeout,
)

Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """`answer` is called for each connection. Notes how many there were and how many the caller broke off."""

    def __init__(self, answer: Streams) -> None:
        self._answer = answer
        self.connections = 0
        self.gone = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer(reader, writer)
        writer.close()
        self.gone.set()


@contextlib.asynccontextmanager
async def upstream(answer: Streams, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Upstream, Origin]]:
    there = Upstream(answer)
    server = await asyncio.start_server(there.connected, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(60):
            yield there, Origin("localhost" if tls else "127.0.0.1", port, tls is not None)
    finally:
        server.close()


async def request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    return lines[0], headers, await reader.readexactly(int(headers.get("content-length", "0")))


def always(*parts: bytes, close: bool = False) -> Streams:
    """Answers every request with these bytes, one write each."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.005)
            if close:
                return

    return answer


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def read(opened: Opened) -> bytes:
    if opened.content is not None:
        return opened.content
    assert opened.chunks is not None
    assert opened.close is not None
    try:
        return b"".join([chunk async for chunk in opened.chunks])
    finally:
        await opened.close()


async def ask(http: Http1, where: Origin, body: bytes = b"{}") -> bytes:
    return await read(await http.send(where, "POST", "/v1/x", (), body))


def test_the_parts_of_an_address() -> None:
    assert origin("https://api.example.com/v1/") == Origin("api.example.com", 443, True, "/v1")
    assert origin("http://[::1]:8080").authority == "[::1]:8080"
    assert origin("https://x:8443/a/b").authority == "x:8443"
    for wrong in ("ftp://x", "api.example.com/v1", "http://"):
        with pytest.raises(ConfigError, match="not a base URL"):
            origin(wrong)


def test_what_is_sent_is_what_was_given_and_the_framing() -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await request(reader))
            writer.write(WHOLE)

    async def main() -> None:
        async with upstream(answer) as (_, where):
            http = Http1()
            await read(await http.send(where, "POST", "/v1/x?a=1", (("x-a", "é"),), b"body"))
            await read(await http.send(where, "GET", "/v1/models", (), b""))
            await read(await http.send(where, "POST", "/v1/empty", (), b""))
            await http.aclose()
            host = where.authority
        assert seen == [
            ("POST /v1/x?a=1 HTTP/1.1", {"host": host, "x-a": "é", "content-length": "4"}, b"body"),
            ("GET /v1/models HTTP/1.1", {"host": host}, b""),
            ("POST /v1/empty HTTP/1.1", {"host": host, "content-length": "0"}, b""),
        ]

    asyncio.run(main())


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "a\rb"])
def test_a_header_with_a_line_break_is_never_sent(value: str) -> None:
    async def main() -> None:
        async with upstream(always(WHOLE)) as (there, where):
            with pytest.raises(ValueError, match="line break"):
                await Http1().send(where, "POST", "/", (("x", value),), b"")
            with pytest.raises(ValueError, match="line break"):
                await Http1().send(where, "POST", f"/{value}", (), b"")
            assert there.connections == 0

    asyncio.run(main())


def test_a_connection_is_used_again_and_two_at_once_take_two() -> None:
    async def main() -> None:
        async with upstream(always(WHOLE)) as (there, where):
            http = Http1()
            for _ in range(3):
                assert await ask(http, where) == b"ok"
            assert there.connections == 1
            await asyncio.gather(ask(http, where), ask(http, where))
            assert there.connections == 2
            await http.aclose()

    asyncio.run(main())


def test_closing_twice_does_not_lend_a_connection_twice() -> None:
    async def main() -> None:
        async with upstream(always(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok")) as (there, where):
            http = Http1()
            opened = await http.send(where, "POST", "/", (), b"")
            assert await read(opened) == b"ok"
            assert opened.close is not None
            await opened.close()
            await asyncio.gather(ask(http, where), ask(http, where))
            assert there.connections == 2
            await http.aclose()

    asyncio.run(main())


def test_connections_kept_too_long_are_closed_and_not_used() -> None:
    async def main() -> None:
        async with upstream(always(WHOLE)) as (there, where):
            http = Http1(idle_s=0.02)
            await asyncio.gather(ask(http, where), ask(http, where))
            await asyncio.sleep(0.03)
            await ask(http, where)
            assert there.connections == 3
            http._idle_s = 3_600.0  # whatever happens to the machine meanwhile
            await asyncio.gather(ask(http, where), ask(http, where))
            assert sum(map(len, http._idle.values())) == 2
            await http.aclose()

    asyncio.run(main())


def test_a_stale_kept_connection_is_retried_once() -> None:
    async def main() -> None:
        numbers = iter(range(10))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = next(numbers)
            await request(reader)
            writer.write(WHOLE)
            if number == 0:  # takes the second request, and closes without a word
                await request(reader)
                return
            await request(reader)

        async with upstream(answer) as (there, where):
            http = Http1()
            assert await ask(http, where) == b"ok"
            assert await ask(http, where) == b"ok"
            assert there.connections == 2
            await http.aclose()

    asyncio.run(main())


def test_nothing_is_retried_once_a_byte_was_heard_or_on_a_fresh_connection() -> None:
    async def main() -> None:
        async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(WHOLE)
            await request(reader)
            writer.write(b"HTTP/1.1 2")

        async with upstream(half) as (there, where):
            http = Http1()
            assert await ask(http, where) == b"ok"
            with pytest.raises(Unreachable):
                await ask(http, where)
            assert there.connections == 1

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)

        async with upstream(silent) as (there, where):
            with pytest.raises(Unreachable):
                await ask(http, where)
            assert there.connections == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhal",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_a_short_body_is_a_cut_stream(head: bytes) -> None:
    async def main() -> None:
        async with upstream(always(head, b"half", close=True)) as (_, where):
            with pytest.raises(StreamCut):
                await ask(Http1(), where)

    asyncio.run(main())


def test_what_came_before_a_cut_is_given() -> None:
    async def main() -> None:
        async with upstream(always(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", b"half", close=True)) as (
            _,
            where,
        ):
            opened = await Http1().send(where, "POST", "/", (), b"")
            assert opened.chunks is not None
            assert await anext(opened.chunks) == b"half"
            with pytest.raises(StreamCut):
                await anext(opened.chunks)

    asyncio.run(main())


def test_a_body_without_framing_ends_where_the_connection_does() -> None:
    async def main() -> None:
        async with upstream(always(b"HTTP/1.1 200 OK\r\n\r\none", b"two", close=True)) as (there, where):
            http = Http1()
            assert await ask(http, where) == b"onetwo"
            assert await ask(http, where) == b"onetwo"
            assert there.connections == 2

    asyncio.run(main())


def test_interim_answers_trailers_and_empty_bodies() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-late: 1\r\n\r\n"

    async def main() -> None:
        async with upstream(always(early + chunked)) as (there, where):
            http = Http1()
            for _ in range(2):
                opened = await http.send(where, "POST", "/", (), b"")
                assert opened.headers == (("transfer-encoding", "chunked"),)
                assert await read(opened) == b"ok"
            assert there.connections == 1
            await http.aclose()
        async with upstream(always(b"HTTP/1.1 204 No Content\r\n\r\n")) as (there, where):
            for _ in range(2):
                assert await ask(http, where) == b""
            assert there.connections == 1
            await http.aclose()
        async with upstream(always(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n")) as (_, where):
            opened = await http.send(where, "HEAD", "/", (), b"")
            assert (opened.status, opened.content) == (200, b"")

    asyncio.run(main())


def test_a_second_answer_that_nobody_asked_for_changes_nothing_and_ends_the_connection() -> None:
    second = b"HTTP/1.1 500 Oops\r\nx-second: 1\r\ncontent-length: 4\r\n\r\nevil"

    async def main() -> None:
        async with upstream(always(WHOLE + second)) as (there, where):
            http = Http1()
            for count in (1, 2):
                opened = await http.send(where, "POST", "/", (), b"")
                assert (opened.status, opened.headers) == (200, (("content-length", "2"),))
                assert await read(opened) == b"ok"
                assert there.connections == count

    asyncio.run(main())


def test_data_on_an_idle_connection_makes_it_useless() -> None:
    async def main() -> None:
        async with upstream(always(WHOLE, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")) as (
            there,
            where,
        ):
            http = Http1()
            for count in (1, 2):
                assert await ask(http, where) == b"ok"
                assert there.connections == count
                await asyncio.sleep(0.03)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
def test_a_silent_upstream_is_a_timeout(sent: bytes) -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(sent)
            await reader.read()

        async with upstream(answer) as (there, where):
            http = Http1(read_timeout_s=0.05)
            with pytest.raises(UpstreamTimeout, match=r"0\.05 s"):
                await ask(http, where)
            await there.gone.wait()

    asyncio.run(main())


def test_silence_within_an_answer_has_a_limit_of_its_own() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            await asyncio.sleep(0.1)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            await reader.read()

        async with upstream(answer) as (_, where):
            opened = await Http1(read_timeout_s=3_600, chunk_timeout_s=0.05).send(where, "POST", "/", (), b"")
            assert opened.status == 200
            with pytest.raises(UpstreamTimeout, match=r"0\.05 s"):
                await read(opened)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
def test_a_caller_who_leaves_breaks_the_connection_off_at_once(sent: bytes) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(sent)
            asked.set()
            await reader.read()

        async with upstream(answer) as (there, where):
            task = asyncio.create_task(ask(Http1(), where))
            await asked.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(60):
                await there.gone.wait()

    asyncio.run(main())


def test_closing_an_answer_under_way_stops_the_upstream() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)

        async with upstream(answer) as (there, where):
            http = Http1()
            opened = await http.send(where, "POST", "/", (), b"")
            assert opened.chunks is not None
            assert opened.close is not None
            assert await anext(opened.chunks)
            await opened.close()
            async with asyncio.timeout(60):
                await there.gone.wait()
            assert not any(http._idle.values())

    asyncio.run(main())


SIZE = 24_000_000


def test_a_slow_consumer_holds_the_upstream_back_and_is_no_silence() -> None:
    async def main() -> None:
        written = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            while True:
                await request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
                for _ in range(SIZE // 100_000):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
                    written += 100_000

        async with upstream(answer) as (there, where):
            http = Http1(read_timeout_s=0.2)
            opened = await http.send(where, "POST", "/", (), b"")
            await asyncio.sleep(0.5)  # longer than the read timeout: the silence is the consumer's
            assert written < SIZE / 2
            assert len(await read(opened)) == SIZE
            assert len(await ask(http, where)) == SIZE  # and the connection reads again
            assert there.connections == 1
            await http.aclose()

    asyncio.run(main())


def test_a_large_request_is_sent_while_the_upstream_reads_slowly() -> None:
    async def main() -> None:
        got = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            await reader.readuntil(b"\r\n\r\n")
            while got < SIZE:
                got += len(await reader.read(1_000_000))
            writer.write(WHOLE)

        async with upstream(answer) as (_, where):
            assert await ask(Http1(), where, b"x" * SIZE) == b"ok"
            assert got == SIZE

    asyncio.run(main())


def test_nobody_there_and_nobody_who_answers_the_door() -> None:
    async def main() -> None:
        async with upstream(always(WHOLE)) as (_, where):
            pass
        with pytest.raises(NotConnected, match="Is the address right"):
            await ask(Http1(), where)

    asyncio.run(main())


# --- TLS and proxies -----------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of our own, and one server certificate for localhost."""

    def __init__(self, folder: Path) -> None:
        ca, key = folder / "ca.pem", folder / "ca.key"
        request_, server, server_key = folder / "server.csr", folder / "server.pem", folder / "server.key"
        names = folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
        extensions = ["-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE"]
        _openssl(*new, "/CN=test authority", *extensions, "-x509", "-days", "2", "-keyout", key, "-out", ca)
        _openssl(*new, "/CN=localhost", "-keyout", server_key, "-out", request_)
        sign = ["x509", "-req", "-in", request_, "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "2"]
        _openssl(*sign, "-extfile", names, "-out", server)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(server, server_key)
        self.trusted = ssl.create_default_context(cafile=str(ca))


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_https_with_a_trusted_certificate_only(authority: Authority) -> None:
    async def main() -> None:
        async with upstream(always(WHOLE), authority.server) as (there, where):
            http = Http1(tls=authority.trusted)
            assert [await ask(http, where) for _ in range(2)] == [b"ok", b"ok"]
            assert there.connections == 1
            await http.aclose()
            with pytest.raises(NotConnected, match=r"No secure connection to localhost: CERTIFICATE_VERIFY_FAILED"):
                await ask(Http1(), where)

    asyncio.run(main())


class Proxy:
    """A forward proxy that tunnels CONNECT and answers plain requests itself; notes what it was asked."""

    def __init__(self, *, status: int = 200) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = status

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, headers, _ = await request(reader)
            self.asked.append((line, headers))
            if not line.startswith("CONNECT"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy")
                continue
            if self.status != 200:
                writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self.status)
                continue
            port = int(line.split()[1].rpartition(":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
            return


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


def test_https_goes_through_a_tunnel_with_the_proxys_own_credentials(authority: Authority) -> None:
    async def main() -> None:
        proxy = Proxy()
        async with upstream(always(WHOLE), authority.server) as (there, where), upstream(proxy) as (_, via):
            for login in ("", "us%40er:p%3Aw@"):
                url = f"http://{login}127.0.0.1:{via.port}"
                http = Http1(tls=authority.trusted, proxies={"https": url}, no_proxy=())
                assert [await ask(http, where) for _ in range(2)] == [b"ok", b"ok"]  # one tunnel for both
                await http.aclose()
            name = f"localhost:{where.port}"
            expected = "Basic " + base64.b64encode(b"us@er:p:w").decode()
            assert proxy.asked == [
                (f"CONNECT {name} HTTP/1.1", {"host": name}),
                (f"CONNECT {name} HTTP/1.1", {"host": name, "proxy-authorization": expected}),
            ]
            assert there.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("status", [403, 407])
def test_a_tunnel_refused_is_not_connected(authority: Authority, status: int) -> None:
    async def main() -> None:
        async with upstream(Proxy(status=status)) as (there, via):
            http = Http1(proxies={"https": f"http://127.0.0.1:{via.port}"}, no_proxy=())
            with pytest.raises(NotConnected, match=f"refused a tunnel to localhost:1 .status {status}"):
                await ask(http, Origin("localhost", 1, True))
            async with asyncio.timeout(60):
                await there.gone.wait()

    asyncio.run(main())


def test_a_proxy_that_never_answers_is_left(authority: Authority) -> None:
    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            await reader.read()

        async with upstream(silent) as (there, via):
            proxies = {"https": f"http://127.0.0.1:{via.port}"}
            http = Http1(connect_timeout_s=0.05, proxies=proxies, no_proxy=())
            with pytest.raises(NotConnected, match=r"0\.05 s"):
                await ask(http, Origin("localhost", 1, True))
            async with asyncio.timeout(60):
                await there.gone.wait()

    asyncio.run(main())


def test_plain_http_names_the_whole_address_to_its_proxy() -> None:
    async def main() -> None:
        proxy = Proxy()
        async with upstream(proxy) as (_, via):
            http = Http1(proxies={"http": f"http://u:p@127.0.0.1:{via.port}"}, no_proxy=())
            assert await ask(http, Origin("api.example.test", 80, False)) == b"proxy"
            ((line, headers),) = proxy.asked
            assert line == "POST http://api.example.test/v1/x HTTP/1.1"
            assert headers["host"] == "api.example.test"
            assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
            await http.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(("host", "direct"), [("127.0.0.1", True), ("localhost", False)])
def test_hosts_of_no_proxy_are_asked_directly(host: str, direct: bool) -> None:
    async def main() -> None:
        proxy = Proxy()
        async with upstream(proxy) as (_, via), upstream(always(WHOLE)) as (_, there):
            http = Http1(proxies={"http": f"http://127.0.0.1:{via.port}"}, no_proxy=(".example.test", "127.0.0.1"))
            where = Origin(host, there.port, False)
            assert await ask(http, where) == (b"ok" if direct else b"proxy")
            assert await ask(http, Origin("notexample.test", 80, False)) == b"proxy"
            assert http._proxy(Origin("a.example.test", 80, False)) is None
            assert http._proxy(Origin("example.test", 80, False)) is not None or direct
            await http.aclose()

    asyncio.run(main())


def test_a_proxy_of_a_kind_that_is_not_spoken_is_named() -> None:
    async def main() -> None:
        with pytest.raises(PennyweightError, match="socks5://x:1"):
            await ask(Http1(proxies={"http": "socks5://x:1"}), Origin("api.example.test", 80, False))

    asyncio.run(main())
