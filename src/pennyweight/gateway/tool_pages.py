"""The cache of tool results over HTTP, for those who run tools: ask before running, tell afterwards.

`POST /v1/tools/cache/lookup` {"name", "arguments"}, `…/store` {"name", "arguments", "content"}, `…/purge` {"name"?}.
Everybody sees the results of their own tenant only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ..app import App
from ..errors import BadRequest, StoreError
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..money import parse_usd
from .admin import body_as, json_answer

__all__ = ["ToolPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_BASE = "/v1/tools/cache/"


class _Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    session: str = ""
    max_age_s: float | None = None


class _Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`took_s`, `cost_usd`: what running it took, which later hits save."""

    name: str
    content: msgspec.Raw
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    session: str = ""
    took_s: float = 0.0
    cost_usd: float = 0.0


class _Purge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str | None = None


class ToolPages:
    """`find` gives the page for a request, None for what is not of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._pages: dict[str, Page] = {"lookup": self._lookup, "store": self._store, "purge": self._purge}

    def find(self, request: HttpRequest) -> Page | None:
        if request.method != "POST" or not request.path.startswith(_BASE):
            return None
        return self._pages.get(request.path[len(_BASE) :])

    async def _lookup(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        asked = body_as(request, _Lookup)
        found = await self._app.tools.lookup(
            tenant,
            asked.name,
            bytes(asked.arguments),
            session=asked.session or request.fields.get("x-pennyweight-session", ""),
            max_age_s=asked.max_age_s,
        )
        if found is None:
            return json_answer({"hit": False})
        told = {"hit": True, "content": found.content, "age_s": round(found.age_s, 3), "source": found.source}
        return json_answer(told)

    async def _store(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        told = body_as(request, _Store)
        if not (0 <= told.took_s < 1e9 and 0 <= told.cost_usd < 1e9):
            raise BadRequest("took_s and cost_usd must be numbers from 0 on.")
        try:
            ttl_s = await self._app.tools.store(
                tenant,
                told.name,
                bytes(told.arguments),
                told.content,
                session=told.session or request.fields.get("x-pennyweight-session", ""),
                took_s=told.took_s,
                cost=int(parse_usd(repr(round(told.cost_usd, 15)))),  # a thousandth of what money is counted in
            )
        except StoreError:  # the runner has its result all the same
            return json_answer({"stored": False})
        return json_answer({"stored": True, "ttl_s": ttl_s})

    async def _purge(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        return json_answer({"purged": await self._app.tools.purge(tenant, body_as(request, _Purge).name)})
