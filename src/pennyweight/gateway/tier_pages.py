"""`GET /pennyweight/tiers`, for the operator: shares of tiers beside their goals, and how each target is now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ..app import App
from ..config.tiers import aimed, ranked, routed_names
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.reading import is_made, reading
from ..ledger.tiers import Share, as_object, shares, taken
from ..request import Wire
from ..stores.database import FILE
from .admin import json_answer, operator

__all__ = ["TierPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

SPAN_S = 7 * 86_400.0


class TierPages:
    """`find` gives the page for a request, None for what is not of these and where there are no tiers."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        return self._page if request.path == "/pennyweight/tiers" and self._app.config.tiers else None

    async def _page(self, request: HttpRequest) -> HttpResponse:
        operator(self._gate, request)
        config = self._app.config
        rows = await asyncio.to_thread(self._read)
        told = as_object(rows, {tier.name: tier.share for tier in config.tiers})
        for tier in told["tiers"]:
            for target in tier["targets"]:
                target["now"] = self._now(target["target"])
        return json_answer({"days": SPAN_S / 86_400.0, **told})

    def _now(self, name: str) -> dict[str, Any] | None:
        target = aimed(self._app.config.providers, name, Wire.OPENAI_CHAT)
        return None if target is None else msgspec.to_builtins(self._app.lookout(target))

    def _read(self) -> list[Share]:
        config = self._app.config
        path = config.data_dir / FILE
        if not is_made(path):
            return shares({}, ranked(config))
        with reading(path) as connection:
            found = taken(connection, routed_names(config), since=self._app.clock.now() - SPAN_S)
        return shares(found, ranked(config))
