"""Which tiers the calls to virtual models went to, by the ledger: shares beside their goals, failures, money."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..money import PicoUSD
from .agents import Ranked

__all__ = ["Share", "as_object", "shares", "taken"]


class Share(msgspec.Struct, frozen=True):
    """One target. share: of all routed calls of that time, in [0, 1]. cost None: no price is known of some."""

    tier: str
    target: str
    calls: int = 0
    failed: int = 0
    cost: PicoUSD | None = 0
    share: float = 0.0


# What a budget, a quota or the gateway itself refused went nowhere.
_SQL = """
SELECT provider, target_model, count(*), sum(status >= 400), sum(cost_pico), sum(cost_pico IS NULL)
FROM receipts WHERE at >= ? AND operation = 'generate' AND replayed = 0 AND ({asked})
  AND error NOT IN ('LimitReached', 'QuotaSpent', 'BadRequest')
GROUP BY provider, target_model
"""


def taken(connection: sqlite3.Connection, names: Sequence[str], *, since: float) -> dict[str, Share]:
    """What each target got of the calls for those names (`*` for any run of characters), by "provider/model"."""
    if not names:
        return {}
    sql = _SQL.format(asked=" OR ".join(["model GLOB ?"] * len(names)))
    patterns = [name.replace("[", "[[]").replace("?", "[?]") for name in names]
    return {
        f"{provider}/{model}": Share("", f"{provider}/{model}", calls, failed, None if unknown == calls else cost or 0)
        for provider, model, calls, failed, cost, unknown in connection.execute(sql, (since, *patterns))
    }


def shares(found: dict[str, Share], tiers: Sequence[Ranked]) -> list[Share]:
    """Every target of the tiers, in order, and behind them whatever else answered."""
    total = sum(share.calls for share in found.values())
    listed = [
        msgspec.structs.replace(found.pop(name, Share("", name)), tier=tier.name)
        for tier in tiers
        for name in (f"{provider}/{model}" for provider, model in tier.targets)
    ]
    return [
        msgspec.structs.replace(share, share=share.calls / total if total else 0.0)
        for share in (*listed, *(found[name] for name in sorted(found)))
    ]


def as_object(rows: Sequence[Share], goals: dict[str, float | None]) -> dict[str, Any]:
    """As programs read it: tiers with their share and goal, and their targets."""
    tiers: dict[str, dict[str, Any]] = {
        name: {"share": 0.0, "goal": goal, "targets": []} for name, goal in goals.items()
    }
    for row in rows:
        tier = tiers.setdefault(row.tier, {"share": 0.0, "goal": None, "targets": []})
        tier["share"] = round(tier["share"] + row.share, 6)
        tier["targets"].append(
            {
                "target": row.target,
                "calls": row.calls,
                "failed": row.failed,
                "usd": None if row.cost is None else row.cost / 1e12,
                "share": round(row.share, 6),
            }
        )
    return {"calls": sum(row.calls for row in rows), "tiers": [{"name": name, **told} for name, told in tiers.items()]}
