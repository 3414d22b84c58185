"""HTTP requests to calls on the App, and replies to HTTP answers: the one entrance that all ways in share.

The hot path is plain functions: find the endpoint, tell who asks, open the pipeline, hand the chunks on. Errors leave
in the shape of the caller's own protocol. This module knows no socket.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from random import getrandbits
from typing import get_args
from urllib.parse import unquote

from ..app import App
from ..call import Call, Credential, Identity, Optimize, Outcome, Step, Target, Verdict
from ..errors import BadRequest, NotFound, PennyweightError
from ..money import format_usd
from ..policy import HOLDOUT
from ..request import Done, Headers, Operation, Reply, Request, Wire, too_deep
from ..wire import codec
from .auth import CREDENTIAL_HEADERS, Gate
from .endpoints import Endpoint, find, wire_of
from .http import HttpRequest, HttpResponse
from .usage_cost import wants_cost, with_cost

__all__ = ["Front", "error_response"]

log = logging.getLogger(__name__)

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]
Pages = Callable[[HttpRequest], Page | None]

_NOT_OF_THE_CALL = CREDENTIAL_HEADERS | {"host", "connection", "content-length", "keep-alive", "transfer-encoding"}
_NO_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Front:
    """`pages` finds what is not for a provider: health, receipts, the dashboard."""

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
            if "upgrade" in request.fields:
                return _no_websocket(endpoint)
            return await self._call(request, endpoint)
        except PennyweightError as error:
            return error_response(wire_of(request.path), error)
        except RecursionError:
            return error_response(wire_of(request.path), _too_deep())
        except Exception as error:  # noqa: BLE001 - a bug of ours: no traceback and no text may reach the caller
            where = "".join(traceback.format_tb(error.__traceback__))  # an exception's own words can hold a prompt
            log.error("request failed: %s\n%s", type(error).__name__, where)
            broken = PennyweightError("Pennyweight failed on this request. Its log has the details.")
            return error_response(wire_of(request.path), broken)

    async def _call(self, request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
        tenant, credential = self._gate.admit(request)
        try:
            call = self._make(request, endpoint, tenant, credential)
        except PennyweightError as error:
            return self._no_call(request, endpoint, tenant, error)
        app = self.app
        direct = call.request.operation is Operation.OTHER and request.method in _NO_BODY
        try:
            reply = await (app.backend.open(call) if direct else app.entrance.open(call))
        except PennyweightError as error:
            response = error_response(endpoint.wire, error)
            response.headers += (("x-pennyweight-call", call.id), *app.budgets.headers(call))
            return response
        if wants_cost(request.fields, native=endpoint.native) and reply.ok:
            reply = with_cost(reply, call, app.accounts)
        return self._answer(reply, call)

    def refused(self, request: HttpRequest, error: PennyweightError) -> HttpResponse:
        """The answer to a request that could not be read whole, with a receipt if we know whose it was."""
        endpoint = find(request)
        if endpoint is not None and endpoint.operation is not Operation.OTHER:
            with contextlib.suppress(PennyweightError):
                self._gate.check_host(request)
                tenant, _ = self._gate.admit(request)
                return self._no_call(request, endpoint, tenant, error)
        return error_response(wire_of(request.path), error)

    def _no_call(self, http: HttpRequest, endpoint: Endpoint, tenant: str, error: PennyweightError) -> HttpResponse:
        """A request that never became a call leaves a receipt all the same: of what was refused, not of its body."""
        request = Request(
            endpoint.wire, b"{}", path=endpoint.path, query=http.query, method=http.method, operation=endpoint.operation
        )
        target = Target(endpoint.provider or "", "", endpoint.wire)
        at = self.app.clock.now()
        call = Call(_call_id(at), Identity(tenant=tenant), request, request, target, at, optimize="off")
        self.app.clerk.submit(Outcome(call, Done(complete=False), error.status, "", error=type(error).__name__))
        response = error_response(endpoint.wire, error)
        response.headers += (("x-pennyweight-call", call.id),)
        return response

    def _make(self, http: HttpRequest, endpoint: Endpoint, tenant: str, credential: Credential | None) -> Call:
        app = self.app
        arrived = app.clock.monotonic()
        raw = http.body
        request = Request(
            endpoint.wire,
            raw,
            tuple([h for h in http.headers if h[0] not in _NOT_OF_THE_CALL]),
            endpoint.path,
            http.query,
            http.method,
            endpoint.operation,
        )
        model = ""
        if endpoint.operation is not Operation.OTHER:
            if not raw.isascii():
                _check_utf8(raw)
            if _DEEP_PARSER and too_deep(raw, app.config.server.max_depth):
                raise _too_deep()
            app.read(request)
            model = request.model
        elif "." in endpoint.path or "%" in endpoint.path or "\\" in endpoint.path:
            _check_path(endpoint.path)
        resolved = app.resolve(model, endpoint.wire, endpoint.provider)
        if credential is not None:
            named = endpoint.provider is not None
            if not app.passes_on(credential, model, endpoint.wire, resolved, named=named):
                credential = None
        now = app.clock.now()
        return Call(
            id=_call_id(now),
            identity=app.identify(request, tenant),
            original=request,
            request=request,
            target=resolved,
            at=now,
            optimize=self._optimize(http.fields.get("x-pennyweight-optimize"), endpoint),
            risk_left=app.config.pipeline.risk,
            credential=credential,
            arrived=arrived,
        )

    def _optimize(self, asked: str | None, endpoint: Endpoint) -> Optimize:
        if endpoint.operation is Operation.OTHER:
            return "off"
        if asked is None:
            return self.app.config.optimize
        for level in get_args(Optimize):
            if asked == level:
                return level  # type: ignore[no-any-return]
        raise BadRequest(f"x-pennyweight-optimize {asked[:40]!r} is not known. Use off, safe or max.")

    def _answer(self, reply: Reply, call: Call) -> HttpResponse:
        headers = (*reply.headers, ("x-pennyweight-call", call.id), *self.app.budgets.headers(call))
        if call.facts.get("arm") == HOLDOUT:
            headers += (("x-pennyweight-arm", HOLDOUT),)  # why no optimizer did anything here
        if (
            reply.ok
            and ("answered" in call.facts or reply.asked_at is not None)
            and (chosen := self._chosen(call, reply))
        ):
            headers += chosen
        if reply.content is not None:
            headers += self._told(reply)
            return HttpResponse(reply.status, headers, reply.content, reply.aclose)
        assert reply.chunks is not None
        return HttpResponse(reply.status, headers, reply.chunks, reply.aclose)

    def _chosen(self, call: Call, reply: Reply) -> Headers:
        """Which model answers, and of which tier, where the caller named a choice."""
        virtual = self.app.virtual(call)
        if virtual is None:
            return ()
        target = call.facts.get("answered")
        if target is None:
            routed = any(s.optimizer == "routing" and s.verdict is Verdict.ACCEPTED for s in reply.trail)
            target = call.facts["routing"].option.target if routed else call.target
        tier = next((c.tier for c in virtual.candidates if c.target == target), "")
        told: Headers = (("x-pennyweight-model", target.name),)
        return (*told, ("x-pennyweight-tier", tier)) if tier else told

    def _told(self, reply: Reply) -> Headers:
        """Cost, saving and trail of a whole answer."""
        told: Headers = ()
        if reply.done is not None and reply.done.usage is not None:
            cost = self.app.cost(reply.done.charges)
            told += (("x-pennyweight-cost", "unpriced" if cost is None else format_usd(cost)),)
        if reply.trail:
            saved = 0
            for step in reply.trail:
                if step.verdict is Verdict.ACCEPTED:
                    saved += step.saving - step.spent
            told += (
                ("x-pennyweight-saved", format_usd(saved) if saved else "$0.00"),
                ("x-pennyweight-trail", _trail(reply.trail)),
            )
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


def _too_deep() -> BadRequest:
    return BadRequest("The request body is nested too deeply. Flatten it; server.max_depth says how deep it may be.")


_DEEP_PARSER = sys.version_info >= (3, 12)  # before, the interpreter's limit of 1,000 levels holds for the parser too


def _check_path(path: str) -> None:
    """A path may not climb out of the provider's base URL, however it is encoded."""
    plain = unquote(unquote(path)).replace("\\", "/")
    if any(part in (".", "..") for part in plain.split("/")):
        raise BadRequest(f"The path {path[:200]!r} has '.' or '..' in it, which is not passed on. Write it out.")


def _check_utf8(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The request body is not UTF-8 (byte {error.start}).") from None


def _trail(steps: Sequence[Step]) -> str:
    """`exact_cache=abstained, translate=lost(top_k)`: names and verdicts, as a header can carry them."""
    told = ", ".join(
        [
            f"{s.optimizer}={s.verdict}({s.why})" if s.verdict is Verdict.LOST else f"{s.optimizer}={s.verdict}"
            for s in steps
        ]
    )
    return (told if told.isascii() and told.isprintable() else _UNPRINTABLE.sub("?", told))[:2000]


_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
