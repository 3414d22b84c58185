"""The ClawRouter contract: what OpenClaw's bundled provider reads from a router, built from what we know.

`GET /v1/catalog` gives it models, their protocols and our prices; `GET /v1/usage` the budget bar of `/status`. Its
Anthropic models call `nativeBaseUrl` + `/v1/messages`, and every call carries `X-ClawRouter-Session-Id`, `-Agent-Id`
and `X-Request-ID`. What the fields mean is read from openclaw/openclaw, extensions/clawrouter (MIT). Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..config import Config, Provider
from ..money import PicoUSD, Rates
from ..request import Headers, Wire, get_header
from .model_lists import Row, context_tokens, output_tokens

__all__ = ["Spent", "catalog", "conversing", "request_id", "usage"]

Pricing = Callable[[str, str], Rates | None]
"""The rates in force of a provider's model, by their names; None: no price is known."""


class Spent(msgspec.Struct, frozen=True):
    """What a tenant's calls came to, and what is left to it. Money in PicoUSD; `limit` None: none is set."""

    requests: int = 0
    tokens: int = 0
    cost: PicoUSD = 0
    today: PicoUSD = 0
    limit: PicoUSD | None = None


def catalog(config: Config, models: Mapping[str, Iterable[Row]], pricing: Pricing) -> dict[str, Any]:
    """The body of `GET /v1/catalog`. models: what each configured provider lists, by the provider's name.

    Names that a route gives a model come first, as they are: OpenClaw keeps the first of two with one id.
    """
    return {
        "providers": [
            _provider(config, provider, models.get(provider.name, ()), pricing)
            for provider in config.providers.values()
            if provider.configured
        ]
    }


def _provider(config: Config, provider: Provider, listed: Iterable[Row], pricing: Pricing) -> dict[str, Any]:
    capabilities = _capabilities(provider)
    models = {row["id"]: row for row in listed}
    rows = []
    for rule in config.routes:
        if rule.provider == provider.name and "*" not in rule.model:
            name = rule.rename or rule.model
            rows.append(_model(rule.model, models.get(name, {"id": name}), capabilities, pricing(provider.name, name)))
    for name, row in models.items():
        rows.append(_model(f"{provider.name}/{name}", row, capabilities, pricing(provider.name, name)))
    messages = {"path": "/v1/messages", "requestFormat": "anthropic.messages", "methods": ["POST"]}
    return {
        "id": provider.name,
        "displayName": _NAMES.get(provider.name, provider.name),
        "openaiCompatible": "llm.messages" not in capabilities,
        "nativeBaseUrl": f"/v1/native/{provider.name}",
        "routes": [messages] if "llm.messages" in capabilities else [],
        "models": rows,
    }


_NAMES = {"openai": "OpenAI", "anthropic": "Anthropic", "openrouter": "OpenRouter", "ollama": "Ollama"}


def _capabilities(provider: Provider) -> list[str]:
    """How OpenClaw should call a provider's models: it takes the first it knows, and without any it hides them.

    Messages only where nothing else is native; Responses only at OpenAI, elsewhere it is younger than Chat.
    """
    if Wire.OPENAI_RESPONSES in provider.urls and provider.name == "openai":
        return ["llm.responses", "llm.chat"]
    if Wire.OPENAI_CHAT in provider.urls or Wire.ANTHROPIC_MESSAGES not in provider.urls:
        return ["llm.chat"]
    return ["llm.messages"]


def _model(id: str, listed: Row, capabilities: list[str], rates: Rates | None) -> dict[str, Any]:
    name = listed["id"]
    efforts = ["low", "medium", "high"] if _REASONS.search(name.lower()) else None
    row: dict[str, Any] = {"id": id, "upstream": name, "displayName": id, "capabilities": capabilities}
    if efforts is not None:
        row["supportedReasoningEfforts"] = efforts
    row["pricing"] = (_pricing(rates) if rates is not None else {}) | _limits(listed, reasons=efforts is not None)
    return row


# OpenAI's models that take these three efforts. Without the field OpenClaw sends no `reasoning` at all, and so neither
# asks for the encrypted reasoning that the next turn needs.
_REASONS = re.compile(r"(?:^|/)(?!.*(?:chat|pro|o1-mini|o1-preview))(?:gpt-[5-9]|gpt-oss|o[1-9](?:-|$))")


def _limits(listed: Row, *, reasons: bool) -> dict[str, int]:
    """The context and the output that OpenClaw plans with, in tokens.

    It takes 200,000 and 32,768 where we say nothing, and asks for that much output: more than many models give.
    """
    context, output = context_tokens(listed), output_tokens(listed)
    most = min(output or (_LONG_OUTPUT if reasons else _OUTPUT), _LONG_OUTPUT)
    if context is None:
        return {"defaultMaxOutputTokens": most}
    return {"maxInputTokens": min(context, _CONTEXT), "defaultMaxOutputTokens": max(1, min(most, context // 4))}


_CONTEXT = 200_000  # below the bands in which long prompts cost more
_OUTPUT = 8_192
_LONG_OUTPUT = 32_768


def _pricing(rates: Rates) -> dict[str, Any]:
    """Micro-dollars per million tokens: the same figure as pico-dollars per token."""
    pricing = {
        "inputMicrosPerMillion": rates.input,
        "outputMicrosPerMillion": rates.output,
        "cachedInputMicrosPerMillion": rates.read,
        "cacheWrite5mInputMicrosPerMillion": rates.write_5m,
        "cacheWrite1hInputMicrosPerMillion": rates.write_1h,
    }
    return {name: int(rate) if rate == int(rate) else float(rate) for name, rate in pricing.items()}


def usage(spent: Spent, *, now: float) -> dict[str, Any]:
    """The body of `GET /v1/usage`, in micro-dollars. now: unix seconds.

    OpenClaw labels the bar "Monthly budget"; ours is a day's, so the window is named by its day and no month's end
    is shown as the time of its reset.
    """
    budget: dict[str, Any] = {"configured": spent.limit is not None, "ledger": "pennyweight"}
    if spent.limit is not None:
        budget |= {
            "windowKey": f"day/{datetime.fromtimestamp(now, UTC):%Y-%m-%d}",
            "limitMicros": _micros(spent.limit),
            "spentMicros": _micros(spent.today),
            "remainingMicros": max(_micros(spent.limit) - _micros(spent.today), 0),
        }
    summary = {
        "requestCount": spent.requests,
        "totalTokens": spent.tokens,
        "actualCostMicros": _micros(spent.cost),
    }
    return {"budget": budget, "usage": {"summary": summary}}


def _micros(amount: PicoUSD) -> int:
    return round(amount / 10**6)


_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+@=-]{1,128}")


def request_id(headers: Headers) -> Headers:
    """`x-request-id` to send back on an answer of our own: the caller's, when it is one as OpenClaw makes them.

    An upstream's answer keeps the id that the upstream gave it.
    """
    sent = get_header(headers, "x-request-id")
    return (("x-request-id", sent),) if sent is not None and _REQUEST_ID.fullmatch(sent) else ()


_NOT_CHAT = re.compile(r"embed|whisper|tts|dall-e|image|moderation|audio|realtime|transcribe|rerank|sora|speech")


def conversing(rows: Iterable[Row]) -> list[Row]:
    """The models that can hold a conversation, by their names."""
    return [row for row in rows if not _NOT_CHAT.search(row["id"].lower())]
