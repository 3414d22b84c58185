"""`GET /pennyweight/advice`: findings over a window as JSON, and what the adaptive loop did. For the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from ..errors import BadRequest, Forbidden
from ..front.http import HttpRequest, HttpResponse
from ..ledger.advice import Finding, Queue, advise, changes, read, span_s

if TYPE_CHECKING:
    from ..app import App
    from ..front.auth import Gate

__all__ = ["AdvicePages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_FRESH_S = 15.0  # a dashboard asks every few seconds; advice changes slowly


class AdvicePages:
    """`find` gives the page for a request, None for what is none of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._one_at_a_time = asyncio.Lock()
        self._kept: dict[float, tuple[float, tuple[Finding, ...]]] = {}  # by window: when, and what

    def find(self, request: HttpRequest) -> Page | None:
        return {"/pennyweight/advice": self._advice, "/pennyweight/advice/changes": self._changes}.get(request.path)

    async def _advice(self, request: HttpRequest) -> HttpResponse:
        """`?window=24h`: a list of findings, worst first."""
        self._operator(request)
        length_s = _window(request.query)
        async with self._one_at_a_time:
            found = await self._findings(length_s)
        return _json(msgspec.to_builtins(found))

    async def _findings(self, length_s: float) -> tuple[Finding, ...]:
        app, now = self._app, self._app.clock.monotonic()
        kept = self._kept.get(length_s)
        if kept is not None and now - kept[0] < _FRESH_S:
            return kept[1]
        counters, settings = app.clerk.counters, app.config.advice
        queue = Queue(
            waiting=counters.queued,
            limit=app.config.ledger.queue,
            lost=counters.lost,
            delayed=counters.delayed,
            unlearnt=counters.unlearnt,
            trouble=counters.last_error,
        )
        path = app.config.data_dir / "pennyweight.db"
        window = await asyncio.to_thread(read, path, now=app.clock.now(), length_s=length_s, settings=settings)
        found = advise(window, app.accounts, settings, queue=queue)
        self._kept = {length: old for length, old in self._kept.items() if now - old[0] < _FRESH_S}
        self._kept[length_s] = (now, found)
        return found

    async def _changes(self, request: HttpRequest) -> HttpResponse:
        """The newest fifty, newest first; null is no limit."""
        self._operator(request)
        return _json(await asyncio.to_thread(changes, self._app.config.data_dir / "pennyweight.db", limit=50))

    def _operator(self, request: HttpRequest) -> None:
        if self._gate.viewer(request) is not None:
            raise Forbidden("This page shows all tenants: ask for it on the gateway's own machine.")


def _window(query: str) -> float:
    """Seconds. Raises BadRequest."""
    text = parse_qs(query).get("window", ["24h"])[-1]
    length_s = span_s(text)
    if length_s is None:
        raise BadRequest(f"window {text[:20]!r} is no span of time; write 1h, 24h, 7d or 4w.")
    return length_s


def _json(value: Any) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return HttpResponse(200, headers, msgspec.json.encode(value))
