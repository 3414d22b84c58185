"""An HTTP request and its answer as plain values, whoever carried them: a socket, a test, an SDK in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from ..request import Headers

__all__ = ["HttpRequest", "HttpResponse", "Known", "Respond"]


class HttpRequest(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One request. Header names are lower case; `path` is percent-encoded as it came; `query` without its `?`."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    peer: str  # the client's address, "" for an in-process call

    @property
    def packet(self) -> bytes:
        """The bytes that it came in, where that was one short piece with nothing else in it; else b""."""
        found: bytes = self.__dict__.get("_packet", b"")
        return found

    def came_in(self, packet: bytes) -> None:
        self.__dict__["_packet"] = packet

    @property
    def fields(self) -> Mapping[str, str]:
        """The first value of each header. Built once: every call is asked for half a dozen."""
        try:
            found: Mapping[str, str] = self.__dict__["_fields"]
        except KeyError:
            found = self.__dict__["_fields"] = dict(reversed(self.headers))
        return found


class HttpResponse(msgspec.Struct, eq=False):
    """An answer: `body` whole, or chunks to be sent as they come.

    `close` is awaited when the sending is over, however it ended. A chunk iterator that raises means: cut here.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes] = b""
    close: Callable[[], Awaitable[None]] | None = None


class Known(Protocol):
    """Answers at once what was answered before, to the same caller and byte for byte the same, or says that it cannot:
    None. Answers are whole HTTP/1.1 responses, for connections that are kept."""

    def packet(self, data: bytes, peer: str) -> bytes | None:
        """To what came in one piece: a request and nothing else."""
        ...

    def again(self, request: HttpRequest) -> bytes | None: ...


Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]
