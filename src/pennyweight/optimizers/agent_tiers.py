"""Sends an agent's calls to the tier that it is on trial for, for the sessions that are in the experiment.

Stands behind `routing`, whose options it goes by: what cannot take the call is not chosen here either, and a session
that must stay where it is stays. Whether the other tier does as well is told by `pennyweight experiments`, which takes
it back where it does not.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..call import Call, Outcome, Proposal, Route, abstain
from ..routing.agents import Agents
from ..routing.choose import Choice

__all__ = ["AgentTiers", "Parts", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True):
    """Nothing can be set: which agent is tried where stands in agents.toml."""


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def agents(self) -> Agents: ...


def build(settings: Settings, parts: Parts) -> AgentTiers:
    return AgentTiers(settings, parts)


class AgentTiers:
    """An Optimizer that proposes a Route."""

    name = "agent_tiers"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._agents = parts.agents

    async def propose(self, call: Call) -> Proposal | None:
        rule = self._agents.of(call.identity.agent)
        choice: Choice | None = call.facts.get("routing")
        if rule is None or not rule.trial or choice is None or choice.locked:
            return None
        option = next((o for o in choice.options if o.candidate.tier == rule.trial and not o.excluded), None)
        if option is None:
            abstain(call, self.name, f"no target of tier {rule.trial} can take it")
            return None
        if option.target == call.target:
            abstain(call, self.name, f"it is at tier {rule.trial} anyway")
            return None
        why = f"its agent is on trial for tier {rule.trial}"
        return Proposal(Route(option.target), why=why, level="safe", forced=True)

    async def settle(self, outcome: Outcome) -> None:
        return None

    def wants_response(self, call: Call) -> bool:
        return False
