"""An upstream's head that came before is recognised: an answer says what a parser would have read."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from unittest import TestCase

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.no_wire import Wire

from pennyweight.backends.transport import _Connection
from pennyweight.errors import BackendError

PLAIN = b"HTTP/1.1 200 OK\r\nx-request-id: r\r\ncontent-length: %d\r\n\r\n"
HEADS = st.sampled_from(
    [PLAIN] * 6
    + [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2\r\nContent-Length:  %d \r\n\r\n",
        b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\ncontent-length: 0%d\r\nx-content-length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.1 204 No\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.1 103 Early\r\ncontent-length: 3\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: %d\r\n\r\n",
    ]
)
BODIES = st.one_of(
    st.binary(min_size=1, max_size=12), st.just(b""), st.just(b"\r\n\r\n"), st.just(b"HTTP/1.1 200 OK\r\n\r\n")
)
ANSWERS = st.tuples(
    st.sampled_from(["POST", "POST", "POST", "GET", "HEAD"]),
    st.sampled_from([0, 0, 0, 1]),  # which of the heads
    BODIES,
    st.sampled_from([0, 0, 0, 1, -1]),  # how much more is told than comes
    st.one_of(
        st.just([]), st.just([]), st.just([]), st.lists(st.integers(0, 120), max_size=2)
    ),  # where the network cuts it
)


def connected() -> _Connection:
    connection = _Connection(asyncio.get_running_loop(), 60.0, 60.0)
    connection.connection_made(Wire())
    return connection


def told(connection: _Connection, method: str, pieces: list[bytes]) -> tuple[object, ...]:
    """What a connection says of an answer that comes in these pieces, and whether it can be used again."""
    try:
        waiter = connection.begin(method, b"")
    except BackendError as error:
        return (type(error).__name__,)
    for piece in pieces:
        connection.data_received(piece)
    found = (
        connection.head_done and connection.status,
        connection.head_done and [header for header in connection.headers if header[0] != "content-length"],
        b"".join(connection.chunks),
        connection.complete,
        type(connection.error).__name__,
        waiter.done(),
    )
    return (*found, connection.end())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@settings(max_examples=200, deadline=None)
@given(st.lists(HEADS, min_size=2, max_size=2), st.lists(ANSWERS, min_size=3, max_size=9))
def test_a_connection_says_of_an_answer_what_a_new_one_says(
    heads: list[bytes], answers: list[tuple[str, int, bytes, int, list[int]]]
) -> None:
    async def main() -> None:
        kept = connected()
        for method, which, body, more, places in answers:
            pieces = cut(heads[which] % max(len(body) + more, 0) + body, places)
            expected = told(connected(), method, pieces)
            if kept.transport is None or kept.transport.is_closing():
                kept = connected()
            room = kept._like.room if kept._like is not None else None
            assert told(kept, method, pieces) == expected
            if kept.room is not None:
                assert kept.room is room
                assert kept.room.setdefault("of", (kept.status, kept.headers)) == (kept.status, kept.headers)

    asyncio.run(main())


class What(TestCase):
    def test_an_answer_like_the_last_is_not_parsed_and_unlike_ones_are_kept_no_more(self) -> None:
        same = b"HTTP/1.1 200 OK\r\nx-a: %d\r\ncontent-length: %d\r\n\r\n%b"

        async def main() -> None:
            connection = connected()
            told(connection, "POST", [same % (1, 2, b"ab")])
            assert connection._parser is not None
            for body in (b"abc", b"", b"x" * 1000):
                assert told(connection, "POST", [same % (1, len(body), body)])[2] == body
                assert connection._parser is None
            for number in range(2, 7):
                told(connection, "POST", [same % (number, 2, b"ab")])
                assert isinstance(connection._parser, httptools.HttpResponseParser)
            # Its heads differ each time: keeping more of them would cost and bring nothing.
            assert connection._like is not None
            assert connection._like.headers == (("x-a", "4"),)

        asyncio.run(main())
