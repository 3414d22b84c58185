"""What the gateway answers for itself: health, readiness, metrics, receipts by call id, and a plain status page.

Health is for everybody; the rest is for callers on loopback and for holders of a virtual key, who see their own.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..app import App
from ..errors import Forbidden, NotFound
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.reading import receipt
from ..ledger.report import Query, Summary, summary
from ..money import format_usd
from .advice_pages import AdvicePages
from .clawrouter_pages import ClawRouterPages
from .doctor_pages import DoctorPages
from .experiment_pages import ExperimentPages
from .metrics import Metrics
from .model_lists import ModelLists
from .models import ModelPages

__all__ = ["Pages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_CALLS = "/pennyweight/calls/"
_SAFE = (
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
)


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
        self._doctor = DoctorPages(app, gate)
        self._pages: Mapping[str, Page] = {
            "/": self._status,
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics_page,
            "/pennyweight/summary": self._summary_json,
        }

    def find(self, request: HttpRequest) -> Page | None:
        if (page := self._experiments.find(request)) is not None:
            return page
        if request.path.startswith("/pennyweight/doctor"):
            return self._doctor.find(request)
        if request.method not in ("GET", "HEAD"):
            return None
        page = self._pages.get(request.path)
        if page is None and request.path.startswith(_CALLS):
            return self._call
        return page or self._advice.find(request) or self._clawrouter.find(request) or self._models.find(request)

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
        }
        text = self._metrics.text(gauges).encode()
        return HttpResponse(200, (("content-type", "text/plain; version=0.0.4; charset=utf-8"),), text)

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

    async def _status(self, request: HttpRequest) -> HttpResponse:
        tenant = self._viewer(request)
        found = await self._summary(tenant)
        page = _page(found, self._app, str(self._ledger) if tenant is None else "")
        headers = (("content-type", "text/html; charset=utf-8"), *_SAFE)
        return HttpResponse(200, headers, page.encode())

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


def _usd(pico: int | None) -> str | None:
    return None if pico is None else format_usd(pico, exact=True).lstrip("$")


_NO_CALLS = "<p>No calls yet. Point a client here: <code>pennyweight connect</code></p>"


def _page(found: Summary, app: App, ledger: str) -> str:
    total = found.total
    counters = app.clerk.counters
    rows = "".join(
        f"<tr><td>{html.escape(line.key or '(none)')}</td><td>{line.calls:,}</td><td>{line.input_tokens:,}</td>"
        f"<td>{line.cached_tokens:,}</td><td>{line.output_tokens:,}</td><td>{format_usd(line.cost)}</td>"
        f"<td>{format_usd(line.baseline)}</td><td>{format_usd(line.saved)} <small>{html.escape(line.basis)}</small>"
        "</td></tr>"
        for line in found.lines
    )
    unpriced = "".join(
        f"<li>{html.escape(u.provider)}/{html.escape(u.model)}: {u.calls:,} calls, {u.tokens:,} tokens</li>"
        for u in found.unpriced
    )
    trouble = (
        f"<p class=bad>Receipts are delayed: {html.escape(counters.last_error)}</p>" if counters.last_error else ""
    )
    providers = ", ".join(
        f"{html.escape(name)}{'' if p.configured or p.auth == 'none' else ' <small>(callers bring keys)</small>'}"
        for name, p in app.config.providers.items()
    )
    place = f"<dt>Ledger</dt><dd><code>{html.escape(ledger)}</code></dd>" if ledger else ""
    note = "<p>Savings of several optimizers overlap; only a holdout measures the total.</p>" if total.saved else ""
    cost = f"{format_usd(total.cost)} <small>untouched: {format_usd(total.baseline)}</small>"
    table = _TABLE.format(rows=rows) if rows else _NO_CALLS
    return f"""<!doctype html><html lang=en><meta charset=utf-8><title>Pennyweight</title>
<meta name=viewport content="width=device-width,initial-scale=1"><meta name=color-scheme content="light dark">
<style>{_STYLE}</style><h1>Pennyweight <small>{__version__}</small></h1>{trouble}
<dl class=figures><div><dt>Saved</dt><dd>{format_usd(total.saved)} <small>{html.escape(total.basis)}</small></dd></div>
<div><dt>Cost</dt><dd>{cost}</dd></div>
<div><dt>Calls</dt><dd>{total.calls:,}
<small>{total.replayed_calls:,} from the cache, {total.failed_calls:,} failed</small></dd></div>
<div><dt>Added latency</dt><dd>{total.added_p50_ms:.2f} ms
<small>p50; p99 {total.added_p99_ms:.2f} ms</small></dd></div>
</dl>{note}
<h2>By model</h2><div class=wide>{table}</div>
{"<h2>Without a price</h2><ul>" + unpriced + "</ul>" if unpriced else ""}
<h2>This gateway</h2>
<dl class=facts><dt>Optimize</dt><dd>{app.config.optimize}</dd><dt>Providers</dt><dd>{providers}</dd>
{place}<dt>Receipts</dt><dd>{counters.queued:,} waiting, {counters.lost:,} lost</dd></dl>
<p><small>All time, in US dollars. More: <code>pennyweight report</code>, <a href="/metrics">metrics</a>,
<a href="/readyz">readiness</a>, <a href="/v1/models">models</a></small></p></html>"""


_TABLE = """<table><thead><tr><th scope=col>Model<th scope=col>Calls<th scope=col>Input tokens
<th scope=col>of them cached<th scope=col>Output tokens<th scope=col>Cost<th scope=col>Untouched
<th scope=col>Saved</thead>
<tbody>{rows}</tbody></table>
"""

# Colours by name of their part, so that dark mode changes only the parts. No script, no font, no image from elsewhere.
_STYLE = """
:root{color-scheme:light dark;--ink:#1d2327;--quiet:#5a6470;--line:#d9dde3;--page:#fff;--bad:#a40000;--link:#0b57a8}
@media(prefers-color-scheme:dark){
:root{--ink:#e4e7eb;--quiet:#9aa4b0;--line:#343b44;--page:#15181c;--bad:#ff8a80;--link:#8ab8f0}}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:66rem;padding:0 1rem;
color:var(--ink);background:var(--page)}
h1{font-size:1.5rem} h2{font-size:1.1rem;margin:2rem 0 .5rem} small{color:var(--quiet);font-weight:400}
a{color:var(--link)} dd{margin:0} .bad{color:var(--bad);font-weight:600} code{overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem 2rem;margin:1.5rem 0}
.figures dt{color:var(--quiet)} .figures dd{font-size:1.5rem;font-variant-numeric:tabular-nums}
.figures small{display:block;font-size:.85rem}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem;overflow-wrap:anywhere}
.facts dt{color:var(--quiet)} .wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;white-space:nowrap}
td,th{padding:.4rem 0 .4rem 1.25rem;text-align:right} th{font-weight:600}
td:first-child,th:first-child{text-align:left;padding-left:0} tr{border-bottom:1px solid var(--line)}
"""
