"""OpenAI's exports: the organisation's usage and costs, as JSON from the API and as CSV from the dashboard.

Usage buckets: GET /v1/organization/usage/completions and /embeddings
(https://platform.openai.com/docs/api-reference/usage/completions, .../usage/completions_object). `input_tokens`
includes cached and cache-write tokens. Costs: GET /v1/organization/costs
(https://platform.openai.com/docs/api-reference/usage/costs_object): `amount.value` is a JSON number in
`amount.currency`, `line_item` (when grouped by it) names the model and the kind of token, like
"gpt-4o-2024-08-06, cached input". The CSV files of the dashboard's Export button have the same fields as columns,
with `amount_value` and `amount_currency`, and rows of times alone for empty buckets; their times are UTC
(https://help.openai.com/en/articles/8554956-understanding-your-api-usage).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ...errors import ConfigError
from .shape import Invoice, Item, Kind, Rates, Tokens, amount, count, currency_rate, moment, rounding, tier_name

__all__ = ["read_csv", "read_json"]

PROVIDER = "openai"

_COMPLETIONS = "organization.usage.completions.result"
_EMBEDDINGS = "organization.usage.embeddings.result"
_COSTS = "organization.costs.result"
_OPERATIONS = {_COMPLETIONS: "generate", _EMBEDDINGS: "embed"}

Row = tuple[str, Mapping[str, Any]]
"""Where it stands, and its fields under the names of the API."""


def read_json(buckets: Iterable[Mapping[str, Any]], name: str, rates: Rates) -> Invoice:
    """The buckets of all pages. Raises ConfigError that quotes what cannot be read."""
    rows: list[Row] = []
    for number, bucket in enumerate(buckets, start=1):
        times = {"start_time": bucket.get("start_time"), "end_time": bucket.get("end_time")}
        rows.append((f"{name}, bucket {number}", times))
        for place, result in enumerate(bucket.get("results") or bucket.get("result") or (), start=1):
            rows.append((f"{name}, bucket {number}, result {place}", {**times, **result}))
    return _read(rows, "JSON", rates)


def read_csv(rows: Iterable[Row], rates: Rates) -> Invoice:
    """The lines of a dashboard export, by their columns."""
    named: list[Row] = []
    for where, row in rows:
        fields: dict[str, Any] = dict(row)
        if "amount_value" in row:
            fields["object"] = _COSTS
            if row["amount_value"] not in (None, ""):
                fields["amount"] = {"value": row["amount_value"], "currency": row.get("amount_currency")}
        elif "num_model_requests" in row or "input_tokens" in row:
            fields["object"] = _COMPLETIONS if "output_tokens" in row else _EMBEDDINGS
        named.append((where, fields))
    return _read(named, "CSV", rates)


def _read(rows: list[Row], form: str, rates: Rates) -> Invoice:
    costs = any(fields.get("object") == _COSTS for _, fields in rows)
    items: list[Item] = []
    spans: set[tuple[float, float]] = set()
    notes: list[str] = []
    skipped: dict[str, int] = {}
    for where, fields in rows:
        start, end = moment(fields.get("start_time"), where), moment(fields.get("end_time"), where)
        if end <= start:
            raise ConfigError(f"The bucket ends at {end:.0f}, before it begins ({start:.0f}).", where=where)
        spans.add((start, end))
        kind = str(fields.get("object") or "")
        raw = msgspec.json.encode(fields, order="sorted").decode()
        if kind == _COSTS and fields.get("amount"):
            items.append(_cost(fields, where, raw, (start, end), rates))
        elif kind in _OPERATIONS and (fields.get("num_model_requests") or fields.get("input_tokens")):
            items.append(_usage(fields, where, raw, (start, end), notes))
        elif kind and kind not in (_COSTS, *_OPERATIONS, "bucket"):
            skipped[kind] = skipped.get(kind, 0) + 1
    notes += [f"{n} lines of {kind} are not compared: the ledger has no such tokens." for kind, n in skipped.items()]
    amounts = [
        (where, fields["amount"]) for where, fields in rows if fields.get("object") == _COSTS and fields.get("amount")
    ]
    worth = max([currency_rate(told.get("currency"), rates, where) for where, told in amounts], default=Decimal(1))
    measure: Literal["usage", "cost"] = "cost" if costs else "usage"
    return Invoice(
        PROVIDER, f"OpenAI {measure} {form}", measure, tuple(items), tuple(sorted(spans)),
        unit=rounding([told.get("value") for _, told in amounts], rate=worth), notes=tuple(notes),
    )  # fmt: skip


def _usage(fields: Mapping[str, Any], where: str, raw: str, span: tuple[float, float], notes: list[str]) -> Item:
    def n(name: str) -> int:
        return count(fields.get(name), name, where)

    cached, written = n("input_cached_tokens"), n("input_cache_write_tokens")
    uncached = n("input_tokens") - cached - written
    if uncached < 0:
        notes.append(f"{where}: more tokens cached or written than there were input tokens.")
    return Item(
        where, raw, *span,
        model=str(fields.get("model") or ""),
        tier="batch" if _true(fields.get("batch")) else tier_name(fields.get("service_tier")),
        key=str(fields.get("api_key_id") or ""),
        operation=_OPERATIONS[fields["object"]],
        tokens=Tokens(max(uncached, 0), cached, written, 0, n("output_tokens")),
        requests=n("num_model_requests"),
    )  # fmt: skip


def _cost(fields: Mapping[str, Any], where: str, raw: str, span: tuple[float, float], rates: Rates) -> Item:
    told = fields["amount"]
    rate = currency_rate(told.get("currency"), rates, where)
    model, kind, tier, service = _line_item(str(fields.get("line_item") or ""))
    return Item(
        where, raw, *span,
        model=model,
        tier=tier,
        key=str(fields.get("api_key_id") or ""),
        service=service,
        kind=kind,
        amount=amount(told.get("value"), "amount", where, rate=rate),
    )  # fmt: skip


_KINDS: tuple[tuple[str, Kind], ...] = (
    ("cached", "cache_read"),
    ("cache write", "cache_write_5m"),
    ("output", "output"),
    ("input", "uncached"),
)


def _line_item(text: str) -> tuple[str, Kind | Literal[""], str, str]:
    """(model, kind, tier, service) of "gpt-4o-2024-08-06, cached input"; other services are named whole."""
    if not text:
        return "", "", "", ""
    model, comma, rest = text.partition(", ")
    rest = rest.lower()
    if not comma:
        # A model that is not split by kind has no spaces in its name; "file search tool calls" is a service.
        return (text, "", "", "") if " " not in text.strip() else ("", "", "", text)
    kind = next((kind for word, kind in _KINDS if word in rest), None)
    if kind is None or "audio" in rest or "image" in rest:
        return "", "", "", text
    tier = next((tier for tier in ("batch", "flex", "priority") if tier in rest), "")
    return model, kind, tier, ""


def _true(value: Any) -> bool:
    return value is True or str(value).strip().lower() == "true"
