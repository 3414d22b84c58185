"""What may be wrong with tiers, targets, virtual models, agents, and the routes to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..routing.agents import AgentRule
from ..routing.settings import TierTable, VirtualTable
from ..routing.tasks import TYPES
from . import providers as known_providers
from .settings import Config, RouteRule
from .tiers import choices, has_local, keyed, matches
from .toml import Path, similar

__all__ = ["Wrong", "agent_problems", "problems"]


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong with a setting. other: the setting that it contradicts, to be quoted beside it."""

    path: Path
    message: str
    remedy: str
    severity: str = "error"
    other: Path | None = None


def problems(config: Config, names: Sequence[str], *, listed: bool = False) -> Iterator[Wrong]:
    """What types cannot say of tiers, targets, virtual models, agents, and routes to them. names: of the providers that
    there are; listed: whether the file names its optimizers."""
    yield from _tiers(config, names)
    yield from _targets(config, names)
    yield from _virtual(config, names)
    yield from _routes(config)
    yield from agent_problems(config.agents, config.tiers)
    if listed and config.tiers and not any(rule.use == "routing" for rule in config.optimizers):
        message = "There are tiers, but the optimizer `routing` is not listed: every call goes to the reference."
        yield Wrong(("tiers",), message, 'Add [[optimizers]] with use = "routing".', "warning")


def _tiers(config: Config, names: Sequence[str]) -> Iterator[Wrong]:
    first: dict[str, int] = {}
    placed: dict[str, tuple[int, str]] = {}
    for index, tier in enumerate(config.tiers):
        where: Path = ("tiers", index)
        if not tier.name.strip():
            yield Wrong((*where, "name"), f"tiers[{index}] has no name.", 'Give it one, such as name = "cheap".')
        if tier.name in first:
            message = f"tiers[{index}].name {tier.name!r} is there twice."
            yield Wrong(
                (*where, "name"), message, "Give each tier one table.", other=("tiers", first[tier.name], "name")
            )
        first.setdefault(tier.name, index)
        if not tier.targets:
            message = f"The tier {tier.name!r} has no targets."
            yield Wrong((*where, "targets"), message, 'Name some, such as targets = ["openai/gpt-5-mini"].')
        for name in tier.targets:
            yield from _name(config, (*where, "targets"), f"The tier {tier.name!r}", name, names)
            if "*" in name:
                message = f"The tier {tier.name!r} names {name!r}, which is no model but a pattern."
                yield Wrong((*where, "targets"), message, "Name each model; patterns are for [[targets]].")
            if name in placed:
                before, other = placed[name]
                message = f"{name!r} is in the tier {tier.name!r} and in {other!r}."
                yield Wrong((*where, "targets"), message, "Keep it in one place.", other=("tiers", before, "targets"))
            placed.setdefault(name, (index, tier.name))
        yield from _unmarked(config, where, tier)
        live = [name for name in tier.targets if (p := config.providers.get(name.partition("/")[0])) and keyed(p)]
        if tier.targets and not live:
            message = f"The tier {tier.name!r} has no live target: none of its providers has a key."
            yield Wrong((*where, "targets"), message, "Its calls go to the other tiers until one has.", "warning")
        if tier.share is not None and not 0 <= tier.share <= 1:
            message = f"tiers[{index}].share {tier.share!r} is no share of calls."
            yield Wrong((*where, "share"), message, "Use 0 to 1; 0.8 is four of five.")
    total = sum(tier.share for tier in config.tiers if tier.share is not None)
    if total > 1 + 1e-9:
        index = max(i for i, tier in enumerate(config.tiers) if tier.share is not None)
        message = f"The shares of the tiers come to {total:g}, more than all calls."
        yield Wrong(("tiers", index, "share"), message, "Let them add up to 1, or less.")


def _unmarked(config: Config, where: Path, tier: TierTable) -> Iterator[Wrong]:
    """Servers on this machine that are not said to be the operator's own: it may be a proxy to a paid one."""
    priced = {str(price.get("provider")) for price in config.prices}
    for name in tier.targets:
        provider = config.providers.get(name.partition("/")[0])
        if (
            provider is None
            or provider.local
            or provider.keys
            or not priced.isdisjoint((provider.name, provider.prices))
        ):
            continue
        if all(map(known_providers.is_loopback, provider.urls.values())):
            message = f"The tier {tier.name!r} names {name!r}, a server on this machine whose calls have no price."
            remedy = f"Set usd_per_hour = 0.0 in [providers.{provider.name}] if it is your own, or give it [[prices]]."
            yield Wrong((*where, "targets"), message, remedy, "warning")


