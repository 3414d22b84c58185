"""Questions to one server beside the calls that it answers: short, bounded in time, with its own key."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec

from ...errors import BackendError, Unreachable
from ...request import Headers
from ..transport import Origin, Transport

__all__ = ["Asker"]

T = TypeVar("T")


class Asker:
    """`get` and `post` below the server's root. Both raise Unreachable; a refusal is an answer."""

    def __init__(self, transport: Transport, root: Origin, *, headers: Headers = (), ask_s: float = 2.0) -> None:
        self.root = root
        self._transport = transport
        self._headers = headers
        self._ask_s = ask_s

    async def get(self, path: str, kind: type[T]) -> T | None:
        """The answer, None where it is refused or of another shape."""
        return _read(*await self._send("GET", path, b"", self._ask_s), kind)

    async def call(self, path: str, body: Any, kind: type[T], *, wait_s: float) -> T | None:
        """The same of a POST with that JSON body."""
        return _read(*await self._send("POST", path, msgspec.json.encode(body), wait_s), kind)

    async def status(self, path: str) -> int:
        return (await self._send("GET", path, b"", self._ask_s))[0]

    async def post(self, path: str, body: Any, *, wait_s: float) -> int:
        """The status of the answer to that JSON body."""
        return (await self._send("POST", path, msgspec.json.encode(body), wait_s))[0]

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _send(self, method: str, path: str, body: bytes, wait_s: float) -> tuple[int, bytes]:
        headers = (("accept", "application/json"), *self._headers)
        if body:
            headers = (*headers, ("content-type", "application/json"))
        try:
            async with asyncio.timeout(wait_s):
                opened = await self._transport.send(self.root, method, self.root.prefix + path, headers, body)
                if opened.content is not None:
                    return opened.status, opened.content
                assert opened.chunks is not None
                assert opened.close is not None
                try:
                    return opened.status, b"".join([chunk async for chunk in opened.chunks])
                finally:
                    await opened.close()
        except (BackendError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"{self.root.authority} does not answer ({type(error).__name__}).") from None


def _read(status: int, body: bytes, kind: type[T]) -> T | None:
    if not 200 <= status < 300:
        return None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
