"""A head that came before on its connection is recognised: what is asked must be what a parser would have read."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.no_wire import Wire

from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.connection import Connection
from pennyweight.gateway.server import Limits, Server

BODIES = st.one_of(st.binary(max_size=40), st.just(b""), st.just(b"\r\n\r\n"), st.just(b"POST / HTTP/1.1\r\n\r\n"))
HEADS = st.sampled_from(
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\ncontent-length: %d\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer b\r\ncontent-length: %d\r\n\r\n",
        b"POST /v1/messages?beta=true HTTP/1.1\r\nContent-Length:  %d \r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
        b"PUT /content-length: HTTP/1.1\r\nx-content-length: 4\r\nhost: x\r\ncontent-length: %d\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\ncontent-length: 00%d\r\n\r\n",
    ]
)
CHUNKED = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


class Callers(Wire):
    """With the further words that a server has with its transport."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool:
        return True


async def asked(pieces: list[bytes], limits: Limits | None = None) -> list[tuple[object, ...]]:
    """What a connection that is fed these pieces asks; refusals among it."""
    found: list[tuple[object, ...]] = []

    async def respond(request: HttpRequest) -> HttpResponse:
        said = [header for header in request.headers if header[0] != "content-length"]  # the body tells
        fields = {name: value for name, value in request.fields.items() if name != "content-length"}
        found.append((request.method, request.path, request.query, said, fields, request.body))
        if request.room is not None:  # the room that a head has is its own
            found.append(("room", request.room.setdefault("of", request.headers) == request.headers))
        return HttpResponse(200, (), b"ok")

    def refuse(request: HttpRequest, status: int, kind: str, message: str) -> HttpResponse:
        found.append((status, kind))
        return HttpResponse(status, (), b"no")

    server = Server(respond, refuse, limits=limits)
    server.loop = asyncio.get_running_loop()
    connection = Connection(server)
    connection.connection_made(Callers())
    for piece in pieces:
        if not connection._transport or connection._transport.is_closing():
            break
        connection.data_received(piece)
        await ended(connection)
    return found


async def ended(connection: Connection) -> None:
    while connection.busy:  # noqa: ASYNC110 - nothing of it waits for anything outside
        await asyncio.sleep(0)


def plain(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    assert ("room", False) not in found
    return [line for line in found if line != ("room", True)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.tuples(HEADS, BODIES), st.none()), min_size=1, max_size=6),
    st.lists(st.integers(0, 2_000), max_size=8),
)
def test_the_same_is_read_however_it_is_cut(requests: list[tuple[bytes, bytes] | None], cuts: list[int]) -> None:
    wires = [CHUNKED if one is None else one[0] % len(one[1]) + one[1] for one in requests]
    stream = b"".join(wires)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(places)]

    async def main() -> None:
        alone = [line for wire in wires for line in await asked([wire])]  # a connection each: nothing came before
        assert plain(await asked(wires)) == alone
        assert plain(await asked(pieces)) == alone

    asyncio.run(main())


class KnownHead(TestCase):
    head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %b\r\n\r\n"

    def last(self, *digits: bytes, body: bytes = b"ab", limits: Limits | None = None) -> tuple[object, ...]:
        first = self.head % b"2" + b"ab"
        return plain(asyncio.run(asked([first, first, *[self.head % one + body for one in digits]], limits)))[-1]

    def test_it_is_known_from_the_second_time_on(self) -> None:
        first = self.head % b"2" + b"ab"
        assert ("room", True) in asyncio.run(asked([first, first]))

    def test_a_length_that_is_no_number_is_refused(self) -> None:
        for digits in (b"-2", b"+2", b"2,2", b"0x2", b"2_0", b"", b"2" * 40):
            assert self.last(digits)[0] == 400, digits

    def test_what_is_too_large_is_refused(self) -> None:
        assert self.last(b"70", body=b"x" * 70, limits=Limits(max_body_bytes=64))[0] == 413

    def test_a_body_that_ends_early_is_told(self) -> None:
        async def main() -> list[tuple[object, ...]]:
            found: list[tuple[object, ...]] = []

            async def respond(request: HttpRequest) -> HttpResponse:
                return HttpResponse(200, (), b"ok")

            def refuse(request: HttpRequest, status: int, kind: str, message: str) -> HttpResponse:
                found.append((status, request.path, message))
                return HttpResponse(status, (), b"no")

            server = Server(respond, refuse)
            server.loop = asyncio.get_running_loop()
            connection = Connection(server)
            connection.connection_made(Callers())
            for piece in (self.head % b"2" + b"ab", self.head % b"5" + b"ab"):
                connection.data_received(piece)
                await ended(connection)
            connection.eof_received()
            await ended(connection)
            return found

        ((status, path, message),) = asyncio.run(main())
        assert (status, path) == (400, "/v1/x")
        assert "2 bytes" in str(message)