def _targets(config: Config, names: Sequence[str]) -> Iterator[Wrong]:
    first: dict[str, int] = {}
    used = {name for tier in config.tiers for name in tier.targets}
    used |= {name for table in config.virtual for name in (table.reference, table.peer) if name}
    for index, table in enumerate(config.targets):
        where: Path = ("targets", index)
        yield from _name(config, (*where, "target"), f"targets[{index}]", table.target, names)
        if table.target in first:
            message = f"targets[{index}].target {table.target!r} is there twice."
            yield Wrong(
                (*where, "target"), message, "Keep one table.", other=("targets", first[table.target], "target")
            )
        first.setdefault(table.target, index)
        for field in ("context_tokens", "output_tokens", "per_minute", "per_day", "memory_mb"):
            value = getattr(table, field)
            if value is not None and value <= 0:
                message = f"targets[{index}].{field} {value!r} must be above 0."
                yield Wrong((*where, field), message, "Leave it out where there is no limit.")
        if table.success is not None and not 0 <= table.success <= 1:
            message = f"targets[{index}].success {table.success!r} is no probability."
            yield Wrong((*where, "success"), message, "Use 0 to 1; 0.9 is nine answers of ten.")
        if not any(matches(table.target, name) for name in used):
            message = f"targets[{index}] is about {table.target!r}, which is in no tier."
            yield Wrong((*where, "target"), message, "Name it in [[tiers]], or take it out.", "warning")


def _virtual(config: Config, names: Sequence[str]) -> Iterator[Wrong]:
    tiers = {tier.name: tier for tier in config.tiers}
    first: dict[str, int] = {}
    for index, table in enumerate(config.virtual):
        where: Path = ("virtual", index)
        who = f"The virtual model {table.name!r}"
        if not table.name.strip() or "*" in table.name:
            yield Wrong((*where, "name"), f"virtual[{index}].name {table.name!r} is no name.", "Use one without *.")
        if table.name in first:
            message = f"virtual[{index}].name {table.name!r} is there twice."
            yield Wrong((*where, "name"), message, "Keep one table.", other=("virtual", first[table.name], "name"))
        first.setdefault(table.name, index)
        for name in table.tiers:
            if name not in tiers:
                yield Wrong((*where, "tiers"), f"{who} names tier {name!r}, which is not there.", _near(name, tiers))
        if not config.tiers:
            yield Wrong((*where, "name"), f"{who} has nothing to choose from.", "Add [[tiers]].")
        if table.bar is not None and not 0 <= table.bar <= 1:
            message = f"virtual[{index}].bar {table.bar!r} is no probability."
            yield Wrong((*where, "bar"), message, "Use 0 to 1; 0.85 asks for 85 good answers of 100.")
        if table.task and table.task not in TYPES:
            yield Wrong(
                (*where, "task"), f"{who} names task {table.task!r}, which is not known.", _near(table.task, TYPES)
            )
        for field in ("reference", "peer"):
            name = getattr(table, field)
            if name is not None:
                yield from _name(config, (*where, field), who, name, names)
                if "*" in name:
                    message = f"{who} names {name!r}, which is no model but a pattern."
                    yield Wrong((*where, field), message, "Name one model.")
        if table.peer is not None and not table.cascade:
            message = f"{who} has a peer, but cascade is not true: nobody asks it."
            yield Wrong((*where, "peer"), message, "Set cascade = true.", "warning")
        yield from _own(config, index, table, [tiers[name] for name in table.tiers or tiers if name in tiers])


def _own(config: Config, index: int, table: VirtualTable, tiers: Sequence[TierTable]) -> Iterator[Wrong]:
    """Whether anything can ever answer for the virtual model."""
    who, where = f"The virtual model {table.name!r}", ("virtual", index, "name")
    members = [name for tier in tiers for name in tier.targets]
    if table.aim == "local":
        if members and not has_local(config, tiers):
            yield Wrong(
                where, f"{who} is for targets on this machine, and its tiers have none.", "Add an Ollama model."
            )
        reference = config.providers.get((table.reference or "").partition("/")[0])
        if reference is not None and not reference.local:
            message = f"{who} is for targets on this machine, but its reference {table.reference!r} is not on it."
            yield Wrong(("virtual", index, "reference"), message, "Name a local one, or leave it out.")
    if table.cascade and len(set(members)) < 2 and members:
        message = f"{who} is a cascade, but has one target only: there is nothing to go up to."
        yield Wrong(("virtual", index, "cascade"), message, "Give it two, or leave cascade out.")
    facts = {found.target: found for found in config.targets}
    least = [
        found.context_tokens for name in members if (found := facts.get(name)) and found.context_tokens is not None
    ]
    if members and len(least) == len(members) and max(least) <= _LEAST_CONTEXT_TOKENS:
        message = f"{who} can answer nothing: none of its targets takes more than {max(least):,} tokens."
        yield Wrong(where, message, "context_tokens counts prompt and answer together.")


