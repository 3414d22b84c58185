"""`AsyncClient` and `Client`: four protocols as methods that take a native body and give the native answer, parsed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Literal, Self, overload

import msgspec

from ..call import Receipt
from ..errors import (
    AuthFailed,
    BackendError,
    BadRequest,
    ConfigError,
    ContextTooLong,
    Forbidden,
    LimitReached,
    NotFound,
    Overloaded,
    PennyweightError,
    RateLimited,
    RequestError,
    TooLarge,
    UpstreamTimeout,
)
from ..request import Headers, get_header
from ..wire.sse import Splitter
from .inprocess import Body, Entrance, LoopThread, Reply, Source, close_body, entrance

__all__ = ["Answer", "AsyncClient", "Client", "Events", "SyncEvents"]

_REFUSALS: tuple[type[PennyweightError], ...] = (
    BadRequest,
    AuthFailed,
    LimitReached,
    Forbidden,
    NotFound,
    TooLarge,
    RateLimited,
    Overloaded,
    UpstreamTimeout,
)
_BY_STATUS = {error.status: error for error in _REFUSALS} | {529: Overloaded}


class Answer(dict[str, Any]):
    """A whole answer: the parsed body, the response `headers`, and the `call_id` that its receipt is found by."""

    def __init__(self, body: dict[str, Any], headers: Headers) -> None:
        super().__init__(body)
        self.headers = headers
        self.call_id = get_header(headers, "x-pennyweight-call") or ""


class Events:
    """A streamed answer: iterate for its events, parsed, as they arrive. `[DONE]` is not among them.

    Leave it early by `aclose` or as a context manager, which stops the provider too. Raises StreamCut at the place
    where the upstream cut the stream.
    """

    def __init__(self, chunks: AsyncIterator[bytes], headers: Headers) -> None:
        self.headers = headers
        self.call_id = get_header(headers, "x-pennyweight-call") or ""
        self._chunks = chunks
        lines = "ndjson" in (get_header(headers, "content-type") or "")
        self._events = _ndjson(chunks) if lines else _sse(chunks)

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._events

    async def aclose(self) -> None:
        await self._events.aclose()
        await close_body(self._chunks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class AsyncClient:
    """Calls through an App in this process: `async with AsyncClient() as client: await client.chat(...)`.

    `source`: what to go through, see Source. Bodies are the protocol's own fields. With `stream=True` a call gives
    Events, else an Answer. Refusals and failures raise RequestError and BackendError with the upstream's words.
    """

    def __init__(self, source: Source = None, *, headers: dict[str, str] | None = None) -> None:
        self._opening = entrance(source)
        self._app: Entrance | None = None
        self._headers = tuple((name.lower(), value) for name, value in (headers or {}).items())

    async def __aenter__(self) -> Self:
        self._app = await self._opening.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app = None
        await self._opening.__aexit__(kind, error, trace)

    @overload
    async def chat(self, *, stream: Literal[True], **body: Any) -> Events: ...
    @overload
    async def chat(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    async def chat(self, *, stream: bool = False, **body: Any) -> Answer | Events:
        """OpenAI Chat Completions."""
        return await self.request("POST", "/v1/chat/completions", _body(body, stream))

    @overload
    async def responses(self, *, stream: Literal[True], **body: Any) -> Events: ...
    @overload
    async def responses(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    async def responses(self, *, stream: bool = False, **body: Any) -> Answer | Events:
        """OpenAI Responses."""
        return await self.request("POST", "/v1/responses", _body(body, stream))

    @overload
    async def messages(self, *, stream: Literal[True], **body: Any) -> Events: ...
    @overload
    async def messages(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    async def messages(self, *, stream: bool = False, **body: Any) -> Answer | Events:
        """Anthropic Messages."""
        return await self.request("POST", "/v1/messages", _body(body, stream))

    async def embeddings(self, **body: Any) -> Answer:
        """OpenAI Embeddings."""
        answer = await self.request("POST", "/v1/embeddings", body)
        assert isinstance(answer, Answer)
        return answer

    async def request(
        self, method: str, path: str, json: Any = None, *, headers: dict[str, str] | None = None
    ) -> Answer | Events:
        """Any path of the gateway, its query string included. Raises RequestError, BackendError."""
        if self._app is None:
            raise ConfigError("This client is not open: use it as `async with AsyncClient() as client`.")
        content = msgspec.json.encode(json) if json is not None else b""
        path, _, query = path.partition("?")
        own = (("content-type", "application/json"),) if content else ()
        extra = tuple((name.lower(), value) for name, value in (headers or {}).items())
        reply = await self._app.respond(method, path, query, own + self._headers + extra, content)
        return await _understand(reply)

    async def receipt(self, call_id: str) -> Receipt | None:
        """What a finished call cost: by `answer.call_id`, or `events.call_id` after the last event."""
        if self._app is None:
            raise ConfigError("This client is not open: use it as `async with AsyncClient() as client`.")
        return await self._app.receipt(call_id)


class SyncEvents:
    """A streamed answer for callers that are not async; like Events, with `close`."""

    def __init__(self, events: Events, loop: LoopThread) -> None:
        self.headers = events.headers
        self.call_id = events.call_id
        self._events = events
        self._loop = loop
        self._items = aiter(events)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            while (event := self._loop.run(_next(self._items))) is not None:
                yield event
        finally:
            self.close()

    def close(self) -> None:
        self._loop.run(self._events.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Client:
    """AsyncClient for callers that are not async: the same calls, on a loop of its own in one background thread.

    Open from its making to `close` (or use it as a context manager); raises ConfigError when the App cannot open.
    """

    def __init__(self, source: Source = None, *, headers: dict[str, str] | None = None) -> None:
        self._loop = LoopThread(source)
        self._client = AsyncClient(lambda: nullcontext(self._loop.app), headers=headers)
        self._loop.run(self._client.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._loop.close()

    @overload
    def chat(self, *, stream: Literal[True], **body: Any) -> SyncEvents: ...
    @overload
    def chat(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    def chat(self, *, stream: bool = False, **body: Any) -> Answer | SyncEvents:
        """OpenAI Chat Completions."""
        return self.request("POST", "/v1/chat/completions", _body(body, stream))

    @overload
    def responses(self, *, stream: Literal[True], **body: Any) -> SyncEvents: ...
    @overload
    def responses(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    def responses(self, *, stream: bool = False, **body: Any) -> Answer | SyncEvents:
        """OpenAI Responses."""
        return self.request("POST", "/v1/responses", _body(body, stream))

    @overload
    def messages(self, *, stream: Literal[True], **body: Any) -> SyncEvents: ...
    @overload
    def messages(self, *, stream: Literal[False] = False, **body: Any) -> Answer: ...
    def messages(self, *, stream: bool = False, **body: Any) -> Answer | SyncEvents:
        """Anthropic Messages."""
        return self.request("POST", "/v1/messages", _body(body, stream))

    def embeddings(self, **body: Any) -> Answer:
        """OpenAI Embeddings."""
        return self._loop.run(self._client.embeddings(**body))

    def request(
        self, method: str, path: str, json: Any = None, *, headers: dict[str, str] | None = None
    ) -> Answer | SyncEvents:
        """Any path of the gateway, its query string included. Raises RequestError, BackendError."""
        answer = self._loop.run(self._client.request(method, path, json, headers=headers))
        return SyncEvents(answer, self._loop) if isinstance(answer, Events) else answer

    def receipt(self, call_id: str) -> Receipt | None:
        """What a finished call cost: by `answer.call_id`, or `events.call_id` after the last event."""
        return self._loop.run(self._client.receipt(call_id))


# --- reading replies --------------------------------------------------------------------------------------


def _body(body: dict[str, Any], stream: bool) -> dict[str, Any]:
    return body | {"stream": True} if stream else body


async def _understand(reply: Reply) -> Answer | Events:
    status, headers, body = reply
    if 200 <= status < 300 and not isinstance(body, bytes):
        return Events(body, headers)
    content = await _whole(body)
    if not 200 <= status < 300:
        raise _error(status, headers, content)
    try:
        return Answer(msgspec.json.decode(content) if content else {}, headers)
    except (msgspec.DecodeError, TypeError, ValueError):
        raise BackendError("The upstream's answer is not a JSON object.") from None


async def _whole(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    try:
        return b"".join([chunk async for chunk in body])
    finally:
        await close_body(body)


def _error(status: int, headers: Headers, content: bytes) -> PennyweightError:
    """The refusal as an exception, with its own words and the seconds after which to ask again."""
    error: Any = None
    with suppress(msgspec.DecodeError, AttributeError):
        error = msgspec.json.decode(content).get("error")
    message = error.get("message") if isinstance(error, dict) else error
    after: float | None = None
    with suppress(ValueError):  # it may be a date, which we leave to the caller
        after = float(get_header(headers, "retry-after") or "")
    kind = _BY_STATUS.get(status, RequestError if status < 500 else BackendError)
    if isinstance(error, dict) and error.get("code") == ContextTooLong.code:
        kind = ContextTooLong
    return kind(str(message or f"The upstream answered with status {status}."), retry_after_s=after)


async def _sse(chunks: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    splitter = Splitter()
    async for chunk in chunks:
        for event in splitter.feed(chunk):
            if event.data != b"[DONE]":
                yield msgspec.json.decode(event.data)
    for event in splitter.close():
        if event.data != b"[DONE]":
            yield msgspec.json.decode(event.data)


async def _ndjson(chunks: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line)
    if rest.strip():
        yield msgspec.json.decode(rest)


async def _next(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(events, None)
