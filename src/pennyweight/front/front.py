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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import get_args
from urllib.parse import unquote

import msgspec

from ..app import App
from ..backends.budget.budgets import SPENT
from ..call import Call, Credential, Identity, Optimize, Outcome, Step, Target, Verdict
from ..errors import BadRequest, Forbidden, NotFound, PennyweightError
from ..hits import STILL
from ..money import PicoUSD, format_usd
from ..policy import HOLDOUT
from ..request import Charge, Done, Headers, Operation, Reply, Request, Wire, too_deep
from ..wire import codec
from ..wire.translate.handed_back import OWN, is_own
from .auth import CREDENTIAL_HEADERS, Caller, Gate
from .endpoints import Endpoint, find, keeps_nothing, wire_of
from .http import HttpRequest, HttpResponse
from .ids import call_id
from .repeated import Repeated
from .usage_cost import billed, wants_cost, with_cost

__all__ = ["Front", "error_response"]

log = logging.getLogger(__name__)

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]
Pages = Callable[[HttpRequest], Page | None]

_NOT_OF_THE_CALL = CREDENTIAL_HEADERS | {"host", "connection", "content-length", "keep-alive", "transfer-encoding"}
_NO_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_ROUTES, _MODEL_CHARS = 8, 200  # models remembered for one head, and how long a name that is remembered may be
_TRAILS = 256
_OTHER = Operation.OTHER


class _Asked(msgspec.Struct, frozen=True, eq=False):
    """What the head of a request for a provider says: where to, by whom, and the headers that are the call's."""

    endpoint: Endpoint
    caller: Caller
    headers: Headers
    fields: Mapping[str, str]
    costs: bool  # the caller is told the cost in the answer's usage
    level: Optimize | None  # None: a word that is not known
    routes: dict[str, _Route] = {}  # of the models that were asked for: configurations do not change under a head


class _Route(msgspec.Struct, frozen=True, eq=False):
    target: Target
    credential: Credential | None  # the caller's, where it goes there
    chosen: bool  # the model's name stands for a choice


