"""What our own caches did, as the dashboard shows it: by cache, route and store, and the last audited pairs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...ledger.functions import FunctionLine
from ...ledger.hits import Audited, HitLine, summed
from ...ledger.reading import is_made, reading

__all__ = ["answers", "functions", "kept_pairs", "pairs"]

_SHOWN = 20


def answers(lines: Sequence[HitLine]) -> dict[str, Any]:
    """Money as whole pico-dollars in text, shares in [0, 1] or None."""
    return {
        "caches": [_line(line) for line in summed(lines, ("cache",))],
        "routes": [_line(line) for line in summed(lines, ("cache", "route"))][:50],
        "tiers": [_line(line) for line in summed(lines, ("cache", "tier")) if line.tier],
    }


def _line(line: HitLine) -> dict[str, Any]:
    return {
        "key": " ".join((line.cache, line.route, line.tier)).strip(),
        "cache": line.cache,
        "route": line.route,
        "tier": line.tier,
        "looks": line.looks,
        "hits": line.hits,
        "shadowed": line.shadowed,
        "hit_rate": line.hit_rate,
        "valid_hit_rate": line.valid_hit_rate,
        "valid_at_least": line.valid_at_least,
        "wrong_at_most": line.wrong_at_most if line.audited else None,
        "audited": line.audited,
        "wrong": line.wrong,
        "rated": line.rated,
        "reported": line.reported,
        "saved": str(line.saved),
    }


def functions(lines: Sequence[FunctionLine]) -> list[dict[str, Any]]:
    """Cached functions and tools: calls, hits, and what they saved."""
    return [
        {
            "key": f"{line.tenant} {line.function}",
            "function": line.function,
            "tenant": line.tenant,
            "calls": line.hits + line.shared + line.misses,
            "hits": line.hits + line.shared,
            "hit_rate": line.hit_share,
            "saved_s": line.saved_s,
            "saved": str(line.saved),
        }
        for line in lines[:50]
    ]


def pairs(remembered: Sequence[Audited], kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last audits with their texts, newest first."""
    told = [
        {
            "id": f"{one.audit.cache} {one.audit.call_id or one.at}",
            "at": one.at,
            "cache": one.audit.cache,
            "route": one.audit.route,
            "valid": one.audit.valid,
            "source": one.audit.source,
            "asked": one.pair.asked,
            "kept_asked": one.pair.kept_asked or one.pair.asked,
            "answer": one.pair.answer,
            "kept_answer": one.pair.kept_answer,
        }
        for one in remembered
    ]
    return sorted([*told, *kept], key=lambda pair: -pair["at"])[:_SHOWN]


_KEPT = """
SELECT 'semantic_cache ' || call_id AS id, at, 'semantic_cache' AS cache, route, equal AS valid, source,
  asked, stored AS kept_asked, fresh AS answer, served AS kept_answer
FROM semantic_pairs WHERE tenant = ? ORDER BY semantic_pairs.id DESC LIMIT ?"""


def kept_pairs(path: Path, tenant: str) -> list[dict[str, Any]]:
    """Those that the semantic cache keeps in the ledger's file. Raises StoreError."""
    if not is_made(path):
        return []
    with reading(path) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'semantic_pairs'").fetchone()
        if known is None:
            return []
        cursor = connection.cursor()
        cursor.row_factory = sqlite3.Row
        rows = cursor.execute(_KEPT, (tenant, _SHOWN)).fetchall()
        return [{**dict(row), "valid": bool(row["valid"])} for row in rows]
