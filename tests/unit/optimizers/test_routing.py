"""The optimizer: what it looks at, what it proposes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pennyweight.call import SAID, Call, Credential, Outcome, Proposal, Route, Target
from pennyweight.economy import Economy
from pennyweight.optimizers.routing import Settings, build
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.protocols import Optimizer
from pennyweight.request import Charge, Done, Usage, Wire
from pennyweight.routing.agents import AgentRule, Agents
from pennyweight.routing.background import Background
from pennyweight.routing.choose import Choice, Priors
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.virtual import Candidate, Live, Virtual
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

CHAT = Wire.OPENAI_CHAT


def candidate(name: str, tier: str, rank: int, *, keyed: bool = True, **facts: Any) -> Candidate:
    provider, _, model = name.partition("/")
    return Candidate(Target(provider, model, CHAT), tier, rank, TargetTable(name, **facts), keyed)


LADDER = (candidate("home/small", "local", 0), candidate("mid/m", "cheap", 1), candidate("top/big", "frontier", 2))
TOP = LADDER[-1].target


class Parts(ContractParts):
    """Over three tiers, whatever the call's model; each token costs ten times as much a tier up."""

    def __init__(self, virtual: Virtual | None = None, agents: Sequence[AgentRule] = ()) -> None:
        super().__init__()
        self.choice = virtual or Virtual("auto", "balanced", LADDER, TOP)
        self.live: dict[str, Live] = {}
        self.spent = 0.0
        self.waits: Background | None = None
        self.lane_target = ""
        self.agents = Agents(agents)
        self.chances = Priors()
        self.book = self  # type: ignore[assignment]
        self.economy = Economy(
            blocks=Blocks(count=lambda text: len(text) // 4), caches=CacheBook(), prices=lambda *_: None
        )

    def virtual(self, call: Call) -> Virtual | None:
        return self.choice if call.original.model == "auto" else None

    def lookout(self, target: Target) -> Live:
        return self.live.get(target.provider, Live())

    def pressure(self, call: Call) -> float:
        return self.spent

    def forced(self, call: Call) -> bool:
        return self.spent >= 0.9

    def background(self, call: Call) -> Background | None:
        return self.waits

    def aimed(self, name: str, wire: Wire) -> Target | None:
        provider, _, model = name.partition("/")
        return Target(provider, model, wire)

    def cost(self, charge: Charge) -> int | None:
        each = {"home": 0, "mid": 10**5, "top": 10**6}.get(charge.provider)
        return None if each is None else each * charge.usage.total_tokens


def call(text: str = "hi", *, agent: str = "", credential: Credential | None = None, **body: Any) -> Call:
    raw = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}], **body}).encode()
    made = make_call(raw, provider="top", model="big", credential=credential)
    return msgspec.structs.replace(made, identity=msgspec.structs.replace(made.identity, agent=agent))


def ask(parts: Parts, asked: Call) -> Proposal | None:
    return asyncio.run(build(Settings(), parts).propose(asked))


def goes_to(parts: Parts, asked: Call) -> str:
    found = ask(parts, asked)
    if found is None:
        return asked.target.provider
    assert isinstance(found.action, Route)
    return found.action.target.provider


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        mine = Parts()
        mine.kv = parts.kv
        return build(Settings(), mine)

    def calls(self) -> Sequence[Call]:
        return [*super().calls(), call(), call("prove that it holds", tools=[{"type": "function"}])]


def test_a_real_name_is_left_alone() -> None:
    assert ask(Parts(), make_call()) is None


def test_a_choice_becomes_a_route_with_a_reason() -> None:
    asked = call("Say whether this is spam or not: hello there")
    found = ask(Parts(), asked)
    assert found is not None
    assert isinstance(found.action, Route)
    assert (found.level, found.saving > 0, found.forced) == ("safe", True, False)
    assert "clears 0.85" in found.why
    told: Choice = asked.facts["routing"]
    assert [option.target.provider for option in told.options] == ["home", "mid", "top"]
    assert asked.facts["fallbacks"] != ()


def test_where_the_reference_is_best_nothing_is_proposed_but_why() -> None:
    asked = call("Prove the theorem.")
    parts = Parts(Virtual("auto:best", "quality", LADDER, TOP))
    assert ask(parts, asked) is None
    assert "frontier is the likeliest" in asked.facts[SAID]["routing"].why


@pytest.mark.parametrize(
    ("live", "goes"),
    [
        (Live(resting=True), "mid"),
        (Live(quota_left=0), "mid"),
        (Live(fits=False), "mid"),
        (Live(wait_s=20, load_s=20), "mid"),
        (Live(quota_left=1, load_s=0.05), "home"),
    ],
)
def test_what_a_target_is_now_counts(live: Live, goes: str) -> None:
    parts = Parts(Virtual("auto", "balanced", LADDER, TOP, bar=0.1))
    parts.live["home"] = live
    assert goes_to(parts, call()) == goes


def test_a_reference_that_cannot_take_the_call_is_left_whatever_that_costs() -> None:
    blind = (LADDER[0], candidate("mid/m", "cheap", 1, tools=False), candidate("top/big", "frontier", 2, tools=False))
    found = ask(Parts(Virtual("auto", "quality", blind, TOP)), call(tools=[{"type": "function"}]))
    assert found is not None
    assert found.forced
    assert isinstance(found.action, Route)
    assert found.action.target.provider == "home"


