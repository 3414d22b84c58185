"""An HTTP request and its answer as plain values, whoever carried them: a socket, a test, an SDK in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from ..request import Headers

__all__ = ["HttpRequest", "HttpResponse", "Respond"]


class HttpRequest(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One request. Header names are lower case; `path` is percent-encoded as it came; `query` without its `?`."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    peer: str  # the client's address, "" for an in-process call

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


Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]
