"""A provider on loopback that answers as recorded, keeps a prompt cache and sends an invoice. No key, no network.

It speaks Messages, Chat Completions and Responses, whole and streamed. An answer is found by what the request says
(see `prefix_cache.blocks`: cache marks and sampling fields do not matter), else the next recorded one that nobody has
had is given. What it counts and bills is its own business and shares no code with the gateway's ledger, so the two can
be held against each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from ..request import Usage, Wire
from . import shapes
from .http import Exchange, LoopbackServer
from .prefix_cache import PrefixCache, TooManyBreakpoints, blocks

__all__ = ["Cost", "Fault", "InvoiceLine", "ReplayProvider", "Seen", "provider_keys"]

Cost = Callable[[Wire, str, Usage, float], int | None]
"""(wire, model, usage, unix seconds) to pico-dollars at list prices; None: no price is known."""

_ROUTES = {
    "/messages": Wire.ANTHROPIC_MESSAGES,
    "/chat/completions": Wire.OPENAI_CHAT,
    "/responses": Wire.OPENAI_RESPONSES,
}


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong with one answer.

    status: an error body in the protocol's shape, with that status. html: a proxy's error page. hang: nothing comes.
    cut: the connection breaks after `after_chunks` chunks (for a whole answer: in its middle). error_event: a stream
    turns into an error there. slow: `delay_s` before every chunk. length: a whole answer with a wrong Content-Length.
    """

    kind: Literal["status", "html", "hang", "cut", "error_event", "slow", "length"]
    status: int = 500
    after_chunks: int = 3
    delay_s: float = 0.0
    headers: dict[str, str] = {}


class InvoiceLine(msgspec.Struct, frozen=True):
    """One billed request. `cost`: pico-dollars; None: no price is known. `complete`: the answer went out to its end."""

    at: float
    wire: Wire
    model: str
    usage: Usage
    cost: int | None
    complete: bool = True


