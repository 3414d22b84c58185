"""Calls that were answered "later", for their own tenant: `GET /pennyweight/lanes` lists them, `GET` of one gives its
answer as if it had been waited for, or 202 while it is not there, `DELETE` drops it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..app import App
from ..errors import NotFound
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..money import format_usd
from ..routing.batches import Deferred
from .admin import json_answer

__all__ = ["LanePages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_BASE = "/pennyweight/lanes"
_SHOWN = 1_000


class LanePages:
    """`find` gives the page for a request, None for what is not of these, or where nothing is answered later."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        if not request.path.startswith(_BASE) or self._app.lanes.later is None:
            return None
        if request.path == _BASE:
            return self._list if request.method in ("GET", "HEAD") else None
        if not request.path.startswith(f"{_BASE}/"):
            return None
        return {"GET": self._one, "HEAD": self._one, "DELETE": self._drop}.get(request.method)

    async def _list(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        return json_answer([_shown(call) for call in await self._app.lanes.deferred.of(tenant, limit=_SHOWN)])

    async def _one(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        name = request.path[len(_BASE) + 1 :]
        found = await self._app.lanes.deferred.get(name, tenant)
        if found is None:
            raise _nothing(name)
        if found.state == "waiting":
            return json_answer(_shown(found), status=202)
        headers = (
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("x-pennyweight-call", found.id),
            ("x-pennyweight-cost", "unpriced" if found.cost is None else format_usd(found.cost)),
        )
        return HttpResponse(found.status, headers, found.answer)

    async def _drop(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        name = request.path[len(_BASE) + 1 :]
        later = self._app.lanes.later
        if later is None or not await later.drop(name, tenant):
            raise _nothing(name)
        return json_answer({"id": name, "deleted": True})


def _nothing(name: str) -> NotFound:
    return NotFound(f"There is no call {name[:80]!r} that is answered later. Its id came with the answer 202.")


def _shown(call: Deferred) -> dict[str, Any]:
    return {
        "id": call.id,
        "object": "pennyweight.deferred",
        "status": call.state,
        "http_status": call.status or None,
        "at": call.at,
        "until": call.until,
        "done_at": call.done_at,
        "cost_pico_usd": call.cost,
        "webhook": call.webhook,
        "delivered": call.told,
    }
