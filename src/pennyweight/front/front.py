"""HTTP requests to calls on the App, and replies to HTTP answers: the one entrance that all ways in share.

The hot path is plain functions: find the endpoint, tell who asks, open the pipeline, hand the chunks on. Errors leave
in the shape of the caller's own protocol. This module knows no socket.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import getrandbits
from typing import get_args

from ..app import App
from ..call import Call, Credential, Optimize, Step
from ..errors import BadRequest, NotFound, PennyweightError
from ..money import format_usd
from ..request import Headers, Operation, Reply, Request, Wire, get_header
from ..wire import codec
from .auth import CREDENTIAL_HEADERS, Gate
from .endpoints import Endpoint, find, wire_of
from .http import HttpRequest, HttpResponse
from .usage_cost import wants_cost, with_cost

__all__ = ["Front", "error_response"]

log = logging.getLogger(__name__)

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]
Pages = Callable[[HttpRequest], Page | None]

_CREDENTIALS = CREDENTIAL_HEADERS | {"host"}
_NO_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Front:
    """`pages` finds what is not for a provider: health, receipts, the status page."""

    def __init__(self, app: App, gate: Gate, pages: Pages = lambda _request: None) -> None:
        self.app = app
        self._gate = gate
        self._pages = pages

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Never raises for what a caller or an upstream did: every failure is an answer."""
        try:
            self._gate.check_host(request)
            page = self._pages(request)
            if page is not None:
                return await page(request)
            endpoint = find(request)
            if endpoint is None:
                raise NotFound(
                    f"There is nothing at {request.method} {request.path[:200]}. See /healthz and /v1/models."
                )
            if get_header(request.headers, "upgrade") is not None:
                return _no_websocket(endpoint)
            return await self._call(request, endpoint)
        except PennyweightError as error:
            return error_response(wire_of(request.path), error)
        except Exception as error:  # a bug of ours: no traceback and no text may reach the caller
            log.exception("request failed", extra={"error": type(error).__name__})
            broken = PennyweightError("Pennyweight failed on this request. Its log has the details.")
            return error_response(wire_of(request.path), broken)

    async def _call(self, request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
        tenant, credential = self._gate.admit(request)
        call = self._make(request, endpoint, tenant, credential)
        app = self.app
        direct = call.request.operation is Operation.OTHER and request.method in _NO_BODY
        try:
            reply = await (app.backend.open(call) if direct else app.pipeline.open(call))
        except PennyweightError as error:
            response = error_response(endpoint.wire, error)
            response.headers += (("x-pennyweight-call", call.id),)
            return response
        if wants_cost(request.headers, native=endpoint.native) and reply.ok:
            reply = with_cost(reply, call, app.accounts)
        return self._answer(reply, call)

    def _make(self, http: HttpRequest, endpoint: Endpoint, tenant: str, credential: Credential | None) -> Call:
        app = self.app
        raw = http.body
        request = Request(
            endpoint.wire,
            raw,
            tuple([h for h in http.headers if h[0] not in _CREDENTIALS]),
            endpoint.path,
            http.query,
            http.method,
            endpoint.operation,
        )
        model = ""
        if endpoint.operation is not Operation.OTHER:
            if not raw.isascii():
                _check_utf8(raw)
            model = request.model
        resolved = app.resolve(model, endpoint.wire, endpoint.provider)
        return Call(
            id=_call_id(app.clock.now()),
            identity=app.identify(request, tenant),
            original=request,
            request=request,
            target=resolved,
            at=app.clock.now(),
            optimize=self._optimize(http.headers, endpoint),
            risk_left=app.config.pipeline.risk,
            credential=credential,
        )

    def _optimize(self, headers: Headers, endpoint: Endpoint) -> Optimize:
        if endpoint.operation is Operation.OTHER:
            return "off"
        asked = get_header(headers, "x-pennyweight-optimize")
        if asked is None:
            return self.app.config.optimize
        for level in get_args(Optimize):
            if asked == level:
                return level  # type: ignore[no-any-return]
        raise BadRequest(f"x-pennyweight-optimize {asked[:40]!r} is not known. Use off, safe or max.")

    def _answer(self, reply: Reply, call: Call) -> HttpResponse:
        headers = (*reply.headers, ("x-pennyweight-call", call.id))
        if reply.content is not None:
            headers += self._told(reply)
            return HttpResponse(reply.status, headers, reply.content, reply.aclose)
        assert reply.chunks is not None
        return HttpResponse(reply.status, headers, reply.chunks, reply.aclose)

    def _told(self, reply: Reply) -> Headers:
        """Cost, saving and trail of a whole answer."""
        told: Headers = ()
        if reply.done is not None and reply.done.usage is not None:
            cost = self.app.cost(reply.done.charges)
            told += (("x-pennyweight-cost", "unpriced" if cost is None else format_usd(cost)),)
        steps = [step for step in reply.trail if isinstance(step, Step)]
        if steps:
            saved = sum(step.saving - step.spent for step in steps if step.verdict == "accepted")
            told += (("x-pennyweight-saved", format_usd(saved)), ("x-pennyweight-trail", _trail(steps)))
        return told


def error_response(wire: Wire, error: PennyweightError) -> HttpResponse:
    """An error of ours in the shape of the caller's protocol."""
    headers: Headers = (("content-type", "application/json"),)
    if error.retry_after_s is not None:
        headers += (("retry-after", str(max(1, round(error.retry_after_s)))),)
    return HttpResponse(
        error.status, headers, codec(wire).error(error.status, error.kind, error.message, code=error.code)
    )


def _no_websocket(endpoint: Endpoint) -> HttpResponse:
    """426: what makes a client that tries a WebSocket first fall back to HTTP after one probe."""
    message = "WebSocket transport is not offered here. Use HTTP."
    body = codec(endpoint.wire).error(426, "invalid_request_error", message)
    return HttpResponse(426, (("content-type", "application/json"), ("upgrade", "HTTP/1.1")), body)


def _call_id(now: float) -> str:
    """Ids sort by time, so that the ledger's index grows at its end."""
    return f"call_{int(now * 1000):011x}{getrandbits(64):016x}"


def _check_utf8(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The request body is not UTF-8 (byte {error.start}).") from None


def _trail(steps: list[Step]) -> str:
    """`exact_cache=abstained, translate=lost(top_k)`: names and verdicts, as a header can carry them."""
    told = [f"{s.optimizer}={s.verdict.value}" + (f"({s.why})" if s.verdict == "lost" else "") for s in steps]
    return ", ".join(told).encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")[:2000]
