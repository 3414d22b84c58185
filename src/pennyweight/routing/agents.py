"""Which agents there are and what is said of each: the shape of agents.toml, and who is who.

Pure. A rule's name may have `*` for any run of characters; the first rule that fits an agent counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from ..patterns import starred

__all__ = ["AgentRule", "Agents", "SessionType"]

SessionType = Literal["direct", "cron", "sub_agent"]
"""How an agent's sessions come about: a person talks to it, a timer starts it, or another agent does."""

_REMEMBERED = 4_096


class AgentRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One [[agents]] of agents.toml.

    tier: name of the [[tiers]] that its calls go to; "": as each call needs. trial: another tier, to which the
    optimizer `agent_tiers` sends a share of its sessions, as an experiment. tasks: what it does, as task types; with
    one, its calls are taken to be of that type. session_type: which limit its sessions have; None: told from each
    call. budget_tokens, budget_usd: of each of its sessions, in price-weighted tokens and in dollars ("0.50"); None: as
    its session type has. day_usd: of all its sessions together, a day.
    """

    name: str
    tier: str = ""
    trial: str = ""
    tasks: tuple[str, ...] = ()
    session_type: SessionType | None = None
    budget_tokens: int | None = None
    budget_usd: str | float | None = None
    day_usd: str | float | None = None

    @property
    def task(self) -> str:
        """The type of its calls where it has only one; "" where each call tells."""
        return self.tasks[0] if len(self.tasks) == 1 else ""


class Agents:
    """The rules of one configuration, found by an agent's name. What was asked is remembered, as every call asks."""

    def __init__(self, rules: Sequence[AgentRule] = ()) -> None:
        self.rules = tuple(rules)
        self._exact: dict[str, tuple[int, AgentRule]] = {}
        self._patterns: list[tuple[int, re.Pattern[str], AgentRule]] = []
        for order, rule in enumerate(self.rules):
            if "*" in rule.name:
                self._patterns.append((order, starred(rule.name), rule))
            else:
                self._exact.setdefault(rule.name, (order, rule))
        self._known: dict[str, AgentRule | None] = {}

    def __len__(self) -> int:
        return len(self.rules)

    def of(self, name: str) -> AgentRule | None:
        """The first rule that fits the agent's name; None for one that no rule names, and for ""."""
        if not name or not self.rules:
            return None
        if name not in self._known:
            if len(self._known) >= _REMEMBERED:  # names come from callers
                self._known.clear()
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> AgentRule | None:
        exact = self._exact.get(name)
        before = exact[0] if exact is not None else len(self.rules)
        for order, pattern, rule in self._patterns:
            if order < before and pattern.fullmatch(name):
                return rule
        return exact[1] if exact is not None else None