class Seen(msgspec.Struct, frozen=True):
    """A request as it arrived, for tests that look at it from the upstream's side."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ReplayProvider:
    """`async with ReplayProvider(recorded, count=…, cost=…) as provider`: base URL in `provider.url`.

    recorded: (wire, request body, answer body) of each recorded call in order. count: tokens of a text. now: unix
    seconds; the prompt cache's clock, so a replay may run it at the speed of the recording.
    """

    def __init__(
        self,
        recorded: Iterable[tuple[Wire, Mapping[str, Any], Mapping[str, Any]]],
        *,
        count: Callable[[str], int],
        cost: Cost,
        now: Callable[[], float] = time.time,
        idle_s: float = 300.0,
        keep_seen: bool = False,
        port: int = 0,
    ) -> None:
        self._by_content: dict[bytes, list[int]] = defaultdict(list)
        self._answers: list[tuple[Wire, Mapping[str, Any]]] = []
        for wire, request, answer in recorded:
            self._by_content[_content(wire, request)].append(len(self._answers))
            self._answers.append((wire, answer))
        self._had: set[int] = set()
        self._count = count
        self._cost = cost
        self._now = now
        self._cache = PrefixCache(count, idle_s=idle_s)
        self._server = LoopbackServer(self._answer, port=port)
        self._numbers = itertools.count()
        self._faults: deque[Fault] = deque()
        self._lines: list[InvoiceLine] = []
        self._keep_seen = keep_seen
        self.seen: list[Seen] = []
        self.left = 0  # callers that hung up before the end

    @property
    def url(self) -> str:
        """Root of the server, without `/v1`."""
        return self._server.url

    async def __aenter__(self) -> ReplayProvider:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._server.__aexit__(*exc)

    def inject(self, *faults: Fault) -> None:
        """Let the next answers go wrong, one fault each."""
        self._faults.extend(faults)

    def invoice(self) -> tuple[int, list[InvoiceLine]]:
        """What the provider charges, in pico-dollars, and every billed request. Lines without a price count 0."""
        return sum(line.cost or 0 for line in self._lines), list(self._lines)

    async def _answer(self, exchange: Exchange) -> None:
        if self._keep_seen:
            self.seen.append(
                Seen(exchange.method, exchange.path, exchange.query, tuple(exchange.headers), exchange.body)
            )
        path = exchange.path.removeprefix("/v1")
        if exchange.method == "GET":
            return await self._get(exchange, path)
        if path == "/messages/count_tokens":
            return await self._count_tokens(exchange)
        wire = _ROUTES.get(path)
        if wire is None:
            return await exchange.send(404, _error(Wire.OPENAI_CHAT, 404, f"No route {exchange.path}."), headers=_JSON)
        fault = self._faults.popleft() if self._faults else None
        if fault is not None and await self._refuse(exchange, wire, fault):
            return None
        try:
            body = msgspec.json.decode(exchange.body)
            model = body["model"]
            parts = self._cache.account(wire, body, at=self._now(), tenant=_tenant(exchange))
            turn = self._find(wire, body)
        except TooManyBreakpoints as error:
            return await exchange.send(400, _error(wire, 400, f"{error}."), headers=_JSON)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            return await exchange.send(
                400, _error(wire, 400, f"Invalid request: {type(error).__name__}."), headers=_JSON
            )
        usage = msgspec.structs.replace(parts, output_tokens=sum(map(self._count, shapes.output_texts(wire, turn))))
        answer = shapes.finish(wire, turn, usage, model=model)
        if not body.get("stream"):
            return await self._whole(exchange, wire, answer, usage, fault)
        asked = body.get("stream_options")
        include_usage = isinstance(asked, dict) and asked.get("include_usage") is True
        return await self._stream(exchange, wire, answer, usage, fault, include_usage=include_usage)

    def _find(self, wire: Wire, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The recorded answer to this request, in its protocol."""
        places = self._by_content.get(_content(wire, body), ())
        unused = (place for place in range(len(self._answers)) if place not in self._had)
        place = next((p for p in places if p not in self._had), next(iter(places), next(unused, None)))
        if place is None:
            return shapes.body_of(wire, shapes.Turn("Nothing is recorded for this request."), model="")
        self._had.add(place)
        recorded_wire, answer = self._answers[place]
        if recorded_wire is wire:
            return answer
        return shapes.body_of(wire, shapes.turn_of(recorded_wire, answer), model="", number=place)

    async def _refuse(self, exchange: Exchange, wire: Wire, fault: Fault) -> bool:
        """Answers with a fault that leaves no room for an answer; False: the fault is one of the answer itself."""
        match fault.kind:
            case "status":
                body = _error(wire, fault.status, "Injected by the test.")
                await exchange.send(fault.status, body, headers=_JSON | fault.headers)
            case "html":
                page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
                await exchange.send(fault.status, page, headers={"content-type": "text/html"} | fault.headers)
            case "hang":
                await self._until_left(asyncio.Event().wait())
            case _:
                return False
        return True

    async def _whole(
        self, exchange: Exchange, wire: Wire, answer: Mapping[str, Any], usage: Usage, fault: Fault | None
    ) -> None:
        body = msgspec.json.encode(answer)
        headers = self._headers(wire) | _JSON
        self._bill(wire, str(answer["model"]), usage)
        match fault:
            case Fault(kind="cut"):
                await exchange.start(200, headers | {"content-length": str(len(body))})
                await exchange.write(body[: len(body) // 2])
                exchange.cut()
            case Fault(kind="length"):
                await exchange.start(200, headers | {"content-length": str(len(body) + 100)})
                await exchange.write(body)
                exchange.cut()
            case Fault(kind="slow", delay_s=delay_s):
                await self._until_left(asyncio.sleep(delay_s))
                await exchange.send(200, body, headers=headers)
            case _:
                await exchange.send(200, body, headers=headers)

    async def _stream(
        self,
        exchange: Exchange,
        wire: Wire,
        answer: Mapping[str, Any],
        usage: Usage,
        fault: Fault | None,
        *,
        include_usage: bool,
    ) -> None:
        model, sent = str(answer["model"]), 0
        chunks = list(shapes.stream(wire, answer, include_usage=include_usage))
        try:
            await exchange.start(200, self._headers(wire) | {"content-type": "text/event-stream; charset=utf-8"})
            async for chunk in self._paced(chunks, fault):
                await exchange.write(chunk)
                sent += 1
            if sent < len(chunks) and fault is not None and fault.kind == "cut":
                self._bill(wire, model, _part(usage, sent / len(chunks)), complete=False)
                return exchange.cut()
            if sent < len(chunks):
                await exchange.write(_error_event(wire))
                await exchange.end()
                return self._bill(wire, model, _part(usage, sent / len(chunks)), complete=False)
            self._bill(wire, model, usage)
            await exchange.end()
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            if sent < len(chunks):
                self._bill(wire, model, _part(usage, sent / len(chunks)), complete=False)
            raise

    async def _paced(self, chunks: list[bytes], fault: Fault | None) -> AsyncIterator[bytes]:
        """The chunks that go out: all, or those before the fault; with a pause before each where it is slow."""
        if fault is not None and fault.kind in ("cut", "error_event"):
            chunks = chunks[: min(fault.after_chunks, len(chunks) - 1)]
        for chunk in chunks:
            if fault is not None and fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            yield chunk

    async def _until_left(self, waiting: Any) -> None:
        try:
            await waiting
        except asyncio.CancelledError:
            self.left += 1
            raise

    def _bill(self, wire: Wire, model: str, usage: Usage, *, complete: bool = True) -> None:
        at = self._now()
        self._lines.append(InvoiceLine(at, wire, model, usage, self._cost(wire, model, usage, at), complete))

    def _headers(self, wire: Wire) -> dict[str, str]:
        number = f"req_replay{next(self._numbers):06d}"
        if wire is Wire.ANTHROPIC_MESSAGES:
            return {"request-id": number, "anthropic-ratelimit-requests-remaining": "999"}
        return {"x-request-id": number, "openai-version": "2020-10-01", "x-ratelimit-remaining-requests": "999"}

    async def _count_tokens(self, exchange: Exchange) -> None:
        try:
            parts = blocks(Wire.ANTHROPIC_MESSAGES, msgspec.json.decode(exchange.body))
        except (msgspec.DecodeError, AttributeError, TypeError) as error:
            message = f"Invalid request: {type(error).__name__}."
            return await exchange.send(400, _error(Wire.ANTHROPIC_MESSAGES, 400, message), headers=_JSON)
        tokens = sum(self._count(text) for part in parts for text in part.texts)
        return await exchange.send(200, msgspec.json.encode({"input_tokens": tokens}), headers=_JSON)

    async def _get(self, exchange: Exchange, path: str) -> None:
        if path != "/models":
            return await exchange.send(404, _error(Wire.OPENAI_CHAT, 404, f"No route {exchange.path}."), headers=_JSON)
        models = sorted({str(answer.get("model")) for _, answer in self._answers})
        data = [{"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "replay"} for model in models]
        return await exchange.send(200, msgspec.json.encode({"object": "list", "data": data}), headers=_JSON)


def provider_keys(url: str) -> dict[str, str]:
    """The environment that points a gateway at this provider, with keys that are none."""
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "replay-no-key",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "replay-no-key",
    }


_JSON = {"content-type": "application/json"}


def _content(wire: Wire, body: Mapping[str, Any]) -> bytes:
    """What tells one request from another, whatever protocol's spelling of cache marks and options it carries."""
    digest = hashlib.blake2b(wire.value.encode(), digest_size=16)
    with contextlib.suppress(AttributeError, TypeError):
        for part in blocks(wire, body):
            digest.update(part.key)
    return digest.digest()


def _part(usage: Usage, share: float) -> Usage:
    return msgspec.structs.replace(usage, output_tokens=int(usage.output_tokens * share))


def _tenant(exchange: Exchange) -> str:
    return exchange.header("x-api-key") or exchange.header("authorization").removeprefix("Bearer ")


_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _error(wire: Wire, status: int, message: str) -> bytes:
    kind = _KINDS.get(status, "api_error")
    if wire is Wire.ANTHROPIC_MESSAGES:
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": None})
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})


def _error_event(wire: Wire) -> bytes:
    message = "Overloaded"
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            data = msgspec.json.encode({"type": "error", "error": {"type": "overloaded_error", "message": message}})
            return b"event: error\ndata: " + data + b"\n\n"
        case Wire.OPENAI_RESPONSES:
            fields = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 99}
            return b"event: error\ndata: " + msgspec.json.encode(fields) + b"\n\n"
        case _:
            error = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
            return b"data: " + msgspec.json.encode(error) + b"\n\n"
