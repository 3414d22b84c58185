"""Which agents sit on a tier dearer or weaker than their outcomes need: read off receipts and what was said of answers.

A session is the unit, as its calls depend on each other. It is bad where a call failed, was asked again, called a tool
wrongly or was called bad; it is good where something good was said and nothing bad. Of all others nothing is known:
silence is no success. What a tier would have cost is the same usage at its prices.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from ..money import PicoUSD
from ..request import Charge, Usage

__all__ = ["Advice", "Held", "Profile", "Ranked", "profiles", "read", "wilson"]

Advice = Literal["fits", "dearer", "weaker", "unknown"]
Cost = Callable[[Charge], PicoUSD | None]

_Z = 1.959964  # 95%, both sides
_LEAST_OUTCOMES = 20  # below, nothing is said


class Ranked(msgspec.Struct, frozen=True):
    """A tier as configured: its rank, 0 the cheapest, and its targets as (provider, model)."""

    name: str
    rank: int
    targets: tuple[tuple[str, str], ...]


class Held(msgspec.Struct, frozen=True):
    """What one agent did at one target: sums over its calls, and how its sessions there ended."""

    agent: str
    provider: str
    model: str
    calls: int
    sessions: int
    good: int
    bad: int
    cost: PicoUSD | None
    usage: Usage
    last_at: float


class Profile(msgspec.Struct, frozen=True):
    """One agent on its tier. outcomes: sessions whose end is known; success: the share of them that ended well, None
    without any, with its 95% interval. cost: of all its calls. to: the tier that fits better. saving: what that would
    have saved in the time looked at, in pico-dollars, negative where it costs more. tried: outcomes of its own there.
    """

    agent: str
    tier: str
    calls: int
    sessions: int
    outcomes: int
    success: float | None
    low: float
    high: float
    cost: PicoUSD
    advice: Advice
    to: str = ""
    saving: PicoUSD | None = None
    tried: int = 0
    why: str = ""


_SQL = """
WITH said AS (
  SELECT tenant, session, call_id,
    max(CASE WHEN kind = 'feedback' AND value > 0 OR kind IN ('judge', 'tools') AND value >= 0.5
      THEN 1 ELSE 0 END) AS good,
    max(CASE WHEN kind = 'feedback' AND value < 0 OR kind IN ('judge', 'tools') AND value < 0.5 OR kind = 'reask'
      THEN 1 ELSE 0 END) AS bad
  FROM signals GROUP BY tenant, session, call_id
), calls AS (
  SELECT r.agent, r.provider, r.target_model, r.at, r.cost_pico,
    r.tenant || char(0) || CASE r.session WHEN '' THEN r.call_id ELSE r.session END AS unit,
    r.input_tokens, r.cache_read_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens, r.output_tokens,
    r.reasoning_tokens,
    max(coalesce(own.good, 0), coalesce(whole.good, 0)) AS good,
    max(coalesce(own.bad, 0), coalesce(whole.bad, 0), r.status >= 400 AND r.status NOT IN (401, 402, 403, 429)) AS bad
  FROM receipts AS r
  LEFT JOIN said AS own ON own.tenant = r.tenant AND own.call_id = r.call_id AND own.call_id <> ''
  LEFT JOIN said AS whole ON whole.tenant = r.tenant AND whole.session = r.session AND whole.call_id = ''
  WHERE r.at >= ? AND r.agent <> '' AND r.operation = 'generate' AND r.replayed = 0 AND r.housekeeping = ''
), units AS (
  SELECT agent, provider, target_model, unit, count(*) AS calls, max(good) AS good, max(bad) AS bad, max(at) AS last_at,
    sum(cost_pico) AS cost, sum(input_tokens) AS input_tokens, sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_5m_tokens) AS cache_write_5m_tokens, sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
    sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens
  FROM calls GROUP BY agent, provider, target_model, unit
)
SELECT agent, provider, target_model, sum(calls), count(*), sum(good = 1 AND bad = 0), sum(bad), sum(cost),
  sum(input_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
  sum(output_tokens), sum(reasoning_tokens), max(last_at)
FROM units GROUP BY agent, provider, target_model ORDER BY agent, provider, target_model
"""


_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def read(connection: sqlite3.Connection, *, since: float) -> list[Held]:
    """What the ledger holds of agents from `since` (unix seconds) on. Housekeeping and replays are left out."""
    return [
        Held(
            agent,
            provider,
            model,
            calls,
            sessions,
            good or 0,
            bad or 0,
            cost,
            msgspec.convert({name: int(n or 0) for name, n in zip(_TOKENS, tokens_of, strict=True)}, Usage),
            last_at,
        )
        for agent, provider, model, calls, sessions, good, bad, cost, *tokens_of, last_at in connection.execute(
            _SQL, (since,)
        )
    ]


def profiles(held: Sequence[Held], tiers: Sequence[Ranked], cost: Cost, *, bar: float = 0.85) -> list[Profile]:
    """One for each agent, those with most to save first. bar: the share of sessions that must end well."""
    by_target = {target: tier for tier in tiers for target in tier.targets}
    agents: dict[str, list[Held]] = defaultdict(list)
    for one in held:
        agents[one.agent].append(one)
    found = [_profile(agent, ones, tiers, by_target, cost, bar) for agent, ones in agents.items()]
    return sorted(found, key=lambda one: (-(one.saving or 0), one.agent))


def _profile(
    agent: str,
    ones: Sequence[Held],
    tiers: Sequence[Ranked],
    by_target: Mapping[tuple[str, str], Ranked],
    cost: Cost,
    bar: float,
) -> Profile:
    on: dict[str, list[Held]] = defaultdict(list)
    for one in ones:
        tier = by_target.get((one.provider, one.model))
        on[tier.name if tier is not None else ""].append(one)
    name = max(on, key=lambda tier: (sum(one.calls for one in on[tier]), tier))
    here = on[name]
    good, bad = sum(one.good for one in here), sum(one.bad for one in here)
    low, high = wilson(good, good + bad)
    base = Profile(
        agent,
        name,
        sum(one.calls for one in here),
        sum(one.sessions for one in here),
        good + bad,
        good / (good + bad) if good + bad else None,
        low,
        high,
        sum(one.cost or 0 for one in here),
        "unknown",
    )
    if not name:
        return msgspec.structs.replace(base, why="its models are in no tier")
    if base.outcomes < _LEAST_OUTCOMES:
        why = f"{base.outcomes} of its sessions have a known end, {_LEAST_OUTCOMES} are needed"
        return msgspec.structs.replace(base, why=why)
    rank = next(tier.rank for tier in tiers if tier.name == name)
    return _advised(base, here, on, tiers, rank, cost, bar)


def _advised(
    base: Profile,
    here: Sequence[Held],
    on: Mapping[str, Sequence[Held]],
    tiers: Sequence[Ranked],
    rank: int,
    cost: Cost,
    bar: float,
) -> Profile:
    told = f"{base.success:.0%} of {base.outcomes} sessions ended well (95%: {base.low:.0%} to {base.high:.0%})"
    if base.high < bar:
        up = next((tier for tier in sorted(tiers, key=lambda t: t.rank) if tier.rank > rank), None)
        if up is None:
            return msgspec.structs.replace(base, advice="fits", why=f"{told}, and there is no stronger tier")
        return _moved(base, here, on, up, cost, "weaker", f"{told}, below {bar:.0%}")
    if base.low >= bar:
        for tier in sorted(tiers, key=lambda t: t.rank):  # the cheapest that is not known to be too weak
            if tier.rank >= rank:
                break
            tried = on.get(tier.name, ())
            _, high = wilson(sum(o.good for o in tried), sum(o.good + o.bad for o in tried))
            nearest = tier.rank == max(t.rank for t in tiers if t.rank < rank)
            proven = wilson(sum(o.good for o in tried), sum(o.good + o.bad for o in tried))[0] >= bar
            if (proven or (nearest and high >= bar)) and (
                moved := _moved(base, here, on, tier, cost, "dearer", f"{told}, above {bar:.0%}")
            ).saving is not None:
                return moved if (moved.saving or 0) > 0 else msgspec.structs.replace(base, advice="fits", why=told)
    return msgspec.structs.replace(base, advice="fits", why=told)


def _moved(
    base: Profile,
    here: Sequence[Held],
    on: Mapping[str, Sequence[Held]],
    tier: Ranked,
    cost: Cost,
    advice: Advice,
    why: str,
) -> Profile:
    """The same usage at the first target of that tier whose price is known."""
    tried = on.get(tier.name, ())
    saving: PicoUSD | None = None
    for provider, model in tier.targets:
        there = [cost(Charge(provider, model, one.usage, one.last_at)) for one in here]
        if all(each is not None for each in there):
            saving = base.cost - sum(each for each in there if each is not None)
            break
    return msgspec.structs.replace(
        base,
        advice=advice,
        to=tier.name,
        saving=saving,
        tried=sum(one.good + one.bad for one in tried),
        why=why,
    )


def wilson(good: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927), in [0, 1]; all of it without any."""
    if count <= 0:
        return 0.0, 1.0
    share, square = good / count, _Z * _Z
    middle = share + square / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    below = 1 + square / count
    return max((middle - spread) / below, 0.0), min((middle + spread) / below, 1.0)
