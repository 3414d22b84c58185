"""How providers cache prompts: what is cached, from which length on, for how long. Facts and sources: caching.toml."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Literal

import msgspec

from ..request import Wire

__all__ = ["NO_CACHE", "CacheBook", "CacheKind", "CacheRules"]

CacheKind = Literal["explicit", "automatic", "marked", "none"]


class CacheRules(msgspec.Struct, frozen=True):
    """What is known of a model's prompt cache before anything was learned from its bills.

    `ttl_s`: how long an unused entry lives, the usual and, where there is one, the longer choice.
    `look_back`: blocks before a mark in which an older entry is found; `max_marks`: more are refused (HTTP 400).
    """

    kind: CacheKind = "none"
    min_tokens: int = 1_024
    step_tokens: int = 1
    ttl_s: tuple[float, ...] = (300.0,)
    look_back: int = 0
    max_marks: int = 0
    takes_key: bool = False  # `prompt_cache_key` brings calls with one key to one machine

    @property
    def long_ttl_s(self) -> float | None:
        return self.ttl_s[1] if len(self.ttl_s) > 1 else None


NO_CACHE = CacheRules()
_UNKNOWN = CacheRules("automatic", 1_024, 128, (300.0,))  # most engines keep prefixes by themselves: do not disturb


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: list[str]
    kind: CacheKind
    min_tokens: int
    step_tokens: int = 1
    ttl_s: tuple[float, ...] = (300.0, 3_600.0)
    takes_key: bool = False
    messages: bool = False


class CacheBook:
    """Rules by model. `REMEMBERED` answers are kept: names come from callers."""

    def __init__(self) -> None:
        text = files(__package__).joinpath("caching.toml").read_text(encoding="utf-8")
        self._rules = [(rule, _compiled(rule)) for rule in msgspec.convert(tomllib.loads(text)["rules"], list[_Rule])]
        self._known: dict[tuple[str, str, Wire], CacheRules] = {}

    def rules(self, provider: str, model: str, wire: Wire) -> CacheRules:
        """The rules for `model` at `provider`, asked over `wire`. A Messages upstream takes marks, whatever its model
        is called; a local engine keeps a cache of its own and bills nothing."""
        key = (provider, model, wire)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._find(provider.lower(), model.lower(), wire)
        return found

    def _find(self, provider: str, model: str, wire: Wire) -> CacheRules:
        if wire is Wire.OLLAMA or provider == "ollama":
            return NO_CACHE
        messages = wire is Wire.ANTHROPIC_MESSAGES
        for rule, compiled in self._rules:
            holds = not messages or rule.messages or compiled.kind == "explicit"
            if holds and any(fnmatchcase(model, pattern) for pattern in rule.model):
                return compiled
        return _explicit(1_024) if messages else _UNKNOWN


REMEMBERED = 4_096


def _compiled(rule: _Rule) -> CacheRules:
    if rule.kind == "explicit":
        return _explicit(rule.min_tokens)
    marks = 4 if rule.kind == "marked" else 0
    return CacheRules(
        rule.kind, rule.min_tokens, rule.step_tokens, rule.ttl_s, max_marks=marks, takes_key=rule.takes_key
    )


def _explicit(min_tokens: int) -> CacheRules:
    return CacheRules("explicit", min_tokens, 1, (300.0, 3_600.0), look_back=20, max_marks=4)
