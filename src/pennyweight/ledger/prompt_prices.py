"""What a token at the head of a prompt has cost, over the calls of a span of time: for what a part of a system prompt
costs. Reads only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ..money import Price, rates_for
from .reading import is_made, reading

__all__ = ["HeadPrice", "head_price"]


class HeadPrice(msgspec.Struct, frozen=True):
    """`pico`: pico-dollars that one token standing in every one of these `calls` has cost in all, an estimate: heads
    are read from the provider's cache as often as prompts are on the whole. `sessions`: how many the calls were of."""

    calls: int = 0
    sessions: int = 0
    pico: float = 0.0
    unpriced_calls: int = 0


def head_price(
    path: Path,
    price: Callable[[str, str, float], Price | None],
    *,
    since: float,
    agent: str | None = None,
    model: str | None = None,
) -> HeadPrice:
    """Of calls since that unix second, with an answer of a provider. Raises StoreError."""
    if not is_made(path):
        return HeadPrice()
    terms = ["at >= ?", "NOT replayed", "status < 400", "input_tokens > 0"]
    values: list[object] = [since]
    for column, wanted in (("agent", agent), ("model", model)):
        if wanted is not None:
            terms.append(f"{column} = ?")
            values.append(wanted)
    where = " AND ".join(terms)
    sql = f"""SELECT provider, target_model, count(*), sum(input_tokens), sum(cached_tokens), max(at)
        FROM calls WHERE {where} GROUP BY 1, 2"""
    with reading(path) as connection:
        rows = connection.execute(sql, values).fetchall()
        distinct = f"SELECT count(DISTINCT tenant || char(0) || session) FROM calls WHERE {where}"
        sessions = int(connection.execute(distinct, values).fetchone()[0])
    calls = unpriced = 0
    pico = 0.0
    for provider, name, made, tokens, cached, at in rows:
        calls += made
        known = price(provider, name, at)
        if known is None:
            unpriced += made
            continue
        rates = rates_for(known, tokens // made)
        share = cached / tokens
        pico += made * (share * float(rates.read) + (1 - share) * float(rates.input))
    return HeadPrice(calls, sessions, pico, unpriced)
