"""`wrap`: a provider's own SDK client whose requests go to an App in this process, over a transport without a socket.

The SDKs build on httpx or on its successor httpx2; which one is seen from the client that is given, and nothing is
imported here. Everything the SDK does (types, streaming helpers, retries, exceptions) stays its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar, cast

from ..errors import ConfigError, PennyweightError
from ..request import Headers
from .inprocess import Body, BodyReader, LoopThread, Source, TaskOwner

__all__ = ["wrap"]

Client = TypeVar("Client")

_SYNC, _ASYNC = ("OpenAI", "Anthropic"), ("AsyncOpenAI", "AsyncAnthropic")
_HOST = "http://pennyweight.invalid"  # never resolved (RFC 6761, section 6.4): where calls go, the configuration says
_HOP_BY_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})


def wrap(client: Client, source: Source = None) -> Client:
    """A copy of an OpenAI, AsyncOpenAI, Anthropic or AsyncAnthropic client that goes through Pennyweight.

    The copy keeps key, headers, timeout and retries; its base URL is given up, because the upstream is told by the
    configuration (`source`, see `open`). It owns the App: use it as a context manager, or close it (`close()`).
    Raises ConfigError for any other object, variants for Azure, Bedrock or Vertex included.
    """
    kind = _kind(client)
    sdk = cast(Any, client)
    httpx = _library(sdk._client)
    if kind in _SYNC:
        loop = LoopThread(source)
        http_client = httpx.Client(transport=_sync_transport(httpx, loop), timeout=sdk.timeout)
    else:
        http_client = httpx.AsyncClient(transport=_async_transport(httpx, TaskOwner(source)), timeout=sdk.timeout)
    base_url = f"{_HOST}/v1" if kind.endswith("OpenAI") else _HOST
    return cast(Client, sdk.with_options(base_url=base_url, http_client=http_client))


def _kind(client: object) -> str:
    """Which of the four the client is or derives from. Raises ConfigError."""
    for cls in type(client).__mro__:
        package = cls.__module__.partition(".")[0]
        if package not in ("openai", "anthropic"):
            continue
        if cls.__name__ in _SYNC + _ASYNC:
            return cls.__name__
        if cls.__name__.startswith(("Azure", "AsyncAzure")):
            break  # a subclass of OpenAI whose paths are Azure's own
    raise ConfigError(
        f"wrap() takes a client of the OpenAI or Anthropic SDK ({', '.join(_SYNC + _ASYNC)}), "
        f"not {type(client).__module__}.{type(client).__qualname__}."
    )


def _library(http_client: object) -> Any:
    """The module (httpx2 or httpx) that the SDK's HTTP client is a class of."""
    for cls in type(http_client).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in ("httpx2", "httpx"):
            return sys.modules[package]
    raise ConfigError(f"The SDK's HTTP client is a {type(http_client)!r}, not one of httpx or httpx2.")


# --- transports -------------------------------------------------------------------------------------------


def _sync_transport(httpx: Any, loop: LoopThread) -> Any:
    class Chunks(httpx.SyncByteStream):  # type: ignore[misc]  # the base class is known only now
        def __init__(self, body: Body, timeout_s: float | None) -> None:
            self._chunks = iter((body,)) if isinstance(body, bytes) else loop.iterate(body, timeout_s=timeout_s)

        def __iter__(self) -> Iterator[bytes]:
            with _errors(httpx):
                yield from self._chunks

        def close(self) -> None:
            if close := getattr(self._chunks, "close", None):
                close()

    class Transport(httpx.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            content, timeout_s = request.read(), _read_timeout(request)
            with _errors(httpx):
                work = loop.app.respond(*_target(request), _headers(request), content)
                status, headers, body = loop.run(work, timeout_s=timeout_s)
            return httpx.Response(status, headers=list(headers), stream=Chunks(body, timeout_s))

        def close(self) -> None:
            loop.close()

    return Transport()


def _async_transport(httpx: Any, owner: TaskOwner) -> Any:
    class Chunks(httpx.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, body: Body, timeout_s: float | None) -> None:
            self._whole = body if isinstance(body, bytes) else None
            self._reader = None if isinstance(body, bytes) else BodyReader(body)
            self._timeout_s = timeout_s

        async def __aiter__(self) -> AsyncIterator[bytes]:
            if self._whole is not None:
                yield self._whole
            while self._reader is not None:
                with _errors(httpx):
                    async with asyncio.timeout(self._timeout_s):
                        chunk = await self._reader.next()
                if chunk is None:
                    return
                yield chunk

        async def aclose(self) -> None:
            if self._reader is not None:
                await self._reader.close()

    class Transport(httpx.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            content, timeout_s = await request.aread(), _read_timeout(request)
            app = await owner.app()
            with _errors(httpx):
                async with asyncio.timeout(timeout_s):
                    status, headers, body = await app.respond(*_target(request), _headers(request), content)
            return httpx.Response(status, headers=list(headers), stream=Chunks(body, timeout_s))

        async def aclose(self) -> None:
            await owner.aclose()

    return Transport()


class _errors:  # noqa: N801 - a context manager, used like a function
    """Our exceptions as the HTTP library's, which its SDK knows how to retry and to raise as its own."""

    def __init__(self, httpx: Any) -> None:
        self._httpx = httpx

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise self._httpx.ReadTimeout("The upstream did not answer in time.") from error
        if isinstance(error, PennyweightError) and not isinstance(error, ConfigError):
            raise self._httpx.ReadError(str(error)) from error


def _target(request: Any) -> tuple[str, str, str]:
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return request.method, path, query


def _headers(request: Any) -> Headers:
    """Names in lower case; what belongs to a connection is left out, and with it the wish for a compressed body."""
    pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw)
    return tuple(pair for pair in pairs if pair[0] not in _HOP_BY_HOP)


def _read_timeout(request: Any) -> float | None:
    """Seconds without a byte, as the SDK asked for this request; None: no limit."""
    timeout: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeout.get("read")
