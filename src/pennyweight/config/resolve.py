"""Which provider answers a model: rules from the file, a "provider/model" name, the model's family, the protocol.

Pure but for a memo: a model name costs one lookup after its first call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ..backends.coalesce import Fuse
from ..call import Call, Target
from ..hits import CacheRule
from ..request import Operation, Wire
from ..routing.background import Lane
from ..routing.settings import VirtualTable
from ..routing.virtual import Virtual
from .settings import Config, Provider, RouteRule
from .tiers import choice, choices, matches, target_at, unserved

__all__ = ["Resolved", "Resolver", "resolve"]

_NATURAL: Mapping[Wire, str] = {
    Wire.OPENAI_CHAT: "openai",
    Wire.OPENAI_RESPONSES: "openai",
    Wire.ANTHROPIC_MESSAGES: "anthropic",
    Wire.OLLAMA: "ollama",
}

_FAMILIES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"claude|anthropic\.claude", "anthropic"),
        (r"gpt-(?!oss)|chatgpt|o[1-9](?:$|-)|text-embedding-|codex-|davinci|computer-use-preview|dall-e", "openai"),
        (r"deepseek", "deepseek"),
        (r"kimi|moonshot", "moonshot"),
        (r"qwen|qwq|qvq", "dashscope"),
        (r"minimax|abab", "minimax"),
        (r"gemini|gemma-", "gemini"),
        (r"mistral|ministral|codestral|devstral|magistral|pixtral", "mistral"),
        (r"grok", "xai"),
        (r"accounts/fireworks/", "fireworks"),
    )
)


class Resolved(msgspec.Struct, frozen=True):
    """Where a call goes, where it goes when that fails, which rule said so (for `explain`), and what it says of
    keeping answers."""

    target: Target
    fallbacks: tuple[Target, ...] = ()
    why: str = ""
    cache: CacheRule = CacheRule("")
    fuse: Fuse | None = None  # what the rule says of sharing answers in flight
    virtual: Virtual | None = None  # the choice that the model's name stands for
    lane: Lane | None = None  # whether the rule lets calls wait
    refused: str = ""  # why no call for that model can be answered, in words for the caller


class Resolver:
    """`resolve` for one configuration, remembered per model. Model names come from callers, so the memo is bounded."""

    _REMEMBERED = 4096

    def __init__(self, config: Config) -> None:
        self._config = config
        self._memo: dict[tuple[str, Wire], Resolved] = {}

    def __call__(self, model: str, wire: Wire) -> Target:
        return self.full(model, wire).target

    def of(self, call: Call) -> Resolved:
        """For a call as it came. One that is merely passed on may have no body, and so names no model."""
        original = call.original
        return self.full("" if original.operation is Operation.OTHER else original.model, original.wire)

    def meant_for(self, model: str, wire: Wire, provider: str, secret: str) -> bool:
        """Whether a caller that names this model may mean its own key for that provider. Who names a choice has named
        no provider: its key is for the one that clients of its protocol call, or for Anthropic if it says so itself."""
        if self.full(model, wire).virtual is None or provider == _NATURAL[wire]:
            return True
        return provider == "anthropic" and "sk-ant-" in secret

    def full(self, model: str, wire: Wire) -> Resolved:
        found = self._memo.get((model, wire))
        if found is None:
            if len(self._memo) >= self._REMEMBERED:
                self._memo.clear()
            found = self._memo[model, wire] = resolve(self._config, model, wire)
        return found


def resolve(config: Config, model: str, wire: Wire) -> Resolved:
    """Where a call for `model` that came in `wire` goes. Always an answer: an unknown model goes where that
    protocol's own clients would have sent it, its name unchanged.
    """
    known = choices(config)
    rule = next((rule for rule in config.routes if rule.model == model), None)
    if rule is None and model in known:
        return _by_choice(config, known[model], wire)
    rule = rule or next((rule for rule in config.routes if matches(rule.model, model)), None)
    if rule is not None and rule.to is not None:
        return _by_choice(config, known[rule.to], wire, rule)
    if rule is not None:
        return _by_rule(config.providers, rule, model, wire)
    provider, name, why = _choose(config.providers, model, wire)
    refused = unserved(config, model, provider) if model == name else ""
    return Resolved(target_at(provider, name, wire), why=why, refused=refused)


def _choose(providers: Mapping[str, Provider], model: str, wire: Wire) -> tuple[Provider, str, str]:
    natural = providers[_NATURAL[wire]]
    prefix, slash, rest = model.partition("/")
    if slash and rest and prefix in providers:
        named = providers[prefix]
        # vLLM and its like behind OPENAI_BASE_URL call this model by its Hugging Face name.
        own_name = named.moved and model.startswith("openai/gpt-oss")
        elsewhere = natural.moved or "openrouter" in providers  # who may know the whole name
        if not own_name and (named.configured or not elsewhere):
            return named, rest, f"{prefix}/ in the model's name"
    if slash and "openrouter" in providers and not natural.moved:
        return providers["openrouter"], model, "a vendor/model name, as OpenRouter has them"
    family = _family(rest if prefix in providers else model)
    if family is not None and family in providers:
        owner = providers[family]
        if owner.configured or (family == _NATURAL[wire]) or not natural.configured:
            return owner, model, f"{family}'s model"
    return natural, model, f"{natural.name} is where {wire.value} calls go"


def _family(model: str) -> str | None:
    lower = model.lower()
    for pattern, name in _FAMILIES:
        if pattern.match(lower):
            return name
    return None


def _by_rule(providers: Mapping[str, Provider], rule: RouteRule, model: str, wire: Wire) -> Resolved:
    target = target_at(providers[rule.provider], rule.rename or model, wire)
    fallbacks = []
    for fallback in rule.fallbacks:
        name, _, renamed = fallback.partition("/")
        fallbacks.append(target_at(providers[name], renamed or target.model, wire))
    kept = CacheRule(rule.model, rule.volatile, rule.ttl_s)
    return Resolved(target, tuple(fallbacks), f"route {rule.model!r}", kept, rule.fuse, lane=rule.lane)


def _by_choice(config: Config, table: VirtualTable, wire: Wire, rule: RouteRule | None = None) -> Resolved:
    """A virtual model: its reference is where the call goes, unless it is routed; the others stand in for it, the
    strongest first."""
    found = choice(config, table, wire)
    if isinstance(found, str):
        natural = config.providers[_NATURAL[wire]]
        return Resolved(target_at(natural, table.name, wire), why=f"virtual model {table.name!r}", refused=found)
    others = sorted((c for c in found.candidates if c.keyed), key=lambda candidate: -candidate.rank)
    fallbacks = tuple(dict.fromkeys(c.target for c in others if c.target != found.reference))
    why, kept, fuse, lane = f"virtual model {table.name!r}", CacheRule(table.name), None, table.lane
    if rule is not None:
        lane = rule.lane or lane
        why, fuse = f"route {rule.model!r} to the virtual model {table.name!r}", rule.fuse
        kept = CacheRule(rule.model, rule.volatile, rule.ttl_s)
    return Resolved(found.reference, fallbacks, why, kept, fuse, virtual=found, lane=lane)
