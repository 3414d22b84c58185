"""Requests that are answered at once: whole pieces before they are parsed, others before anything is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.server import Server

from .test_server import Echo, Streams, answer, post, refuse

TOLD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nknown"


class Memory:
    """Protocol: `Known`. Knows what it was told to know; notes what it was asked."""

    def __init__(self, packets: tuple[bytes, ...] = (), bodies: tuple[bytes, ...] = ()) -> None:
        self.packets, self.bodies = packets, bodies
        self.asked: list[HttpRequest] = []

    lengths = range(1 << 20)

    def packet(self, data: bytes, peer: str) -> bytes | None:
        assert peer == "127.0.0.1"
        return TOLD if data in self.packets else None

    def again(self, request: HttpRequest) -> bytes | None:
        self.asked.append(request)
        return TOLD if request.body in self.bodies else None


@asynccontextmanager
async def served(memory: Memory, respond: Callable[[HttpRequest], Any]) -> AsyncIterator[Streams]:
    server = Server(respond, refuse, known=memory)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()
        await server.stop(drain_s=0)


def drive(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_known_piece_is_answered_without_being_parsed_and_the_connection_goes_on() -> None:
    async def main() -> None:
        echo, memory = Echo(), Memory(packets=(post(b"a"),))
        async with served(memory, echo) as (reader, writer):
            for sent, told in ((b"a", b"known"), (b"b", b"POST"), (b"a", b"known"), (b"a", b"known")):
                writer.write(post(sent))
                assert (await answer(reader))[2].startswith(told)
            assert [request.body for request in memory.asked] == [b"b"]
            assert len(echo.asked) == 1

    drive(main())


def test_a_known_request_that_came_in_pieces_is_answered_when_it_is_whole() -> None:
    async def main() -> None:
        echo, memory = Echo(), Memory(packets=(post(b"abc"),), bodies=(b"abc",))
        async with served(memory, echo) as (reader, writer):
            whole = post(b"abc")
            for cut in (1, len(whole) // 2, len(whole) - 1):
                writer.write(whole[:cut])
                await asyncio.sleep(0.01)
                writer.write(whole[cut:])
                assert (await answer(reader))[2] == b"known"
            assert not echo.asked

    drive(main())


def test_only_a_request_that_came_alone_is_told_its_piece() -> None:
    async def main() -> None:
        echo, memory = Echo(), Memory()
        async with served(memory, echo) as (reader, writer):
            alone, two, long = post(b"a"), post(b"b") + post(b"c"), post(b"d" * 20_000)
            for sent, count in ((alone, 1), (two, 2), (long, 1)):
                writer.write(sent)
                for _ in range(count):
                    await answer(reader)
            writer.write(alone[:-1])
            await asyncio.sleep(0.01)
            writer.write(alone[-1:])
            await answer(reader)
            assert [request.packet for request in echo.asked] == [alone, b"", b"", b"", b""]

    drive(main())


def test_a_request_that_ends_its_connection_is_not_known_by_its_piece() -> None:
    async def main() -> None:
        for sent in (post(b"a", b"connection: close"), post(b"a").replace(b"HTTP/1.1", b"HTTP/1.0")):
            echo = Echo()
            async with served(Memory(), echo) as (reader, writer):
                writer.write(sent)
                await answer(reader)
                assert [request.packet for request in echo.asked] == [b""]

    drive(main())


def test_nothing_overtakes_what_is_being_answered() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def slow(request: HttpRequest) -> HttpResponse:
            await go_on.wait()
            return HttpResponse(200, (), request.body)

        memory = Memory(packets=(post(b"a"),), bodies=(b"a", b"b"))
        async with served(memory, slow) as (reader, writer):
            writer.write(post(b"first"))
            await asyncio.sleep(0.02)
            writer.write(post(b"a"))
            await asyncio.sleep(0.02)
            writer.write(post(b"b"))
            await asyncio.sleep(0.02)
            go_on.set()
            assert [(await answer(reader))[2] for _ in range(3)] == [b"first", b"a", b"b"]

    drive(main())


def test_a_request_that_ends_its_connection_goes_the_long_way() -> None:
    async def main() -> None:
        memory = Memory(bodies=(b"a",))
        async with served(memory, Echo()) as (reader, writer):
            writer.write(post(b"a", b"connection: close"))
            _, headers, body = await answer(reader)
            assert (headers["connection"], body[:4]) == ("close", b"POST")

    drive(main())


def test_a_caller_that_does_not_read_is_not_answered_at_once() -> None:
    big = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000

    class Endless(Memory):
        told = 0

        def again(self, request: HttpRequest) -> bytes | None:
            self.told += 1
            return big

    async def main() -> None:
        memory, echo = Endless(), Echo()
        async with served(memory, echo) as (_, writer):
            for _ in range(40):
                writer.write(post(b"a"))
                await asyncio.sleep(0.002)
            assert memory.told < 40

    drive(main())
