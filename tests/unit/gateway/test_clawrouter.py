"""What OpenClaw's ClawRouter provider would make of our catalog and usage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pennyweight.config import Config, load, resolve
from pennyweight.front.endpoints import find
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.clawrouter import Spent, catalog, conversing, request_id, usage
from pennyweight.money import Rates

KEY = "sk-test-0123456789abcdef"
RATES = Rates(input=3_000_000, output=15_000_000, cache_read=300_000, cache_write_5m=3_750_000)
MODELS = {
    "openai": [{"id": "gpt-5.5"}],
    "anthropic": [{"id": "claude-x"}],
    "openrouter": [{"id": "z-ai/glm-5"}],
    "ollama": [{"id": "llama3:8b"}],
}


def config(tmp_path: Path, text: str = "", **env: str) -> Config:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    return load(path, {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, **env})


def priced(provider: str, model: str) -> Rates | None:
    return RATES if model != "unknown" else None


def usable(body: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """The models OpenClaw would offer: id to (api, path under the root, model name sent)."""
    offered = {}
    for provider in body["providers"]:
        assert provider["nativeBaseUrl"].startswith("/v1/native/")
        formats = [route["requestFormat"] for route in provider["routes"] if "POST" in route["methods"]]
        for model in provider["models"]:
            able = model["capabilities"]
            if provider["openaiCompatible"] and "llm.responses" in able:
                offered[model["id"]] = ("responses", "/v1/responses", model["id"])
            elif provider["openaiCompatible"] and "llm.chat" in able:
                offered[model["id"]] = ("chat", "/v1/chat/completions", model["id"])
            elif "llm.messages" in able and "anthropic.messages" in formats:
                path = provider["nativeBaseUrl"] + "/v1/messages"
                offered[model["id"]] = ("messages", path, model["upstream"])
    return offered


def test_every_model_is_usable_and_comes_back_to_its_provider(tmp_path: Path) -> None:
    settings = config(tmp_path, OPENROUTER_API_KEY=KEY, OLLAMA_HOST="127.0.0.1:11434")
    offered = usable(catalog(settings, MODELS, priced))
    assert {id: api for id, (api, _, _) in offered.items()} == {
        "openai/gpt-5.5": "responses",
        "anthropic/claude-x": "messages",
        "openrouter/z-ai/glm-5": "chat",
        "ollama/llama3:8b": "chat",
    }
    for id, (_, path, sent) in offered.items():
        endpoint = find(HttpRequest("POST", path, "", (), b"", ""))
        assert endpoint is not None
        provider, _, model = id.partition("/")
        if endpoint.provider is not None:
            assert (endpoint.provider, endpoint.path, sent) == (provider, "/v1/messages", model)
        else:
            target = resolve(settings, sent, endpoint.wire).target
            assert (target.provider, target.model) == (provider, model)


def test_only_configured_providers_are_listed(tmp_path: Path) -> None:
    assert [p["id"] for p in catalog(config(tmp_path), MODELS, priced)["providers"]] == ["openai", "anthropic"]


def test_names_from_routes_are_offered_as_they_are(tmp_path: Path) -> None:
    text = (
        '[[routes]]\nmodel="fast"\nprovider="openai"\nrename="gpt-5-nano"\n[[routes]]\nmodel="x-*"\nprovider="openai"'
    )
    rows = catalog(config(tmp_path, text), {}, priced)["providers"][0]["models"]
    assert [(row["id"], row["upstream"]) for row in rows] == [("fast", "gpt-5-nano")]


def test_prices_are_micros_per_million_and_absent_when_unknown(tmp_path: Path) -> None:
    rows = catalog(config(tmp_path), {"openai": [{"id": "gpt-5.5"}, {"id": "unknown"}]}, priced)["providers"][0][
        "models"
    ]
    assert rows[0]["pricing"] == {
        "inputMicrosPerMillion": 3_000_000,
        "outputMicrosPerMillion": 15_000_000,
        "cachedInputMicrosPerMillion": 300_000,
        "cacheWrite5mInputMicrosPerMillion": 3_750_000,
        "cacheWrite1hInputMicrosPerMillion": 3_000_000,
        "defaultMaxOutputTokens": 32_768,
    }
    assert rows[1]["pricing"] == {"defaultMaxOutputTokens": 8_192}


def test_a_price_that_is_no_whole_number_stays_exact_enough(tmp_path: Path) -> None:
    rates = Rates(input=Fraction(1, 2), output=1)
    rows = catalog(config(tmp_path), {"openai": [{"id": "m"}]}, lambda *_: rates)["providers"][0]["models"]
    assert rows[0]["pricing"]["inputMicrosPerMillion"] == 0.5


def test_usage_tells_the_budget_of_the_day() -> None:
    spent = Spent(requests=3, tokens=1200, cost=2_500_000_000_000, today=1_250_000_000_000, limit=5 * 10**12)
    body = usage(spent, now=1_795_219_200.0)
    assert body["budget"] == {
        "configured": True,
        "ledger": "pennyweight",
        "windowKey": "day/2026-11-21",
        "limitMicros": 5_000_000,
        "spentMicros": 1_250_000,
        "remainingMicros": 3_750_000,
    }
    assert body["usage"]["summary"] == {"requestCount": 3, "totalTokens": 1200, "actualCostMicros": 2_500_000}


def test_usage_without_a_limit_says_so() -> None:
    assert usage(Spent(), now=0.0)["budget"] == {"configured": False, "ledger": "pennyweight"}


@pytest.mark.parametrize(
    ("sent", "back"),
    [("run-1:model:2", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("a\r\nx: y", False), ("", False)],
)
def test_a_request_id_goes_back_when_it_is_one(sent: str, back: bool) -> None:
    assert request_id((("x-request-id", sent),)) == ((("x-request-id", sent),) if back else ())
    assert request_id(()) == ()


def test_only_models_that_converse_are_listed() -> None:
    names = ["gpt-5.5", "text-embedding-3-small", "whisper-1", "llama3:8b", "nomic-embed-text"]
    assert conversing({"id": name} for name in names) == [{"id": "gpt-5.5"}, {"id": "llama3:8b"}]


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("gpt-5.5", True),
        ("gpt-5-mini", True),
        ("o3", True),
        ("o4-mini", True),
        ("openai/gpt-oss-120b", True),
        ("gpt-5-chat-latest", False),
        ("gpt-5-pro", False),
        ("gpt-4o", False),
        ("o1-mini", False),
        ("ollama3", False),
    ],
)
def test_reasoning_models_are_called_with_reasoning(tmp_path: Path, name: str, reasons: bool) -> None:
    (row,) = catalog(config(tmp_path), {"openai": [{"id": name}]}, priced)["providers"][0]["models"]
    assert row.get("supportedReasoningEfforts") == (["low", "medium", "high"] if reasons else None)
    assert row["pricing"]["defaultMaxOutputTokens"] == (32_768 if reasons else 8_192)


@pytest.mark.parametrize(
    ("told", "context", "output"),
    [
        ({}, None, 8_192),
        ({"context_length": 131_072, "top_provider": {"max_completion_tokens": 16_384}}, 131_072, 16_384),
        ({"context_window": 8_192, "max_completion_tokens": 8_192}, 8_192, 2_048),
        ({"max_model_len": 32_768}, 32_768, 8_192),
        ({"max_input_tokens": 1_000_000, "max_tokens": 64_000}, 200_000, 32_768),
        ({"context_length": None, "top_provider": None, "max_tokens": True}, None, 8_192),
    ],
)
def test_limits_are_what_the_provider_tells(
    tmp_path: Path, told: dict[str, Any], context: int | None, output: int
) -> None:
    (row,) = catalog(config(tmp_path), {"openai": [{"id": "m", **told}]}, priced)["providers"][0]["models"]
    assert row["pricing"].get("maxInputTokens") == context
    assert row["pricing"]["defaultMaxOutputTokens"] == output
