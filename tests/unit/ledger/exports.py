"""Exports made from receipts, with the fields that providers document, and a ledger to hold the receipts."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from pennyweight.call import Receipt
from pennyweight.money import cost, rates_for
from pennyweight.prices import PriceBook, open_book
from pennyweight.request import Charge, Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

DAY = 86_400
DAY_1 = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
SONNET, GPT = "claude-sonnet-4-5-20250929", "gpt-4o-2024-08-06"

BOOK: PriceBook = open_book()


def call(
    name: str, at: float, usage: Usage | None, *, provider: str = "anthropic", model: str = SONNET, **changes: Any
) -> Receipt:
    """A call as the gateway would have booked it."""
    bill = None if usage is None else BOOK.cost(Charge(provider, model, usage, at))
    facts = {
        "at": at, "provider": provider, "model": model, "target_model": model, "usage": usage, "cost": bill,
        "baseline": bill, "spent": 0, "trail": (), "basis": "", "answered_by": provider,
        "pricing": "unpriced" if bill is None else "priced",
    }  # fmt: skip
    return sample_receipt(name, **{**facts, **changes})


def ledger(folder: Path, receipts: Iterable[Receipt]) -> Path:
    async def write() -> None:
        database = Database(folder / FILE)
        try:
            await SQLiteLedger(database).append(list(receipts))
        finally:
            await database.close()

    asyncio.run(write())
    return folder / FILE


Group = Mapping[tuple[float, str, str], list[Receipt]]


def grouped(receipts: Iterable[Receipt], width: float, zone_s: float = 0) -> Group:
    """By start of the bucket (as the provider writes it), model and tier."""
    groups: dict[tuple[float, str, str], list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        if receipt.usage is not None and not receipt.replayed:
            start = (receipt.at + zone_s) // width * width
            groups[start, receipt.target_model, receipt.usage.tier].append(receipt)
    return groups


def total(receipts: Iterable[Receipt], of: Callable[[Usage], int]) -> int:
    return sum(of(receipt.usage) for receipt in receipts if receipt.usage is not None)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


# --- OpenAI -----------------------------------------------------------------------------------------------


def openai_usage(
    receipts: Iterable[Receipt], *, width: float = DAY, zone_s: float = 0, key: str | None = None
) -> dict[str, Any]:
    buckets: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for (start, model, tier), calls in grouped(receipts, width, zone_s).items():
        buckets[start].append(
            {
                "object": "organization.usage.completions.result",
                "input_tokens": total(calls, lambda u: u.input_tokens),
                "input_cached_tokens": total(calls, lambda u: u.cache_read_tokens),
                "input_cache_write_tokens": total(calls, lambda u: u.cache_write_5m_tokens),
                "output_tokens": total(calls, lambda u: u.output_tokens),
                "input_audio_tokens": 0,
                "output_audio_tokens": 0,
                "num_model_requests": len(calls),
                "project_id": None,
                "user_id": None,
                "api_key_id": key,
                "model": model,
                "batch": tier == "batch",
                "service_tier": "default" if tier in ("standard", "batch") else tier,
            }
        )
    data = [
        {"object": "bucket", "start_time": int(start), "end_time": int(start + width), "results": results}
        for start, results in sorted(buckets.items())
    ]
    return {"object": "page", "data": data, "has_more": False, "next_page": None}


OPENAI_WORDS = {"uncached": "input", "cache_read": "cached input", "output": "output"}


def openai_costs(
    receipts: Iterable[Receipt], *, factor: Fraction = Fraction(1), currency: str = "usd"
) -> dict[str, Any]:
    """Grouped by line item: a model and what its tokens are."""
    buckets: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for (start, model, _), calls in grouped(receipts, DAY).items():
        for kind, word in OPENAI_WORDS.items():
            value = factor * Fraction(sum(kinds(receipt)[kind] for receipt in calls), 10**12)
            buckets[start].append(
                {
                    "object": "organization.costs.result",
                    "amount": {"value": float(value), "currency": currency},
                    "line_item": f"{model}, {word}",
                    "project_id": None,
                }
            )
    data = [
        {"object": "bucket", "start_time": int(start), "end_time": int(start + DAY), "results": results}
        for start, results in sorted(buckets.items())
    ]
    return {"object": "page", "data": data, "has_more": False, "next_page": None}


def kinds(receipt: Receipt) -> dict[str, Fraction]:
    """Pico-dollars of each kind of token."""
    u = receipt.usage
    assert u is not None
    price = BOOK.price(receipt.provider, receipt.target_model, receipt.at)
    assert price is not None
    r = rates_for(price, u.input_tokens, u.tier)
    parts = {
        "uncached": u.uncached_tokens * Fraction(r.input),
        "cache_read": u.cache_read_tokens * Fraction(r.read),
        "cache_write_5m": u.cache_write_5m_tokens * Fraction(r.write_5m),
        "cache_write_1h": u.cache_write_1h_tokens * Fraction(r.write_1h),
        "output": u.output_tokens * Fraction(r.output),
    }
    assert sum(parts.values()) == cost(u, price, at=receipt.at)
    return parts


# --- Anthropic --------------------------------------------------------------------------------------------


def anthropic_usage(
    receipts: Iterable[Receipt], *, width: float = DAY, zone_s: float = 0, key: str | None = None
) -> dict[str, Any]:
    buckets: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for (start, model, tier), calls in grouped(receipts, width, zone_s).items():
        buckets[start].append(
            {
                "uncached_input_tokens": total(calls, lambda u: u.uncached_tokens),
                "cache_creation": {
                    "ephemeral_1h_input_tokens": total(calls, lambda u: u.cache_write_1h_tokens),
                    "ephemeral_5m_input_tokens": total(calls, lambda u: u.cache_write_5m_tokens),
                },
                "cache_read_input_tokens": total(calls, lambda u: u.cache_read_tokens),
                "output_tokens": total(calls, lambda u: u.output_tokens),
                "server_tool_use": {"web_search_requests": 0},
                "api_key_id": key,
                "workspace_id": None,
                "model": model,
                "service_tier": tier,
                "context_window": "0-200k",
            }
        )
    data = [
        {"starting_at": iso(start), "ending_at": iso(start + width), "results": results}
        for start, results in sorted(buckets.items())
    ]
    return {"data": data, "has_more": False, "next_page": None}


ANTHROPIC_TYPES = {
    "uncached": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}


def anthropic_cost(
    receipts: Iterable[Receipt], *, places: int = 6, factor: Fraction = Fraction(1), zone_s: float = 0
) -> dict[str, Any]:
    """Amounts in cents, as decimal strings of so many places."""
    buckets: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for (start, model, tier), calls in grouped(receipts, DAY, zone_s).items():
        for kind, token_type in ANTHROPIC_TYPES.items():
            cents = factor * Fraction(sum(kinds(receipt)[kind] for receipt in calls), 10**10)
            buckets[start].append(
                {
                    "amount": fixed(cents, places),
                    "currency": "USD",
                    "cost_type": "tokens",
                    "description": f"{model} Usage",
                    "model": model,
                    "token_type": token_type,
                    "service_tier": tier,
                    "context_window": "0-200k",
                    "workspace_id": None,
                }
            )
    data = [
        {"starting_at": iso(start), "ending_at": iso(start + DAY), "results": results}
        for start, results in sorted(buckets.items())
    ]
    return {"data": data, "has_more": False, "next_page": None}


def fixed(value: Fraction, places: int) -> str:
    units = round(value * 10**places)
    sign, units = ("-", -units) if units < 0 else ("", units)
    digits = f"{units:0{places + 1}d}"
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


CONSOLE_USAGE = (
    "usage_date_utc", "model_version", "api_key", "workspace", "usage_type", "context_window",
    "usage_input_tokens_no_cache", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read", "usage_output_tokens", "web_search_count", "inference_geo", "speed",
)  # fmt: skip


def console_usage(receipts: Iterable[Receipt], *, hours: bool = False) -> str:
    lines = []
    for (start, model, tier), calls in sorted(grouped(receipts, 3600 if hours else DAY).items()):
        date = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M" if hours else "%Y-%m-%d")
        lines.append((
            date, model, "main", "Default", tier, "≤ 200k",
            total(calls, lambda u: u.uncached_tokens), total(calls, lambda u: u.cache_write_5m_tokens),
            total(calls, lambda u: u.cache_write_1h_tokens), total(calls, lambda u: u.cache_read_tokens),
            total(calls, lambda u: u.output_tokens), 0, "not_available", "",
        ))  # fmt: skip
    return as_csv(CONSOLE_USAGE, lines)


CONSOLE_COST = (
    "usage_date_utc", "model", "workspace", "api_key", "usage_type", "context_window", "token_type", "cost_usd",
    "list_price_usd", "cost_type", "inference_geo", "speed",
)  # fmt: skip

CONSOLE_TYPES = {
    "uncached": "input_no_cache",
    "cache_read": "input_cache_read",
    "cache_write_5m": "input_cache_write_5m",
    "cache_write_1h": "input_cache_write_1h",
    "output": "output",
}


def console_cost(receipts: Iterable[Receipt], display: Mapping[str, str]) -> str:
    """Dollars to the cent."""
    lines = []
    for (start, model, _), calls in sorted(grouped(receipts, DAY).items()):
        for kind, token_type in CONSOLE_TYPES.items():
            usd = fixed(Fraction(sum(kinds(receipt)[kind] for receipt in calls), 10**12), 2)
            date = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")
            lines.append((
                date, display[model], "Default", "main", "message", "≤ 200k", token_type, usd, usd, "token",
                "not_available", "",
            ))  # fmt: skip
    return as_csv(CONSOLE_COST, lines)


def as_csv(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue()


def saved(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
