"""What the gateway answers for itself: health, readiness, metrics, receipts by call id, and the dashboard at `/`.

Health and the dashboard's own files are for everybody; the rest is for callers on loopback and for holders of a virtual
key, who see their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..app import App
from ..backends.local.told import told
from ..errors import Forbidden, NotFound
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.reading import receipt
from ..ledger.report import Query, Summary, summary
from ..money import format_usd
from .advice_pages import AdvicePages
from .budget_pages import BudgetPages
from .cache_pages import CachePages
from .clawrouter_pages import ClawRouterPages
from .dashboard.routes import Dashboard
from .doctor_pages import DoctorPages
from .experiment_pages import ExperimentPages
from .lane_pages import LanePages
from .metrics import Metrics
from .model_lists import ModelLists
from .models import ModelPages
from .selection_pages import SelectionPages
from .tier_pages import TierPages
from .tool_pages import ToolPages

__all__ = ["Pages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_CALLS = "/pennyweight/calls/"


class Pages:
    """`find` gives the page for a request, None for what is no page of ours."""

    def __init__(self, app: App, gate: Gate, metrics: Metrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics
        lists = ModelLists(app)
        self._models = ModelPages(app, gate, lists)
        self._advice = AdvicePages(app, gate)
        self._clawrouter = ClawRouterPages(app, gate, lists)
        self._experiments = ExperimentPages(app, gate)
        self._caches = CachePages(app, gate)
        self._budgets = BudgetPages(app, gate)
        self._doctor = DoctorPages(app, gate)
        self._tools = ToolPages(app, gate)
        self._lanes = LanePages(app, gate)
        self._tiers = TierPages(app, gate)
        self._selection = SelectionPages(app, gate)
        self._dashboard = Dashboard(app, gate, self._offers)
        self._pages: Mapping[str, Page] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics_page,
            "/pennyweight/summary": self._summary_json,
            "/pennyweight/local": self._local,
        }

    def find(self, request: HttpRequest) -> Page | None:
        for pages in (self._experiments, self._tools, self._lanes, self._caches, self._selection, self._budgets):
            if (page := pages.find(request)) is not None:
                return page
        if request.path.startswith("/pennyweight/doctor"):
            return self._doctor.find(request)
        if request.method not in ("GET", "HEAD"):
            return None
        page = self._pages.get(request.path)
        if page is None and request.path.startswith(_CALLS):
            return self._call
        of_others = (self._tiers, self._advice, self._dashboard, self._clawrouter, self._models)
        return page or next((found for pages in of_others if (found := pages.find(request))), None)

    def _offers(self, path: str) -> bool:
        return any(self.find(HttpRequest(method, path, "", (), b"", "")) is not None for method in ("GET", "POST"))

    async def _health(self, request: HttpRequest) -> HttpResponse:
        return _json({"status": "ok", "version": __version__})

    async def _ready(self, request: HttpRequest) -> HttpResponse:
        """503 while receipts cannot be written: answers still flow, but the ledger is behind.

        A ledger that was damaged and rebuilt is told until a person has taken its note away.
        """
        counters = self._app.clerk.counters
        ready = not counters.last_error and not self._app.database.rebuilding
        damages = msgspec.to_builtins(self._app.database.damages())
        body = {
            "status": "degraded" if not ready else "ledger was damaged" if damages else "ok",
            "receipts": msgspec.to_builtins(counters),
            "damaged": damages,
        }
        return _json(body, status=200 if ready else 503)

    async def _metrics_page(self, request: HttpRequest) -> HttpResponse:
        self._operator(request)
        counters = self._app.clerk.counters
        gauges = {
            "pennyweight_receipts_queued": counters.queued,
            "pennyweight_receipts_lost": counters.lost,
            "pennyweight_receipts_delayed": counters.delayed,
            **_forecasts(self._app),
            **_lanes(self._app),
        }
        text = self._metrics.text(gauges, self._app.kv.stats()).encode()
        return HttpResponse(200, (("content-type", "text/plain; version=0.0.4; charset=utf-8"),), text)

    async def _local(self, request: HttpRequest) -> HttpResponse:
        self._operator(request)
        return _json(told(self._app.machine))

    async def _call(self, request: HttpRequest) -> HttpResponse:
        """One receipt. It is written within 200 ms of the answer's end, so a very young one is waited for."""
        tenant = self._viewer(request)
        call_id = request.path[len(_CALLS) :]
        found = await asyncio.to_thread(receipt, self._ledger, call_id)
        for _ in range(3):
            if found is not None:
                break
            await self._app.clerk.flush(0.5)
            found = await asyncio.to_thread(receipt, self._ledger, call_id)
            if found is None:
                await asyncio.sleep(0.05)  # its answer is out, and what it left is being closed at this moment
        if found is None or (tenant is not None and found.tenant != tenant):
            raise NotFound(f"There is no receipt for {call_id[:80]!r}. The id is in the answer's x-pennyweight-call.")
        saved = None if found.cost is None or found.baseline is None else found.baseline - found.cost
        told = {
            "cost_usd": _usd(found.cost),
            "baseline_usd": _usd(found.baseline),
            "saved_usd": _usd(saved),
            **msgspec.to_builtins(found),
        }
        return _json(told)

    async def _summary_json(self, request: HttpRequest) -> HttpResponse:
        found = await self._summary(tenant := self._viewer(request))
        damages = self._app.database.damages() if tenant is None else ()
        return _json(msgspec.to_builtins(found) | {"damaged": msgspec.to_builtins(damages)})

    async def _summary(self, tenant: str | None) -> Summary:
        return await asyncio.to_thread(summary, self._ledger, Query(by="model", tenant=tenant))

    @property
    def _ledger(self) -> Path:
        return self._app.config.data_dir / "pennyweight.db"

    def _viewer(self, request: HttpRequest) -> str | None:
        """Whose calls the caller may see: None for all. Raises Unauthenticated or Forbidden."""
        return self._gate.viewer(request)

    def _operator(self, request: HttpRequest) -> None:
        if self._gate.viewer(request) is not None:
            raise Forbidden("This page shows all tenants: ask for it on the gateway's own machine.")


def _json(value: Any, *, status: int = 200) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return HttpResponse(status, headers, msgspec.json.encode(value))


def _forecasts(app: App) -> dict[str, float]:
    """How good forecasts of cached tokens were since the start, over all providers; nothing before the first."""
    every = app.economy.actual.accuracy().values()
    calls = sum(one.calls for one in every)
    if not calls:
        return {}
    tokens, predictions = sum(one.prompt_tokens for one in every), sum(one.predictions for one in every)
    return {
        "pennyweight_cache_forecast_calls": calls,
        "pennyweight_cache_forecast_error_tokens": sum(one.error_tokens for one in every) / calls,
        "pennyweight_cache_forecast_error_share": sum(one.error_tokens for one in every) / max(tokens, 1.0),
        "pennyweight_cache_forecast_brier": sum(one.brier_sum for one in every) / max(predictions, 1),
    }


def _lanes(app: App) -> dict[str, float]:
    """How many callers wait for a batch, and how many batches are on their way; nothing where there are none."""
    if app.lanes.batches is None:
        return {}
    callers, batches = app.lanes.batches.waiting
    return {"pennyweight_lane_callers_waiting": callers, "pennyweight_lane_batches": batches}


def _usd(pico: int | None) -> str | None:
    return None if pico is None else format_usd(pico, exact=True).replace("$", "", 1)
