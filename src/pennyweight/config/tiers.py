"""Virtual models: which names there are, and what each stands for.

Names that are built in exist as soon as there are tiers. A rule of [[routes]] for exactly that name goes first, then
virtual models, then rules with `*`: a rule for "everything else" does not take the name of a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..call import Target
from ..ledger.agents import Ranked
from ..patterns import starred
from ..request import Wire
from ..routing.settings import Aim, TargetTable, TierTable, VirtualTable
from ..routing.virtual import Candidate, Virtual
from . import providers as known_providers
from .settings import Config, OptimizerRule, Provider

__all__ = [
    "BUILT_IN",
    "aimed",
    "choice",
    "choices",
    "has_local",
    "keyed",
    "matches",
    "ranked",
    "routed_names",
    "target_at",
    "unserved",
    "with_routing",
]

BUILT_IN: Mapping[str, VirtualTable] = {
    table.name: table
    for table in (
        VirtualTable("auto"),
        VirtualTable("auto:cheap", aim="cheap"),
        VirtualTable("auto:best", aim="quality"),
        VirtualTable("coding", task="code"),
        VirtualTable("reasoning", aim="quality", task="reasoning"),
        VirtualTable("fast", aim="fast"),
        VirtualTable("quality", aim="quality"),
        VirtualTable("local", aim="local"),
    )
}
"""The virtual models that exist without being written down."""


def choices(config: Config) -> dict[str, VirtualTable]:
    """Every virtual model by its name: the operator's, then those built in. A name that one of the tiers' own models
    has stays that model's; `local` needs a target on this machine."""
    found = {table.name: table for table in config.virtual}
    if not config.tiers:
        return found
    taken = {name.partition("/")[2] for tier in config.tiers for name in tier.targets}
    for name, table in BUILT_IN.items():
        if name not in found and name not in taken and (table.aim != "local" or has_local(config, config.tiers)):
            found[name] = table
    return found


def routed_names(config: Config) -> list[str]:
    """The names that callers use for choices: of virtual models, and those that a route sends to one."""
    return [*choices(config), *(rule.model for rule in config.routes if rule.to is not None)]


def ranked(config: Config) -> list[Ranked]:
    """The tiers with their targets as (provider, model)."""
    return [
        Ranked(tier.name, rank, tuple((name.partition("/")[0], name.partition("/")[2]) for name in tier.targets))
        for rank, tier in enumerate(config.tiers)
    ]


def choice(config: Config, table: VirtualTable, wire: Wire) -> Virtual | str:
    """The virtual model for callers of that protocol, or in words why nothing can answer for it."""
    tiers = [tier for tier in config.tiers if not table.tiers or tier.name in table.tiers]
    candidates = tuple(
        Candidate(found, tier.name, rank, _facts(config.targets, name), keyed=keyed(config.providers[found.provider]))
        for rank, tier in enumerate(tiers)
        for name in tier.targets
        if (found := aimed(config.providers, name, wire)) is not None and _allowed(config, table.aim, name)
    )
    reference = aimed(config.providers, table.reference, wire) if table.reference else None
    live = [candidate for candidate in candidates if candidate.keyed] or list(candidates)
    if reference is None and live:
        most = max(candidate.rank for candidate in live)
        reference = next(candidate.target for candidate in live if candidate.rank == most)
    if reference is None:
        missing = sorted({name.partition("/")[0] for tier in tiers for name in tier.targets})
        keys = [known_providers.KNOWN[name].key for name in missing if name in known_providers.KNOWN]
        remedy = f"Set {' or '.join(keys)}." if keys else "Add a target that can answer to one of its tiers."
        return f"The model {table.name!r} has no live target: none of its providers has a key. {remedy}"
    return Virtual(
        table.name,
        table.aim,
        candidates,
        reference,
        bar=table.bar,
        task=table.task,
        cascade=table.cascade,
        peer=aimed(config.providers, table.peer, wire) if table.peer else None,
        shares=tuple((tier.name, tier.share) for tier in tiers if tier.share is not None),
    )


def aimed(providers: Mapping[str, Provider], name: str, wire: Wire) -> Target | None:
    """The target of that "provider/model"; None where nothing is known of the provider but its name."""
    prefix, _, model = name.partition("/")
    provider = providers.get(prefix)
    if provider is None:
        return None
    return target_at(provider, model, wire)


def target_at(provider: Provider, model: str, wire: Wire) -> Target:
    """In the caller's protocol where the provider speaks it, else crossed to Chat if it speaks that."""
    if wire not in provider.urls:
        wire = Wire.OPENAI_CHAT if Wire.OPENAI_CHAT in provider.urls else provider.wires[0]
    return Target(provider.name, model, wire)


def unserved(config: Config, model: str, natural: Provider) -> str:
    """Why a call for a built-in name cannot be answered although nothing is configured for it; "" where the provider
    that it would go to may have a model of that name: one at another address than its own, or an Ollama."""
    if model not in BUILT_IN or natural.moved or natural.name == "ollama":
        return ""
    if config.tiers:  # `local` without a local target, for all others exist
        return (
            f"The model {model!r} stands for the targets on this machine, and no tier has one. Add an Ollama model to "
            'a tier, such as targets = ["ollama/qwen2.5:3b"].'
        )
    own = " OpenRouter's own is openrouter/auto." if model == "auto" else ""
    return (
        f"The model {model!r} stands for a choice among tiers, and none are configured. Add [[tiers]] to "
        f"pennyweight.toml (docs/routing.md has recipes), or name a real model.{own}"
    )


def with_routing(config: Config) -> tuple[OptimizerRule, ...]:
    """The default optimizers of that configuration: `routing` stands before them where there is something to choose, so
    that a cache keeps an answer as that of the model which gave it; and behind it `agent_tiers` where an agent is on
    trial, to which sessions come little by little."""
    needless = not choices(config) and not config.lanes.target
    if needless or any(rule.use == "routing" for rule in config.optimizers):
        return config.optimizers
    added = [OptimizerRule("routing")]
    if any(rule.trial for rule in config.agents):
        added.append(OptimizerRule("agent_tiers", rollout=True))
    return (*added, *config.optimizers)


def matches(pattern: str, model: str) -> bool:
    """Whether a rule's pattern takes that name, or every name that another pattern takes."""
    if "*" not in pattern:
        return pattern == model
    return starred(pattern).fullmatch(model) is not None


def _facts(tables: Sequence[TargetTable], name: str) -> TargetTable:
    """What the operator says of that target: in a table of its own, else in the first whose pattern fits."""
    own = next((table for table in tables if table.target == name), None)
    found = own or next((table for table in tables if matches(table.target, name)), None)
    return TargetTable(name) if found is None else msgspec.structs.replace(found, target=name)


def keyed(provider: Provider) -> bool:
    """Whether the gateway can ask it without a key of the caller's."""
    return bool(provider.keys) or provider.auth == "none" or provider.configured


def _allowed(config: Config, aim: Aim, name: str) -> bool:
    """For `local`, nothing leaves the operator's machines, not even when all of them fail."""
    return aim != "local" or config.providers[name.partition("/")[0]].local


def has_local(config: Config, tiers: Sequence[TierTable]) -> bool:
    """Whether one of the tiers has a target on the operator's own machines."""
    return any(
        (provider := config.providers.get(name.partition("/")[0])) is not None and provider.local
        for tier in tiers
        for name in tier.targets
    )
