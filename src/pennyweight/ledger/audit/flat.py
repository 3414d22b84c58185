"""An audit as plain JSON values. Money twice: in USD, a float for reading, and in pico-dollars, exact."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ...money import PicoUSD
from ..invoices.shape import KINDS, Tokens
from .causes import Cause
from .check import Audit, Explained

__all__ = ["audit_json"]


def audit_json(result: Audit) -> dict[str, Any]:
    invoice = result.invoice
    return {
        "ok": result.ok,
        "provider": invoice.provider,
        "export": invoice.form,
        "measure": invoice.measure,
        "since": _iso(invoice.spans[0][0]),
        "until": _iso(max(end for _, end in invoice.spans)),
        "zone_hours": result.zone_s / 3600,
        "incomplete": invoice.incomplete,
        "notes": list(result.notes),
        "beside": [_cause(cause) for cause in result.beside],
        "lines": [_line(explained, usage=invoice.measure == "usage") for explained in result.lines],
    }


def _line(explained: Explained, *, usage: bool) -> dict[str, Any]:
    line = explained.line
    flat: dict[str, Any] = {"from": _iso(line.start), "to": _iso(line.end), "model": line.model, "calls": line.calls}
    flat["ledger_tokens"] = _tokens(line.consumed)
    if usage:
        flat |= {"invoice_tokens": _tokens(line.invoiced), "difference_tokens": _tokens(line.invoiced - line.consumed)}
        told = [item.requests for item in line.items if item.requests is not None]
        flat["invoice_requests"] = sum(told) if told else None
    flat |= _money("ledger", line.cost)
    if not usage:
        flat |= _money("invoice", line.billed) | _money("difference", line.billed - line.cost)
    flat["places"] = [item.place for item in line.items]
    flat["causes"] = [_cause(cause) for cause in explained.causes]
    return flat


def _cause(cause: Cause) -> dict[str, Any]:
    flat = {"name": cause.name, "says": cause.says, "calls": cause.calls, "tokens": cause.tokens}
    return flat | _money("money", cause.money) | {"explained": not cause.open}


def _tokens(counts: Tokens) -> dict[str, int]:
    return dict(zip(KINDS, counts.counts, strict=True)) | {"total": counts.total}


def _money(name: str, pico: PicoUSD | None) -> dict[str, Any]:
    return {f"{name}_usd": None if pico is None else pico / 10**12, f"{name}_pico": pico}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
