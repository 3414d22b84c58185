"""A call that takes longer than the operator allows is ended: with an error before its answer began, cut after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pennyweight.errors import PennyweightError
from pennyweight.front.front import error_response
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.server import Limits, Server
from pennyweight.request import Wire


async def slow(request: HttpRequest) -> HttpResponse:
    if request.path == "/stream":

        async def chunks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await asyncio.sleep(3_600)

        return HttpResponse(200, (("content-type", "text/event-stream"),), chunks())
    await asyncio.sleep(3_600)
    return HttpResponse(200, ())


def refuse(path: str, status: int, kind: str, message: str) -> HttpResponse:
    class Refused(PennyweightError):
        pass

    response = error_response(Wire.OPENAI_CHAT, Refused(message))
    response.status = status
    return response


@pytest.mark.parametrize("path", ["/whole", "/stream"])
def test_an_overdue_call_is_ended(path: str) -> None:
    async def told() -> bytes:
        server = Server(slow, refuse, limits=Limits(request_timeout_s=0.2))
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        try:
            return await asyncio.wait_for(reader.read(), 60)
        except ConnectionResetError:
            return b"reset"
        finally:
            writer.close()
            await server.stop(drain_s=0.1)

    answer = asyncio.run(told())
    if path == "/whole":
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"request_timeout_s" in answer
    else:
        assert not answer.endswith(b"0\r\n\r\n")