def _routes(config: Config) -> Iterator[Wrong]:
    own = {table.name: index for index, table in enumerate(config.virtual)}
    known = choices(config)
    for index, rule in enumerate(config.routes):
        where: Path = ("routes", index)
        if rule.to is not None:
            if rule.provider or rule.rename is not None or rule.fallbacks:
                message = f"routes[{index}] goes to {rule.to!r}, a virtual model, and to a provider."
                yield Wrong((*where, "to"), message, "Name either; a virtual model has fallbacks of its own.")
            if rule.to not in known:
                message = f"routes[{index}].to {rule.to!r} is no virtual model."
                remedy = _near(rule.to, known) if known else "Add [[tiers]]: without them there is none."
                yield Wrong((*where, "to"), message, remedy)
        if rule.model in own and rule.to != rule.model:
            message = f"routes[{index}] and virtual[{own[rule.model]}] both say where {rule.model!r} goes."
            yield Wrong((*where, "model"), message, "Keep one of them.", other=("virtual", own[rule.model], "name"))
        for before, earlier in enumerate(config.routes[:index]):
            if matches(earlier.model, rule.model) and _destination(earlier) != _destination(rule):
                message = f"routes[{index}] is never reached: routes[{before}] takes every {rule.model!r} before it."
                remedy = "Keep one of them, or put the narrower one first."
                yield Wrong((*where, "model"), message, remedy, other=("routes", before, "model"))
                break


def agent_problems(agents: Sequence[AgentRule], tiers: Sequence[TierTable]) -> Iterator[Wrong]:
    """What is wrong with the rules of agents.toml; paths begin with ("agents", index)."""
    first: dict[str, int] = {}
    names = {tier.name for tier in tiers}
    for index, rule in enumerate(agents):
        where: Path = ("agents", index)
        if not rule.name.strip():
            yield Wrong((*where, "name"), f"agents[{index}] has no name.", "Give it the name that it calls under.")
        if rule.name in first:
            message = f"agents[{index}].name {rule.name!r} is there twice."
            yield Wrong((*where, "name"), message, "Keep one table.", other=("agents", first[rule.name], "name"))
        first.setdefault(rule.name, index)
        for field, tier in (("tier", rule.tier), ("trial", rule.trial)):
            if tier and tier not in names:
                message = f"The agent {rule.name!r} is for tier {tier!r}, which is not there."
                yield Wrong((*where, field), message, _near(tier, names) if names else "Add [[tiers]].")
        for task in rule.tasks:
            if task not in TYPES:
                message = f"The agent {rule.name!r} does {task!r}, which is no known task."
                yield Wrong((*where, "tasks"), message, _near(task, TYPES))
        for field in ("budget_tokens", "budget_usd", "day_usd"):
            value = getattr(rule, field)
            if value is not None and not _positive(value):
                message = f"agents[{index}].{field} {value!r} is no budget."
                yield Wrong((*where, field), message, "Use a number above 0, or leave it out for none.")


def _positive(value: str | float) -> bool:
    try:
        return 0 < float(str(value).removeprefix("$")) < float("inf")
    except ValueError:
        return False


def _name(config: Config, path: Path, who: str, name: str, names: Sequence[str]) -> Iterator[Wrong]:
    """Whether "provider/model" can be a target. A provider that we know, but that has no key yet, is doubtful only."""
    provider, slash, model = name.partition("/")
    if not slash or not model or not provider:
        yield Wrong(path, f"{who} names {name!r}, which is no target.", 'Write "provider/model".')
    elif provider not in names:
        if known := known_providers.KNOWN.get(provider):
            message = f"{who} names {name!r}, and there is no key for {provider}."
            yield Wrong(path, message, f"Set {known.key}; until then it is left out.", "warning")
        else:
            message = f"{who} names provider {provider!r}, which is not there."
            yield Wrong(path, message, f"{_near(provider, names)} Or add [providers.{provider}] with a base_url.")


def _destination(rule: RouteRule) -> tuple[str, str | None, str | None, tuple[str, ...]]:
    return rule.provider, rule.rename, rule.to, rule.fallbacks


def _near(word: str, known: Sequence[str] | Mapping[str, object] | set[str]) -> str:
    return similar(word, sorted(known))


_LEAST_CONTEXT_TOKENS = 1_024  # an answer alone needs that much
