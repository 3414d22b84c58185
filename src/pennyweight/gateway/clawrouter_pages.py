"""`GET /v1/catalog` and `GET /v1/usage`: what OpenClaw reads of models and of the bill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..front.http import HttpRequest, HttpResponse
from ..ledger.report import Query, summary
from ..money import Rates
from .clawrouter import Spent, catalog, conversing, request_id, usage
from .model_lists import ModelLists

if TYPE_CHECKING:
    from ..app import App
    from ..front.auth import Gate

__all__ = ["ClawRouterPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


class ClawRouterPages:
    """`find` gives the page for a request, None for what is not of this contract."""

    def __init__(self, app: App, gate: Gate, lists: ModelLists) -> None:
        self._app = app
        self._gate = gate
        self._lists = lists

    def find(self, request: HttpRequest) -> Page | None:
        if request.method != "GET":
            return None
        return {"/v1/catalog": self._catalog, "/v1/usage": self._usage}.get(request.path)

    async def _catalog(self, request: HttpRequest) -> HttpResponse:
        self._gate.admit(request)
        models = {name: conversing(rows) for name, rows in (await self._lists.rows()).items()}
        return _json(catalog(self._app.config, models, self._rates), request)

    async def _usage(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        app = self._app
        path = app.config.data_dir / "pennyweight.db"
        total = (await asyncio.to_thread(summary, path, Query(tenant=tenant))).total
        spent = Spent(
            requests=total.calls,
            tokens=total.tokens_used,
            cost=total.cost,
            today=await app.budgets.spent(tenant),
            limit=app.keys.daily_limit(tenant),
        )
        return _json(usage(spent, now=app.clock.now()), request)

    def _rates(self, provider: str, model: str) -> Rates | None:
        price = self._app.prices.price(provider, model, self._app.clock.now())
        return price.rates if price is not None else None


def _json(body: dict[str, Any], request: HttpRequest) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"), *request_id(request.headers))
    return HttpResponse(200, headers, msgspec.json.encode(body))
