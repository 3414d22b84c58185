"""Advice about caches: the provider's prompt cache, our response cache, and sessions that change their model."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case, agent_name, route, some
from .settings import Finding
from .window import Turn, total

__all__ = ["prompt_cache", "response_cache", "switching"]


def prompt_cache(case: Case) -> Iterator[Finding]:
    found: dict[tuple[str, str, str], list[Turn]] = {}
    for turn in case.window.turns:
        if turn.kind == "same":
            found.setdefault((turn.agent, turn.provider, turn.model), []).append(turn)
    for (agent, provider, model), turns in found.items():
        warm, possible, read = (sum(getattr(t, name) for t in turns) for name in ("warm", "possible", "read"))
        if 2 * warm < case.settings.min_calls or read >= case.settings.hit_share * possible:
            continue
        per_day = case.daily(case.missed(turns))
        if per_day == 0 or not case.worth_reading(per_day):
            continue  # where a cache read costs the same, there is nothing to gain
        mine = (c for c in case.window.cells if (c.agent, c.provider, c.model) == (agent, provider, model))
        marked = total(mine).marks_asked > 0
        yield Finding(
            id=f"low_prompt_cache_hits:{agent}/{provider}/{model}",
            code="low_prompt_cache_hits",
            severity="warning",
            title=f"{agent_name(agent)} reads {read / possible:.0%} of its prompts from {provider}'s cache",
            detail=f"{warm:,} calls to {model} came within five minutes of another of their session and could have "
            f"shared up to {possible:,} tokens with it; {read:,} were read from the cache.",
            evidence={"calls": warm, "shareable_tokens": possible, "read_tokens": read, "hit_share": read / possible},
            cost=per_day,
            basis="estimated",
            remedy=_MARKED if marked else _UNMARKED,
            setting=_IN_CLIENT.get(provider, "pennyweight doctor")
            if marked
            else '[[optimizers]]\nuse = "prompt_cache"',
        )


_UNMARKED = (
    "Let the gateway place the cache marks, or the client send them; then `pennyweight doctor` names the places where "
    "prompts still change."
)
_MARKED = (
    "The gateway looks after the marks already, so the prompts themselves change: `pennyweight doctor` names the place "
    "and what wrote it. A client that tells its sessions apart helps."
)
_IN_CLIENT = {
    "anthropic": "cache_control in the client (OpenClaw: compat.cacheControlFormat = 'anthropic'; "
    "aider: --cache-prompts)",
    "openai": "prompt_cache_key in the client (OpenClaw: compat.supportsPromptCacheKey = true)",
}


def response_cache(case: Case) -> Iterator[Finding]:
    s = total(case.window.cells)
    asked, hits = s.cache_asked, s.cache_hits
    if asked < max(case.settings.min_calls, 100) or hits >= case.settings.hit_share * asked:
        return
    some = f"It answered {hits:,} of {asked:,} calls ({hits / asked:.1%})."
    yield Finding(
        id="low_response_cache_hits",
        code="low_response_cache_hits",
        severity="info",
        title=f"The response cache answers {hits / asked:.1%} of calls",
        detail=f"{some} Agents and chats rarely ask the same twice, so this is no fault in itself, and a miss costs "
        "microseconds. Only calls with temperature 0 or a seed and without tools are eligible under safe.",
        evidence={"calls": asked, "hits": hits, "hit_share": hits / asked},
        cost=None,
        basis="",
        remedy="If programs ask the same again: set temperature 0 where they do, or keep answers for longer.",
        setting='[[optimizers]]\nuse = "exact_cache"\n\n[optimizers.settings]\nttl_s = 86400',
    )


def switching(case: Case) -> Iterator[Finding]:
    turns = [turn for turn in case.window.turns if turn.kind == "switch"]
    switches = sum(turn.calls for turn in turns)
    if switches <= case.settings.switches:
        return
    agents: dict[str, int] = {}
    for turn in turns:
        agents[turn.agent] = agents.get(turn.agent, 0) + turn.calls
    agent = max(agents, key=lambda name: (agents[name], name))
    session, most = case.window.most_switches
    models = sorted({f"{turn.provider}/{turn.model}" for turn in turns})
    yield Finding(
        id="model_switching",
        code="model_switching",
        severity="warning",
        title=f"Sessions changed their model {switches:,} times",
        detail=f"In {case.window.switching:,} sessions, most often in {session!r} ({most:,} times); {agents[agent]:,} "
        f"of the changes are of {agent_name(agent, small=True)}. Each new model reads the whole conversation anew: "
        f"{sum(turn.lost for turn in turns):,} tokens were not in its cache. Models: {some(models)}.",
        evidence={
            "switches": switches,
            "sessions": case.window.switching,
            "most_in_one_session": most,
            "tokens_not_cached": sum(turn.lost for turn in turns),
        },
        cost=case.daily(case.missed(turns)),
        basis="estimated",
        remedy="Keep a session on one model: choose it when the session begins, and let only separate chores (titles, "
        "summaries) go elsewhere. If fallbacks do it, see which upstream fails.",
        setting="the model in the client; or, where routes do it:\n" + route("asked-model", "provider", None),
    )
