"""The ledger's answers as plain JSON values: for `report --json` and `--csv`, and for status pages.

Each amount comes twice: in USD, a float for reading, and in pico-dollars, exact. None: not a matter of dollars, or no
price is known; it is never 0 for lack of a price.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from ..call import Receipt
from ..money import PicoUSD
from .report import Line, Summary

__all__ = ["line_json", "receipt_json", "summary_json"]


def line_json(line: Line) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(line).items():
        if name in ("cost", "baseline", "spent") or name.startswith("saved_"):
            flat |= _money(name, value if line.has_money else None)
        else:
            flat[name] = value
        if name == "baseline":
            flat |= _money("saved", line.saved if line.has_money else None) | {"saved_basis": line.basis}
    return flat


def summary_json(result: Summary) -> dict[str, Any]:
    return {
        "by": result.query.by,
        "since": result.query.since,
        "until": result.query.until,
        "tenant": result.query.tenant,
        "lines": [line_json(line) for line in result.lines],
        "total": line_json(result.total),
        "optimizers": [
            {"optimizer": e.optimizer, "asked": e.asked, "accepted": e.accepted, "shadowed": e.shadowed}
            | {"failed": e.failed, "basis": "estimated"}
            | _money("saving", e.saving)
            | _money("shadow_saving", e.shadow_saving)
            | _money("spent", e.spent)
            for e in result.optimizers
        ],
        "suspect_calls": result.suspect_calls,
        "unpriced": [
            {"provider": u.provider, "model": u.model, "calls": u.calls, "tokens": u.tokens} | _money("spent", u.spent)
            for u in result.unpriced
        ],
    }


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    whole = cast(dict[str, Any], msgspec.to_builtins(receipt))
    saved = None if receipt.cost is None or receipt.baseline is None else receipt.baseline - receipt.cost
    money = {"cost": receipt.cost, "baseline": receipt.baseline, "saved": saved, "spent": receipt.spent}
    for name, value in money.items():
        whole.pop(name, None)
        whole |= _money(name, value)
    return whole


def _money(name: str, pico: PicoUSD | None) -> dict[str, Any]:
    return {f"{name}_usd": None if pico is None else pico / 10**12, f"{name}_pico": pico}
