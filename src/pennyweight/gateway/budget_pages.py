"""`/pennyweight/budgets`: how budgets stand and what was told of them; beginning one anew; what a halted session was
about. Holders of a virtual key see their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from ..errors import NotFound
from ..front.http import HttpRequest, HttpResponse
from .admin import json_answer, order

if TYPE_CHECKING:
    from ..app import App
    from ..front.auth import Gate

__all__ = ["BudgetPages", "Reset"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_BUDGETS = "/pennyweight/budgets"
_RESET = "/pennyweight/budgets/reset"
_SESSIONS, _SUMMARY = "/pennyweight/sessions/", "/summary"


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which counters to begin anew: of a budget, of one tenant or subject (a session, an agent) of it."""

    budget: str
    tenant: str | None = None
    subject: str | None = None


class BudgetPages:
    """`find` gives the page for a request, None for what is none of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        path = request.path
        if request.method in ("GET", "HEAD"):
            if path == _BUDGETS:
                return self._show
            return self._summary if path.startswith(_SESSIONS) and path.endswith(_SUMMARY) else None
        return self._reset if request.method == "POST" and path == _RESET else None

    async def _show(self, request: HttpRequest) -> HttpResponse:
        tenant = self._gate.viewer(request)
        app = self._app
        states = await app.budgets.states(tenant=tenant)
        events = [event for event in app.alerts.events if tenant in (None, event.tenant)]
        body = {
            "store": app.config.budgeting.store,
            "budgets": states,
            "events": list(reversed(events)),
            "alerts": {"dropped": app.alerts.dropped, "failed": app.alerts.failed},
        }
        return json_answer(body)

    async def _reset(self, request: HttpRequest) -> HttpResponse:
        asked = order(self._gate, request, Reset)
        count = await self._app.budgets.reset(asked.budget, tenant=asked.tenant, subject=asked.subject)
        if not count:
            raise NotFound(f"There is no counter of a budget {asked.budget[:80]!r}. See GET {_BUDGETS}.")
        return json_answer({"reset": count})

    async def _summary(self, request: HttpRequest) -> HttpResponse:
        viewer = self._gate.viewer(request)
        tenant = viewer if viewer is not None else _tenant(request)
        session = unquote(request.path[len(_SESSIONS) : -len(_SUMMARY)])
        found = await self._app.halted.summary(tenant, session)
        if found is None:
            raise NotFound(
                f"No summary is kept of session {session[:80]!r} of {tenant[:80]!r}. A session gets one when a budget "
                "halts it."
            )
        return json_answer({"session": session, "tenant": tenant, "summary": found})


def _tenant(request: HttpRequest) -> str:
    for part in request.query.split("&"):
        name, _, value = part.partition("=")
        if name == "tenant" and value:
            return unquote(value)
    return "local"
