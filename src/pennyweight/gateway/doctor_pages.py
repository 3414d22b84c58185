"""The cache doctor over HTTP, for the operator: what it found, and switching on what the gateway can do itself.

`GET /pennyweight/doctor` is a list of findings, the dearest first; `GET /pennyweight/doctor.html` the same as a page;
`POST /pennyweight/doctor/apply` with {"id": …} edits pennyweight.toml, which the gateway then takes by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from ..app import OPTIMIZERS, App
from ..config import files
from ..config.edit import doing, switch_on
from ..errors import BadRequest, NotFound
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.doctor import Group, grouped
from ..ledger.doctor.shown import as_object, page
from ..ledger.doctor.stored import read
from ..stores.database import FILE
from .admin import json_answer, operator, order

__all__ = ["DoctorPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

SPAN_S = 7 * 86_400.0


class _Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class DoctorPages:
    """`find` gives the page for a request, None for what is not of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        if request.method in ("GET", "HEAD"):
            return {"/pennyweight/doctor": self._list, "/pennyweight/doctor.html": self._page}.get(request.path)
        if request.method == "POST" and request.path == "/pennyweight/doctor/apply":
            return self._apply
        return None

    async def _list(self, request: HttpRequest) -> HttpResponse:
        operator(self._gate, request)
        return json_answer([as_object(group) for group in await self._groups()])

    async def _page(self, request: HttpRequest) -> HttpResponse:
        operator(self._gate, request)
        text = page(await self._groups(), about="Calls through the gateway in 7 days.", now=self._app.clock.now())
        headers = (
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        )
        return HttpResponse(200, headers, text.encode())

    async def _groups(self) -> tuple[Group, ...]:
        await self._app.doctor.flush()
        path, since = self._app.config.data_dir / FILE, self._app.clock.now() - SPAN_S
        findings = await asyncio.to_thread(read, path, since=since)
        return grouped(findings, on=doing(self._app.config), known=OPTIMIZERS, live=True)

    async def _apply(self, request: HttpRequest) -> HttpResponse:
        """Raises NotFound for a finding that is not there, BadRequest for one that nothing here can be done about."""
        wanted = order(self._gate, request, _Apply).id
        group = next((group for group in await self._groups() if group.id == wanted), None)
        if group is None:
            raise NotFound(f"There is no finding {wanted[:40]!r} of the last 7 days. See GET /pennyweight/doctor.")
        if not group.applicable:
            raise BadRequest(f"Only its client can do this: {group.setting or group.fix}")
        path = self._app.config.source
        if path is None:
            raise BadRequest(
                "The gateway runs without a configuration file. Make one: pennyweight doctor --apply. Then restart."
            )
        before = files.read(path) or ""
        after = switch_on(before, group.apply)
        backup = files.write(path, after, now=datetime.now(UTC)) if after != before else None
        return json_answer(
            {
                "id": group.id,
                "applied": group.apply,
                "changed": after != before,
                "diff": files.difference(path, before, after),
                "backup": str(backup) if backup is not None else None,
            }
        )
