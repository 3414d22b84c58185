"""An HTTP request and its answer as plain values, whoever carried them: a socket, a test, an SDK in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from typing import Any, Protocol

import msgspec

from ..once import once
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

    @once
    def fields(self) -> Mapping[str, str]:
        """The first value of each header."""
        return dict(reversed(self.headers))

    @once
    def room(self) -> dict[Any, Any] | None:
        """Room for what is worked out of the head alone, shared by all requests of a connection that have this very
        head; each who keeps something there does so under itself. None: the head is new, and may not come again."""
        return None

    def first(self) -> HttpRequest:
        """This head as one that may come again: without its body, and without the length, which each body tells."""
        headers = tuple([header for header in self.headers if header[0] != "content-length"])
        head = HttpRequest(self.method, self.path, self.query, headers, b"", self.peer)
        head.__dict__.update(room={})
        return head

    def again(self, body: bytes, packet: bytes = b"") -> HttpRequest:
        """The same head with another body, and the bytes that both came in, as `came_in` has them."""
        request = HttpRequest(self.method, self.path, self.query, self.headers, body, self.peer)
        told = request.__dict__
        told["room"], told["_packet"] = self.room, packet
        return request


class HttpResponse(msgspec.Struct, eq=False):
    """An answer: `body` whole, or chunks to be sent as they come.

    `close` is awaited when the sending is over, however it ended, and `over` called after it. A chunk iterator that
    raises means: cut here. end: may be called in place of awaiting `close`, where that would wait for nothing.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes] = b""
    close: Callable[[], Awaitable[None]] | None = None
    over: Callable[[], None] | None = None
    end: Callable[[], None] | None = None


class Known(Protocol):
    """Answers at once what was answered before, to the same caller and byte for byte the same, or says that it cannot:
    None. Answers are whole HTTP/1.1 responses, for connections that are kept.

    lengths: of all that may be known, pieces and bodies alike; what is of another need not be asked about.
    """

    @property
    def lengths(self) -> Container[int]: ...

    def packet(self, data: bytes, peer: str) -> bytes | None:
        """To what came in one piece: a request and nothing else."""
        ...

    def again(self, request: HttpRequest) -> bytes | None: ...


Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]
