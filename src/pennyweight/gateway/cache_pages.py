"""What caches did and keep, over HTTP: `GET /pennyweight/caches` tells, `POST /pennyweight/caches/purge` drops.

Both are the operator's. The figures are those of `pennyweight cache stats --json`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ..app import App
from ..errors import BadRequest
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.functions import function_lines
from ..ledger.hits import hit_lines, told
from ..stores.purge import Wanted
from ..stores.sqlite import FILE
from .admin import json_answer, operator, order

__all__ = ["CachePages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


class Purge(Wanted, frozen=True, forbid_unknown_fields=True):
    """What an operator sends: what is to go. `everything`: has to be said where nothing else is."""

    all: bool = False


class CachePages:
    """`find` gives the page for a request, None for what is not of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        if request.method in ("GET", "HEAD") and request.path == "/pennyweight/caches":
            return self._stats
        if request.method == "POST" and request.path == "/pennyweight/caches/purge":
            return self._purge
        return None

    async def _stats(self, request: HttpRequest) -> HttpResponse:
        operator(self._gate, request)
        await self._app.hits.flush()
        path = self._app.config.data_dir / FILE
        lines = await asyncio.to_thread(hit_lines, path)
        functions = await asyncio.to_thread(function_lines, path)
        tiers: list[Any] = [msgspec.to_builtins(tier) for tier in self._app.kv.stats()]
        return json_answer({**told(lines, functions), "stores": tiers})

    async def _purge(self, request: HttpRequest) -> HttpResponse:
        asked = order(self._gate, request, Purge)
        wanted = Wanted(asked.tenant, asked.model, asked.older_than_s, asked.key, asked.cache)
        if wanted.everything and not asked.all:
            raise BadRequest('Name a tenant, model, older_than_s, key or cache; {"all": true} drops everything.')
        return json_answer({"purged": await self._app.purge(wanted)})
