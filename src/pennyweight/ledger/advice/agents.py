"""Advice about agents: heartbeats that burn money, and sessions over their budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...money import format_usd
from .case import USD, Case, agent_name, some
from .settings import Finding
from .window import Turn, grouped, total

__all__ = ["heartbeats", "sessions"]


def heartbeats(case: Case) -> Iterator[Finding]:
    for agent, cells in grouped(case.window.cells, lambda c: c.agent).items():
        wakes = total(c for c in cells if c.housekeeping == "heartbeat")
        everything = total(cells)
        if wakes.calls < 3 or not everything.input_tokens:
            continue
        share = wakes.cost / everything.cost if everything.cost else wakes.input_tokens / everything.input_tokens
        after = [t for t in case.window.turns if t.agent == agent and t.kind == "after_heartbeat"]
        per_day = case.window.per_day(wakes.cost) if wakes.in_dollars else None
        settings = case.settings
        if share < settings.heartbeat_share and (per_day or 0) < settings.heartbeat_usd * USD:
            continue
        if not case.worth_reading(per_day):
            continue
        mean = wakes.input_tokens // wakes.calls
        shared = bool(after) or mean > _LIGHT_WAKE
        again = _anew(after, [t for t in case.window.turns if t.agent == agent and t.kind == "same"])
        told = f", and the calls that came after a wake had to read {again:,} tokens anew" if again else ""
        yield Finding(
            id=f"heartbeats:{agent}",
            code="heartbeats",
            severity="warning",
            title=f"{agent_name(agent)}: heartbeats take {share:.0%} of its {'spend' if everything.cost else 'input'}",
            detail=f"{wakes.calls:,} calls of wakes with {mean:,} input tokens each"
            f"{f' came to {format_usd(wakes.cost)}' if wakes.in_dollars else ''}; {wakes.cache_read_tokens:,} tokens "
            f"were read from the provider's cache{told}. What a wake found to do is in this too.",
            evidence={
                "calls": wakes.calls,
                "share": round(share, 4),
                "mean_input_tokens": mean,
                "cache_read_tokens": wakes.cache_read_tokens,
                "tokens_read_anew_after": again,
            },
            cost=per_day,
            basis=case.basis if per_day is not None else "",
            remedy=_SHARED_WAKE if shared else _OWN_WAKE,
            setting="agents.defaults.heartbeat.isolatedSession = true and .lightContext = true in openclaw.json\n"
            'or here: optimize = "max", with the optimizer "heartbeat"'
            if shared
            else 'agents.defaults.heartbeat.every = "2h" (or .model = a cheaper one) in openclaw.json',
        )


def _anew(after: Sequence[Turn], usual: Sequence[Turn]) -> int:
    """Tokens that calls after a wake did not read from the cache, beyond what this agent usually does not read."""
    possible = sum(turn.possible for turn in usual)
    missed = sum(turn.lost for turn in usual) / possible if possible else 0.0
    return max(round(sum(turn.lost - missed * turn.possible for turn in after)), 0)


_LIGHT_WAKE = 12_000  # tokens: a wake in a session of its own with a light context was 8.8k in OpenClaw 2026.9
_SHARED_WAKE = (
    "Wakes carry the whole conversation and break its cached prefix. Give them a session of their own and a light "
    "context (they then do not know the conversation). Where they must know it, the gateway can send them on the "
    "conversation's cached head. After that a longer interval, then a cheaper model."
)
_OWN_WAKE = "Wakes already have a light context: wake less often, or let a cheaper model do it."


def sessions(case: Case) -> Iterator[Finding]:
    bound = round(case.settings.session_usd * USD)
    for number, s in enumerate(case.window.dear):
        left = case.window.dear_count - number - 1
        more = f" {left:,} more sessions are over it." if left and number + 1 == len(case.window.dear) else ""
        reads = s.cache_read_tokens / s.input_tokens if s.input_tokens else 0.0
        agents = some([agent_name(name, small=True) for name in s.agents.split(",")])
        yield Finding(
            id=f"session_over_budget:{s.tenant}/{s.session}",
            code="session_over_budget",
            severity="warning",
            title=f"Session {s.session[:40]!r} cost {format_usd(s.cost)}, over its {format_usd(bound)}",
            detail=f"{s.calls:,} calls of {agents} with {s.input_tokens // s.calls:,} input tokens each, {reads:.0%} "
            f"of them cached.{more}",
            evidence={
                "calls": s.calls,
                "cost_pico": s.cost,
                "bound_pico": bound,
                "mean_input_tokens": s.input_tokens // s.calls,
                "cached_share": round(reads, 4),
            },
            cost=case.window.per_day(s.cost - bound),
            basis=case.basis,
            remedy="Look at what it did: `pennyweight report --by session`. Begin a new session or compact when the "
            "task changes; to enforce a bound, give the tenant a daily limit.",
            setting="pennyweight keys add NAME --daily-usd 10; [advice] session_usd sets this bound",
        )
