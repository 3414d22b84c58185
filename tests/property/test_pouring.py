"""A body that is poured says what one that is taken chunk by chunk says, however the network cuts it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.no_wire import Wire

from pennyweight.backends.transport import _Connection
from pennyweight.errors import PennyweightError
from pennyweight.flow import Flow

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
PIECES = st.lists(st.binary(min_size=1, max_size=9), max_size=6)
BODIES = st.one_of(
    PIECES.map(lambda pieces: (b"transfer-encoding: chunked\r\n\r\n", chunked(pieces) + b"0\r\n\r\n")),
    PIECES.map(lambda pieces: (b"transfer-encoding: chunked\r\n\r\n", chunked(pieces) + b"0\r\nx-after: 1\r\n\r\n")),
    PIECES.map(lambda pieces: (b"transfer-encoding: chunked\r\n\r\n", chunked(pieces))),  # cut
    PIECES.map(lambda pieces: (b"transfer-encoding: chunked\r\n\r\n", chunked(pieces) + b"no size\r\n")),
    PIECES.map(lambda pieces: (b"transfer-encoding: chunked\r\n\r\n", chunked(pieces) + b"0\r\n\r\nHTTP/1.1 2")),
    PIECES.map(lambda pieces: (b"content-length: %d\r\n\r\n" % len(b"".join(pieces)), b"".join(pieces))),
    PIECES.map(lambda pieces: (b"\r\n", b"".join(pieces))),  # ends with the connection
)


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])


async def came(head: bytes, reads: list[bytes], *, poured: bool) -> tuple[object, ...]:
    """What the reader of a flow gets, what its watchers see, how it came out, and what becomes of the connection."""
    connection = _Connection(asyncio.get_running_loop(), 60.0, 60.0)
    connection.connection_made(Wire())
    connection.begin("POST", b"")
    connection.data_received(head)
    flow = Flow(connection)
    got: list[bytes] = []
    seen: list[bytes] = []
    first: list[bytes] = []
    flow.watch(seen.append)
    flow.watch_first(first.append)

    async def read() -> str:
        try:
            if poured:
                await flow.pour(got.append)
            else:
                async for chunk in flow:
                    got.append(chunk)  # noqa: PERF401 - what came before an error counts
        except PennyweightError as error:
            return type(error).__name__
        return ""

    reader = asyncio.create_task(read())
    for piece in reads:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if connection.transport is None or connection.transport.is_closing():
            break
        connection.data_received(piece)
    closed = connection.transport is None or connection.transport.is_closing()
    await asyncio.sleep(0)
    connection.connection_lost(None)
    error = await reader
    return got, seen, first, error, flow.ended, flow.error, connection.complete, closed


@settings(max_examples=150, deadline=None)
@given(BODIES, st.lists(st.integers(0, 90), max_size=5))
def test_what_is_poured_is_what_would_have_been_read(body: tuple[bytes, bytes], places: list[int]) -> None:
    head, data = HEAD + body[0], body[1]
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    reads = [data[start:stop] for start, stop in pairwise(edges)]
    poured = asyncio.run(came(head, reads, poured=True))
    taken = asyncio.run(came(head, reads, poured=False))
    assert poured == taken
    got, seen, first = poured[:3]
    assert got == seen
    assert first == got[:1]  # type: ignore[index]


def test_a_body_that_is_here_before_it_is_poured_is_poured_whole() -> None:
    async def main() -> None:
        data = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked([b"a", b"bc"])
        got: list[bytes] = []
        connection = _Connection(asyncio.get_running_loop(), 60.0, 60.0)
        connection.connection_made(Wire())
        connection.begin("POST", b"")
        connection.data_received(data)
        pouring = asyncio.create_task(Flow(connection).pour(got.append))
        await asyncio.sleep(0)
        connection.data_received(chunked([b"d"]))
        connection.data_received(b"0\r\n\r\n")
        await pouring
        assert got == [b"abc", b"d"]

    asyncio.run(main())


def test_who_drinks_may_hold_from_the_first_chunk_on() -> None:
    class Held(Wire):
        reading = True

        def pause_reading(self) -> None:
            self.reading = False

        def resume_reading(self) -> None:
            self.reading = True

    async def main() -> None:
        connection, wire = _Connection(asyncio.get_running_loop(), 60.0, 60.0), Held()
        connection.connection_made(wire)
        connection.begin("POST", b"")
        connection.data_received(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked([b"a"]))
        flow = Flow(connection)
        pouring = asyncio.create_task(flow.pour(lambda _chunk: flow.hold()))
        await asyncio.sleep(0)
        assert not wire.reading  # what was here before filled it
        flow.go_on()
        assert wire.reading
        connection.data_received(b"0\r\n\r\n")
        await pouring

    asyncio.run(main())
