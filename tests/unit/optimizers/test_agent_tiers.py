"""A trial of another tier: for whom, where to, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.optimizers.test_routing import LADDER, call

from pennyweight.call import Call, Proposal, Route
from pennyweight.optimizers.agent_tiers import Settings, build
from pennyweight.protocols import Optimizer
from pennyweight.routing.agents import AgentRule, Agents
from pennyweight.routing.choose import Choice, Option
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

RULES = Agents([AgentRule("writer", "frontier", trial="cheap"), AgentRule("other", "frontier")])


class Parts(ContractParts):
    agents = RULES


def asked(agent: str = "writer", *, excluded: str = "", locked: bool = False) -> Call:
    made = call("hi", agent=agent)
    options = tuple(Option(c, 0.9, 1.0, excluded=excluded if c.tier == "cheap" else "") for c in LADDER)
    made.facts["routing"] = Choice(options[-1], "why", options=options, locked=locked)
    return made


def ask(made: Call) -> Proposal | None:
    return asyncio.run(build(Settings(), Parts()).propose(made))


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(), Parts())

    def calls(self) -> Sequence[Call]:
        return [*super().calls(), asked()]


def test_it_goes_to_the_tier_on_trial() -> None:
    found = ask(asked())
    assert found is not None
    assert isinstance(found.action, Route)
    assert found.action.target == LADDER[1].target
    assert (found.forced, found.level) == (True, "safe")


@pytest.mark.parametrize(
    "made",
    [asked("other"), asked(""), asked(excluded="no tools"), asked(locked=True), call("hi", agent="writer")],
)
def test_what_stops_it(made: Call) -> None:
    assert ask(made) is None


def test_where_it_is_there_anyway_nothing_is_proposed() -> None:
    made = asked()
    assert ask(msgspec.structs.replace(made, target=LADDER[1].target)) is None
