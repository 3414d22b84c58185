"""Anthropic's exports: usage and cost reports, as JSON from the Admin API and as CSV from the Console.

Usage: GET /v1/organizations/usage_report/messages
(https://platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages); buckets of 1m, 1h or 1d are snapped to
UTC. Cost: GET /v1/organizations/cost_report (https://platform.claude.com/docs/en/api/admin/cost_report): `amount` is a
decimal string in the currency's smallest unit, "123.45" in USD is $1.2345. The Console's files
(https://support.claude.com/en/articles/9534590-cost-and-usage-reporting-in-the-claude-console) have a column
`usage_date_utc`, which is a date or, for the hours of a day, "2026-03-31 02:00". Its usage file counts tokens in
`usage_input_tokens_no_cache` and its like; its cost file has one line for each `token_type`, with `cost_usd` in
dollars and models by the names that people read ("Claude Haiku 4.5").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ...errors import ConfigError
from .shape import Invoice, Item, Kind, Rates, Tokens, amount, count, currency_rate, moment, rounding, tier_name

__all__ = ["read_csv", "read_json"]

PROVIDER = "anthropic"

Row = tuple[str, Mapping[str, Any]]

_TOKEN_TYPES: Mapping[str, Kind] = {
    "uncached_input_tokens": "uncached",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
    "input_no_cache": "uncached",
    "input_cache_read": "cache_read",
    "input_cache_write_5m": "cache_write_5m",
    "input_cache_write_1h": "cache_write_1h",
    "output": "output",
}


def read_json(buckets: Iterable[Mapping[str, Any]], name: str, rates: Rates) -> Invoice:
    """The buckets of all pages. Raises ConfigError that quotes what cannot be read."""
    items: list[Item] = []
    spans: set[tuple[float, float]] = set()
    told: list[Any] = []
    rate = currency_rate(None, rates, name)
    cost = False
    for number, bucket in enumerate(buckets, start=1):
        where = f"{name}, bucket {number}"
        span = moment(bucket.get("starting_at"), where), moment(bucket.get("ending_at"), where)
        if span[1] <= span[0]:
            raise ConfigError(f"The bucket ends at {bucket['ending_at']!r}, before it begins.", where=where)
        spans.add(span)
        for place, result in enumerate(bucket.get("results") or (), start=1):
            at = f"{where}, result {place}"
            raw = msgspec.json.encode([span, result], order="sorted").decode()
            if "amount" in result:
                cost = True
                told.append(result["amount"])
                rate = currency_rate(result.get("currency"), rates, at)
                value = amount(result["amount"], "amount", at, per=100, rate=rate)
                items.append(_cost(result, at, raw, span, value))
            else:
                items.append(_usage(result, at, raw, span))
    measure: Literal["usage", "cost"] = "cost" if cost else "usage"
    unit = rounding(told, per=100, rate=rate)
    return Invoice(PROVIDER, f"Anthropic {measure} JSON", measure, tuple(items), tuple(sorted(spans)), unit=unit)


def read_csv(rows: Iterable[Row], rates: Rates) -> Invoice:
    """The lines of a Console export, by their columns."""
    lines = list(rows)
    width = _width_s(lines)
    items: list[Item] = []
    spans: set[tuple[float, float]] = set()
    told: list[Any] = []
    cost = False
    for where, fields in lines:
        start = moment(fields["usage_date_utc"], where)
        spans.add((start, start + width))
        raw = msgspec.json.encode(fields, order="sorted").decode()
        if "cost_usd" in fields:
            cost = True
            told.append(fields["cost_usd"])
            value = amount(fields["cost_usd"], "cost_usd", where)
            items.append(_cost(fields, where, raw, (start, start + width), value))
        else:
            items.append(_usage(_as_reported(fields), where, raw, (start, start + width)))
    measure: Literal["usage", "cost"] = "cost" if cost else "usage"
    return Invoice(
        PROVIDER, f"Anthropic {measure} CSV", measure, tuple(items), tuple(sorted(spans)), unit=rounding(told)
    )


def _width_s(lines: list[Row]) -> int:
    """A day, unless the dates tell hours; minutes, where any is not on the hour."""
    starts = [moment(fields["usage_date_utc"], where) for where, fields in lines if ":" in fields["usage_date_utc"]]
    return 86_400 if not starts else 60 if any(start % 3_600 for start in starts) else 3_600


def _as_reported(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the usage file under the names of the Admin API."""
    return {
        "model": fields.get("model_version"),
        "api_key_id": fields.get("api_key_id") or fields.get("api_key"),
        "service_tier": fields.get("usage_type"),
        "uncached_input_tokens": fields.get("usage_input_tokens_no_cache"),
        "cache_read_input_tokens": fields.get("usage_input_tokens_cache_read"),
        "cache_creation": {
            "ephemeral_5m_input_tokens": fields.get("usage_input_tokens_cache_write_5m"),
            "ephemeral_1h_input_tokens": fields.get("usage_input_tokens_cache_write_1h"),
        },
        "output_tokens": fields.get("usage_output_tokens"),
    }


def _usage(fields: Mapping[str, Any], where: str, raw: str, span: tuple[float, float]) -> Item:
    def n(name: str, block: Mapping[str, Any] = fields) -> int:
        return count(block.get(name), name, where)

    written = fields.get("cache_creation") or {}
    return Item(
        where, raw, *span,
        model=str(fields.get("model") or ""),
        tier=tier_name(fields.get("service_tier")),
        key=str(fields.get("api_key_id") or ""),
        operation="generate",
        tokens=Tokens(
            n("uncached_input_tokens"),
            n("cache_read_input_tokens"),
            n("ephemeral_5m_input_tokens", written),
            n("ephemeral_1h_input_tokens", written),
            n("output_tokens"),
        ),
    )  # fmt: skip


def _cost(fields: Mapping[str, Any], where: str, raw: str, span: tuple[float, float], value: int) -> Item:
    sort = str(fields.get("cost_type") or "tokens").lower()
    kind: Kind | Literal[""] = _TOKEN_TYPES.get(str(fields.get("token_type") or ""), "")
    tier = fields.get("service_tier") or fields.get("usage_type")
    return Item(
        where, raw, *span,
        model=str(fields.get("model") or "") if sort in ("tokens", "token") else "",
        tier=tier_name(tier),
        key=str(fields.get("api_key_id") or fields.get("api_key") or ""),
        service="" if sort in ("tokens", "token") else sort.replace("_", " "),
        kind=kind,
        amount=value,
    )  # fmt: skip