def test_a_price_that_nobody_knows_does_not_stop_a_route() -> None:
    options = (candidate("odd/small", "cheap", 0), LADDER[-1])
    found = ask(Parts(Virtual("auto", "balanced", options, TOP, bar=0.1)), call())
    assert found is not None
    assert (found.forced, found.saving) == (True, 0)


def test_without_a_key_only_its_own_caller_goes_there() -> None:
    options = (candidate("mid/m", "cheap", 0, keyed=False), candidate("top/big", "frontier", 1, keyed=False))
    parts = Parts(Virtual("auto", "balanced", options, TOP, bar=0.1))
    own = Credential("authorization", "Bearer sk-own")
    assert goes_to(parts, call(credential=own)) == "top"
    asked = call()
    assert ask(parts, asked) is None
    assert "there is no key for mid" in asked.facts[SAID]["routing"].why


def test_a_callers_own_key_never_goes_to_another_provider() -> None:
    asked = call(credential=Credential("authorization", "Bearer sk-own"))
    assert asked.apply(Route(LADDER[1].target)).credential is None
    assert asked.apply(Route(Target("top", "smaller", CHAT))).credential is asked.credential


def test_an_agent_has_its_tier() -> None:
    parts = Parts(agents=[AgentRule("scout-*", "local"), AgentRule("judge", "frontier")])
    assert goes_to(parts, call("Prove the theorem.", agent="scout-3")) == "home"
    assert goes_to(parts, call("hi", agent="judge")) == "top"


def test_a_tight_budget_steps_down() -> None:
    parts = Parts(Virtual("auto:best", "quality", LADDER, TOP))
    parts.spent = 0.95
    found = ask(parts, call())
    assert found is not None
    assert found.forced
    assert "one tier down: cheap" in found.why


def test_a_cascade_brings_its_rungs() -> None:
    peer = Target("mid", "m", CHAT)
    parts = Parts(Virtual("auto", "balanced", LADDER, TOP, cascade=True, peer=peer))
    found = ask(parts, call())
    assert found is not None
    assert isinstance(found.action, Route)
    rungs = found.action.rungs
    assert rungs is not None
    assert rungs.strong[-1] == TOP
    assert rungs.task
    assert rungs.peer == (peer if found.action.target != peer else None)


def test_shares_are_counted_and_steered_to() -> None:
    parts = Parts(Virtual("auto", "balanced", LADDER, TOP, bar=0.1, shares=(("local", 0.6), ("cheap", 0.4))))
    routing = build(Settings(), parts)
    went = []
    for _ in range(400):
        asked = call()
        found = asyncio.run(routing.propose(asked))
        target = found.action.target if found is not None and isinstance(found.action, Route) else TOP
        went.append(target.provider)
        usage = Usage(input_tokens=10, output_tokens=5)
        done = Done(usage, "stop", (Charge(target.provider, target.model, usage, 1.0),))
        asyncio.run(routing.settle(Outcome(asked, done, 200, target.provider, ttft_s=0.1, latency_s=0.2)))
    assert 0.5 < went.count("home") / 400 < 0.7
    assert went.count("home") + went.count("mid") == 400


def test_fast_learns_who_is_fast() -> None:
    parts = Parts(Virtual("fast", "fast", LADDER, TOP, bar=0.1))
    routing = build(Settings(), parts)
    usage = Usage(input_tokens=10, output_tokens=100)
    for target, seconds in ((LADDER[0].target, 9.0), (LADDER[1].target, 0.6), (TOP, 4.0)):
        done = Done(usage, "stop", (Charge(target.provider, target.model, usage, 1.0),))
        asyncio.run(routing.settle(Outcome(call(), done, 200, target.provider, ttft_s=0.3, latency_s=seconds)))
    found = asyncio.run(routing.propose(call()))
    assert found is not None
    assert isinstance(found.action, Route)
    assert found.action.target.provider == "mid"


def test_what_can_wait_goes_to_its_lane() -> None:
    parts = Parts(Virtual("auto:best", "quality", LADDER, TOP))
    parts.waits, parts.lane_target = Background(1e9, "title"), "home/small"
    found = ask(parts, call())
    assert found is not None
    assert isinstance(found.action, Route)
    assert (found.action.target.provider, found.action.rungs) == ("home", None)
    assert "background (title)" in found.why
    real = make_call(provider="top", model="big")
    assert goes_to(parts, real) == "home"
    assert real.facts["fallbacks"] == (real.target,)
    parts.live["home"] = Live(resting=True)
    assert goes_to(parts, call()) == "top"
    parts.live.clear()
    parts.waits = None
    assert goes_to(parts, call()) == "top"


def test_fallbacks_can_take_the_call_too() -> None:
    options = (LADDER[0], candidate("mid/m", "cheap", 1, tools=False), LADDER[2])
    parts = Parts(Virtual("auto", "balanced", options, TOP, bar=0.1))
    asked = call(tools=[{"type": "function"}])
    assert goes_to(parts, asked) == "home"
    assert asked.facts["fallbacks"] == (TOP,)