class Front:
    """`pages` finds what is not for a provider: health, receipts, the dashboard."""

    def __init__(self, app: App, gate: Gate, pages: Pages = lambda _request: None) -> None:
        self.app = app
        self._gate = gate
        self._pages = pages
        self._risk = app.config.pipeline.risk
        self._trails: dict[tuple[Step, ...], tuple[bool, tuple[str, str]]] = {}  # whether one changed the call
        self.repeated = Repeated(app, gate)

    async def respond(self, request: HttpRequest, over: Callable[[], None] | None = None) -> HttpResponse:
        """Never raises for what a caller or an upstream did: every failure is an answer. over: that of the response;
        called here where there is none, because the caller left."""
        call: Call | None = None
        asked: _Asked | None = None
        try:
            try:
                room = request.room
                found = (room.get(self) if room is not None else None) or self._look(request)
                if isinstance(found, _Asked):
                    asked = found
                    call, route = self._make(request, asked)
                    app = self.app
                    direct = call.request.operation is _OTHER and request.method in _NO_BODY
                    reply = await (app.backend.open(call) if direct else app.entrance.open(call))
                    if asked.costs and reply.ok:
                        response = self._answer(with_cost(reply, call, app.accounts), call, route)
                    else:
                        response = self._answer(reply, call, route)
                        if STILL in call.facts:
                            self.repeated.keep(request, call, reply, response)
                else:
                    response = found if isinstance(found, HttpResponse) else await found(request)
            except Exception as error:  # noqa: BLE001 - a bug of ours: no traceback may reach the caller
                response = self._failed(request, asked, call, error)
        except BaseException:
            if over is not None:
                over()
            raise
        response.over = over
        return response

    def _look(self, request: HttpRequest) -> _Asked | Page | HttpResponse:
        """What a head that is new asks for. Raises Forbidden, Unauthenticated, NotFound, StoreError."""
        self._gate.check_host(request)
        page = self._pages(request)
        if page is not None:
            return page
        endpoint = find(request)
        if endpoint is None:
            raise NotFound(f"There is nothing at {request.method} {request.path[:200]}. See /healthz and /v1/models.")
        if "upgrade" in request.fields:
            return _no_websocket(endpoint)
        return self._asked(request, endpoint)

    def _asked(self, request: HttpRequest, endpoint: Endpoint) -> _Asked:
        """What the request's head says. Raises Unauthenticated, StoreError."""
        caller = self._gate.caller(request)
        headers = tuple([h for h in request.headers if h[0] not in _NOT_OF_THE_CALL])
        costs = wants_cost(request.fields, native=endpoint.native)
        fields = dict(reversed(headers))
        asked = _Asked(endpoint, caller, headers, fields, costs, self._level(fields, endpoint))
        room = request.room
        if room is not None:
            if room.get(Front) is not self:  # of one that a new configuration has replaced
                room.clear()
                room[Front] = self
            if self._gate.lasting(caller):
                room[self] = asked
        return asked

    def _failed(self, request: HttpRequest, asked: _Asked | None, call: Call | None, error: Exception) -> HttpResponse:
        """asked, call: as far as it came."""
        if isinstance(error, RecursionError):
            return error_response(wire_of(request.path), _too_deep())
        if not isinstance(error, PennyweightError):
            where = "".join(traceback.format_tb(error.__traceback__))  # an exception's own words can hold a prompt
            log.error("request failed: %s\n%s", type(error).__name__, where)
            broken = PennyweightError("Pennyweight failed on this request. Its log has the details.")
            return error_response(wire_of(request.path), broken)
        if asked is None:
            return error_response(wire_of(request.path), error)
        if call is None:
            return self._no_call(request, asked.endpoint, asked.caller.tenant, error)
        response = error_response(asked.endpoint.wire, error)
        response.headers += (("x-pennyweight-call", call.id), *self.app.budgets.headers(call))
        return response

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
        call = Call(call_id(at), Identity(tenant=tenant), request, request, target, at, optimize="off")
        self.app.clerk.submit(Outcome(call, Done(complete=False), error.status, "", error=type(error).__name__))
        response = error_response(endpoint.wire, error)
        response.headers += (("x-pennyweight-call", call.id),)
        return response

    def _make(self, http: HttpRequest, asked: _Asked) -> tuple[Call, _Route]:
        app = self.app
        arrived = app.clock.monotonic()
        raw = http.body
        endpoint = asked.endpoint
        operation = endpoint.operation
        request = Request(endpoint.wire, raw, asked.headers, endpoint.path, http.query, http.method, operation)
        told = request.__dict__  # see `Request.told`
        told["fields"], told["room"] = asked.fields, http.room
        model = ""
        if operation is not _OTHER:
            if not raw.isascii():
                _check_utf8(raw)
            if _DEEP_PARSER and too_deep(raw, app.config.server.max_depth):
                raise _too_deep()
            app.read(request, asked.caller.tenant)
            model = request.envelope.model or ""
        else:
            if "." in endpoint.path or "%" in endpoint.path or "\\" in endpoint.path:
                _check_path(endpoint.path)
            _check_kept_elsewhere(endpoint.path)
        route = asked.routes.get(model) or self._route(asked, model)
        if operation is Operation.OTHER and asked.caller.key is not None and route.credential is None:
            self._check_own(endpoint, http)
        level = asked.level
        if level is None:
            word = asked.fields["x-pennyweight-optimize"]
            raise BadRequest(f"x-pennyweight-optimize {word[:40]!r} is not known. Use off, safe or max.")
        now = app.clock.now()
        call = Call(
            call_id(now),
            app.identify(request, asked.caller.tenant),
            request,
            request,
            route.target,
            now,
            level,
            (),
            self._risk,
            route.credential,
            arrived,
        )
        return call, route

    def _check_own(self, endpoint: Endpoint, http: HttpRequest) -> None:
        """Where tenants do not share the operator's account they have no part in it. Raises Forbidden."""
        if not self.app.config.server.tenants_share_account and not keeps_nothing(endpoint, http.method):
            raise Forbidden(
                f"{http.method} {endpoint.path[:200]} may be about what the provider keeps for the gateway's account, "
                "which tenants do not share here (server.tenants_share_account is false). "
                "Use an account of your own there."
            )

    def _route(self, asked: _Asked, model: str) -> _Route:
        """Where a call for that model goes. Raises NotFound."""
        app, endpoint = self.app, asked.endpoint
        target = app.resolve(model, endpoint.wire, endpoint.provider)
        credential = asked.caller.credential
        if credential is not None:
            named = endpoint.provider is not None
            if not app.passes_on(credential, model, endpoint.wire, target, named=named):
                credential = None
        route = _Route(target, credential, app.is_choice(model, endpoint.wire))
        if len(asked.routes) < _ROUTES and len(model) < _MODEL_CHARS:
            asked.routes[model] = route
        return route

    def _level(self, fields: Mapping[str, str], endpoint: Endpoint) -> Optimize | None:
        if endpoint.operation is Operation.OTHER:
            return "off"
        asked = fields.get("x-pennyweight-optimize")
        if asked is None:
            return self.app.config.optimize
        return next((level for level in get_args(Optimize) if asked == level), None)

    def _answer(self, reply: Reply, call: Call, route: _Route) -> HttpResponse:
        facts = call.facts
        headers = [*reply.headers, ("x-pennyweight-call", call.id)]
        if SPENT in facts:
            headers += self.app.budgets.headers(call)
        if facts.get("arm") == HOLDOUT:
            headers.append(("x-pennyweight-arm", HOLDOUT))  # why no optimizer did anything here
        if route.chosen and reply.ok and ("answered" in facts or reply.asked_at is not None):
            headers += self._chosen(call, reply)
        if reply.content is not None:
            headers += self._told(reply, call)
            return HttpResponse(reply.status, tuple(headers), reply.content, reply.aclose, None, reply.end)
        assert reply.chunks is not None
        return HttpResponse(reply.status, tuple(headers), reply.chunks, reply.aclose)

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

    def _told(self, reply: Reply, call: Call) -> list[tuple[str, str]]:
        """Cost, saving and trail of a whole answer."""
        told: list[tuple[str, str]] = []
        cost: PicoUSD | None = None
        done = reply.done
        if done is not None and done.usage is not None:
            cost = self.app.cost(billed(call, done))
            told.append(("x-pennyweight-cost", "unpriced" if cost is None else format_usd(cost)))
        if reply.trail:
            known = self._trails.get(reply.trail)  # most calls have the same: nobody had anything to offer
            if known is None:
                if len(self._trails) >= _TRAILS:
                    self._trails.clear()
                changed = any(step.verdict is Verdict.ACCEPTED for step in reply.trail)
                known = self._trails[reply.trail] = changed, ("x-pennyweight-trail", _trail(reply.trail))
            changed, trail = known
            if not changed:
                told += (_NOTHING_SAVED, trail)
                return told
            saved = self._saved(reply, call, cost)
            routed = "routing" in call.facts
            word = "estimated" if routed or (done is not None and done.charges) else "computed"
            told += (("x-pennyweight-saved", f"{format_usd(saved)} {word}" if saved else "$0.00"), trail)
        return told

    def _saved(self, reply: Reply, call: Call, cost: PicoUSD | None) -> PicoUSD:
        """What the accepted steps foresaw; of a call that went elsewhere, what the tokens that were billed would have
        cost where it was to go: how long an answer gets is not known before."""
        saved, routed = 0, False
        for step in reply.trail:
            if step.verdict is Verdict.ACCEPTED:
                saved += step.saving - step.spent
                routed = routed or step.optimizer == "routing"
        if not routed or cost is None or reply.done is None or reply.done.usage is None:
            return saved
        usage = reply.done.charges[-1].usage if reply.done.charges else reply.done.usage  # of a kept answer: its own
        home = self.app.cost((Charge(call.target.provider, call.target.model, usage, call.at),))
        return saved if home is None else home - cost


_NOTHING_SAVED = ("x-pennyweight-saved", "$0.00")


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


def _too_deep() -> BadRequest:
    return BadRequest("The request body is nested too deeply. Flatten it; server.max_depth says how deep it may be.")


_DEEP_PARSER = sys.version_info >= (3, 12)  # before, the interpreter's limit of 1,000 levels holds for the parser too


def _check_path(path: str) -> None:
    """A path may not climb out of the provider's base URL, however it is encoded."""
    plain = unquote(unquote(path)).replace("\\", "/")
    if any(part in (".", "..") for part in plain.split("/")):
        raise BadRequest(f"The path {path[:200]!r} has '.' or '..' in it, which is not passed on. Write it out.")


def _check_kept_elsewhere(path: str) -> None:
    """What we made ourselves no provider has. Raises NotFound."""
    plain = unquote(path)
    found = next((part for part in plain.split("/") if is_own(part)), None) if OWN in plain else None
    if found is not None:
        raise NotFound(
            f"{found[:100]!r} was translated from a provider that keeps no answers, so it cannot be read back, listed, "
            "cancelled or deleted. Go on from it by previous_response_id, or send the whole input; it is forgotten "
            "after references.ttl_s."
        )


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
