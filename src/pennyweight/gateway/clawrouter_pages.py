"""`GET /v1/catalog` and `GET /v1/usage`: asks providers for their models and the ledger for the bill."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..call import Call, Identity, Target
from ..config import Provider
from ..errors import PennyweightError
from ..front.http import HttpRequest, HttpResponse
from ..ledger.report import Query, summary
from ..money import Rates
from ..request import Operation, Request, Wire
from .clawrouter import Spent, catalog, listed_models, request_id, usage

if TYPE_CHECKING:
    from ..app import App
    from ..front.auth import Gate

__all__ = ["ClawRouterPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


class ClawRouterPages:
    """`find` gives the page for a request, None for what is not of this contract.

    A provider is asked for its models with the gateway's own key, all of them at once; one that does not tell within
    `ask_s` is listed with the models that the price book knows. What they told is kept for `keep_s`.
    """

    def __init__(self, app: App, gate: Gate, *, ask_s: float = 3.0, keep_s: float = 60.0) -> None:
        self._app = app
        self._gate = gate
        self._ask_s = ask_s
        self._keep_s = keep_s
        self._models: dict[str, list[str]] = {}
        self._told_at = float("-inf")

    def find(self, request: HttpRequest) -> Page | None:
        if request.method != "GET":
            return None
        return {"/v1/catalog": self._catalog, "/v1/usage": self._usage}.get(request.path)

    async def _catalog(self, request: HttpRequest) -> HttpResponse:
        self._gate.admit(request)
        now = self._app.clock.monotonic()
        if now - self._told_at > self._keep_s:
            self._models = await self._ask()
            self._told_at = now
        return _json(catalog(self._app.config, self._models, self._rates), request)

    async def _usage(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        app = self._app
        path = app.config.data_dir / "pennyweight.db"
        total = (await asyncio.to_thread(summary, path, Query(tenant=tenant))).total
        spent = Spent(
            requests=total.calls,
            tokens=total.tokens_used,
            cost=total.cost,
            today=await app.budget.spent(tenant),
            limit=app.keys.daily_limit(tenant),
        )
        return _json(usage(spent, now=app.clock.now()), request)

    def _rates(self, provider: str, model: str) -> Rates | None:
        price = self._app.prices.price(provider, model, self._app.clock.now())
        return price.rates if price is not None else None

    async def _ask(self) -> dict[str, list[str]]:
        providers = [provider for provider in self._app.config.providers.values() if provider.configured]
        told = await asyncio.gather(*(self._listed(provider) for provider in providers))
        return {provider.name: models for provider, models in zip(providers, told, strict=True)}

    async def _listed(self, provider: Provider) -> list[str]:
        wire = provider.wires[0]
        path, query = ("/api/tags", "") if wire is Wire.OLLAMA else ("/v1/models", "")
        headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
        if wire is Wire.ANTHROPIC_MESSAGES:
            query, headers = "limit=1000", (*headers, ("anthropic-version", "2023-06-01"))
        request = Request(wire, b"", headers, path, query, "GET", Operation.OTHER)
        call = Call(
            id="call_" + secrets.token_hex(12),
            identity=Identity(),
            original=request,
            request=request,
            target=Target(provider.name, "", wire),
            at=self._app.clock.now(),
            optimize="off",
        )
        try:
            async with asyncio.timeout(self._ask_s):
                reply = await self._app.backend.open(call)
                try:
                    models = listed_models(wire, await reply.read()) if reply.ok else []
                finally:
                    await reply.aclose()
        except (PennyweightError, TimeoutError):
            models = []
        return models or self._priced(provider)

    def _priced(self, provider: Provider) -> list[str]:
        """The models that the price book knows at a provider; their names are usually the provider's own."""
        book = self._app.prices.catalogue
        name = book.provider(provider.prices or provider.name)
        if name is None or provider.moved:
            return []
        rows = [{"id": entry.id} for entry in book.providers[name].entries if ":" not in entry.id]
        return listed_models(Wire.OPENAI_CHAT, msgspec.json.encode({"data": rows}))


def _json(body: dict[str, Any], request: HttpRequest) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"), *request_id(request.headers))
    return HttpResponse(200, headers, msgspec.json.encode(body))
