"""The two pages of the ClawRouter contract, over a backend that lists models as providers do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pennyweight.call import Call
from pennyweight.config import load
from pennyweight.errors import Unreachable
from pennyweight.front.auth import Gate
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.clawrouter_pages import ClawRouterPages
from pennyweight.gateway.model_lists import ModelLists
from pennyweight.prices import open_book
from pennyweight.request import Reply
from pennyweight.stores.virtual_keys import KeyStore

KEY = "sk-test-0123456789abcdef"


class Lists:
    """Answers what each provider would to a request for its models; a provider without a list cannot be reached."""

    def __init__(self, **lists: bytes) -> None:
        self.lists = lists
        self.asked: list[str] = []

    async def open(self, call: Call) -> Reply:
        name = call.target.provider
        self.asked.append(f"{name} {call.request.path}?{call.request.query}")
        if name not in self.lists:
            raise Unreachable("no connection")
        return Reply(200, (), wire=call.target.wire, content=self.lists[name])


class Clock:
    seconds = 1_795_219_200.0

    def now(self) -> float:
        return self.seconds

    monotonic = now


class Spending:
    async def spent(self, tenant: str) -> int:
        return 10**12 if tenant == "team" else 0


def build(tmp_path: Path, backend: Lists, **env: str) -> tuple[ClawRouterPages, Any]:
    config = load(None, {"OPENAI_API_KEY": KEY, **env}, {"data_dir": tmp_path})
    keys = KeyStore(tmp_path)
    app: Any = SimpleNamespace(
        config=config, clock=Clock(), backend=backend, prices=open_book(), budgets=Spending(), keys=keys
    )
    return ClawRouterPages(app, Gate(config, keys), ModelLists(app)), app


def get(pages: ClawRouterPages, path: str, *headers: tuple[str, str]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    request = HttpRequest("GET", path, "", headers, b"", "127.0.0.1")
    page = pages.find(request)
    assert page is not None
    response = asyncio.run(page(request))  # type: ignore[arg-type]
    assert isinstance(response.body, bytes)
    return json.loads(response.body), response.headers


def ids(body: dict[str, Any]) -> dict[str, list[str]]:
    return {provider["id"]: [model["id"] for model in provider["models"]] for provider in body["providers"]}


def test_the_catalog_has_what_providers_list_at_our_prices(tmp_path: Path) -> None:
    backend = Lists(openai=b'{"data":[{"id":"gpt-4o"},{"id":"own-model"}]}')
    pages, app = build(tmp_path, backend)
    body, headers = get(pages, "/v1/catalog", ("x-request-id", "run:model:1"))
    assert ids(body) == {"openai": ["openai/gpt-4o", "openai/own-model"]}
    priced, unpriced = body["providers"][0]["models"]
    rates = app.prices.price("openai", "gpt-4o", app.clock.now()).rates
    assert priced["pricing"]["inputMicrosPerMillion"] == rates.input > 0
    assert "inputMicrosPerMillion" not in unpriced["pricing"]
    assert ("x-request-id", "run:model:1") in headers
    get(pages, "/v1/catalog")
    assert backend.asked == ["openai /v1/models?"]


def test_a_provider_that_does_not_answer_is_listed_from_the_price_book(tmp_path: Path) -> None:
    backend = Lists(openai=b'{"data":[{"id":"gpt-4o"}]}')
    pages, _ = build(tmp_path, backend, ANTHROPIC_API_KEY=KEY, OLLAMA_HOST="127.0.0.1")
    found = ids(get(pages, "/v1/catalog")[0])
    assert "anthropic/claude-haiku-4-5" in found["anthropic"]
    assert found["ollama"] == []
    assert "anthropic /v1/models?limit=1000" in backend.asked
    assert "ollama /api/tags?" in backend.asked


def test_usage_is_the_callers_own(tmp_path: Path) -> None:
    pages, app = build(tmp_path, Lists())
    key = app.keys.add("team", daily_usd=4)
    body, _ = get(pages, "/v1/usage", ("authorization", f"Bearer {key}"))
    assert body["budget"]["limitMicros"] == 4_000_000
    assert body["budget"]["spentMicros"] == 1_000_000
    assert body["usage"]["summary"] == {"requestCount": 0, "totalTokens": 0, "actualCostMicros": 0}
    assert get(pages, "/v1/usage")[0]["budget"]["configured"] is False


def test_other_paths_are_not_ours(tmp_path: Path) -> None:
    pages, _ = build(tmp_path, Lists())
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/usage"), ("GET", "/v1/catalog/x")):
        assert pages.find(HttpRequest(method, path, "", (), b"", "")) is None
