"""What budgets may say, what each comes to, whose session is of which type, and what a usage counts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.backends.budget.rig import NOON, PRICE

from pennyweight.backends.budget.amounts import tokens
from pennyweight.backends.budget.limits import Lines, by_type, compiled, key_parts, of_agent, wrong
from pennyweight.backends.budget.session_type import SessionTypes
from pennyweight.backends.budget.settings import BudgetRule, SessionType
from pennyweight.call import Call, Identity
from pennyweight.errors import ConfigError
from pennyweight.money import FREE, Band, Price, Rates
from pennyweight.request import Usage
from pennyweight.routing.agents import AgentRule
from pennyweight.testing.backend import make_call


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (BudgetRule("key"), "scope"),
        (BudgetRule("key", usd=1, tokens=1), "scope"),
        (BudgetRule("key", usd=-5), "usd"),
        (BudgetRule("key", usd="-5.00"), "usd"),
        (BudgetRule("key", usd=0), "usd"),
        (BudgetRule("key", usd=float("nan")), "usd"),
        (BudgetRule("key", usd=float("inf")), "usd"),
        (BudgetRule("key", usd="a lot"), "usd"),
        (BudgetRule("key", usd=10**9), "usd"),
        (BudgetRule("key", tokens=-1), "tokens"),
        (BudgetRule("key", tokens=0), "tokens"),
        (BudgetRule("key", tokens=1, warn=0.95), "warn"),
        (BudgetRule("key", tokens=1, halt=1.2), "warn"),
        (BudgetRule("key", tokens=1, warn=-0.1), "warn"),
        (BudgetRule("key", tokens=1, warn=float("nan")), "warn"),
        (BudgetRule("call", tokens=1, per="day"), "per"),
        (BudgetRule("key", tokens=1, type="cron"), "type"),
        (BudgetRule("key", tokens=1, name="daily"), "name"),
        (BudgetRule("key", tokens=1, name="a\nb"), "name"),
        (BudgetRule("key", tokens=1, time_zone="Mars"), "time_zone"),
    ],
)
def test_what_no_budget_can_be(rule: BudgetRule, field: str) -> None:
    assert [found[0] for found in wrong(rule)][:1] == [field]
    with pytest.raises(ConfigError, match=r"^budgets\[0\]: "):
        compiled([rule])


def test_two_that_are_the_same_are_refused() -> None:
    with pytest.raises(ConfigError, match="another budget 'key day usd'"):
        compiled([BudgetRule("key", per="day", usd=1), BudgetRule("key", per="day", usd=2)])
    assert len(compiled([BudgetRule("key", per="day", usd=1), BudgetRule("key", per="day", usd=2, key="a*")])) == 2


def test_a_key_tells_what_it_is_of() -> None:
    call = msgspec.structs.replace(make_call(), identity=Identity("t\u2028", "s/1", "a"))
    (line,) = Lines(compiled([BudgetRule("session", per="day", usd=1)])).of(call, NOON)
    assert key_parts(line.key) == ("session day usd", NOON - 12 * 3600, "t\u2028", "s/1")
    for odd in ("", "a", "a\nb\nc\nd\ne", "a\nx\nb\nc"):
        assert key_parts(odd) is None


def test_an_agents_own_budgets_go_before_those_of_its_type() -> None:
    own = of_agent(AgentRule("writer", budget_tokens=5_000, day_usd="2.50"))
    assert [(limit.id, limit.amount) for limit in own] == [
        ("agent writer session tokens", 5_000_000),
        ("agent writer agent day usd", 2_500_000_000_000),
    ]
    lines = Lines(
        [by_type(BudgetRule("session", tokens=10_000, type="direct"))],
        own=lambda agent: own if agent == "writer" else (),
        owned=own,
    )
    for agent, budgets in (("writer", {limit.id for limit in own}), ("other", {"sessions:direct"})):
        call = msgspec.structs.replace(make_call(), identity=Identity("t", "s", agent))
        assert {line.limit.id for line in lines.of(call, NOON)} == budgets
    with pytest.raises(ConfigError, match=r"^agents: 'writer': '-1' is no price"):
        of_agent(AgentRule("writer", day_usd="-1"))


@pytest.mark.parametrize(
    ("usage", "price", "plain", "expected"),
    [
        (Usage(1000, output_tokens=10), PRICE, False, 1_010_000),
        (Usage(1000, cache_read_tokens=1000), PRICE, False, 100_000),
        (Usage(1000, cache_write_1h_tokens=1000), PRICE, False, 2_000_000),
        (Usage(1000, cache_read_tokens=1000), None, False, 100_000),
        (Usage(1000, cache_read_tokens=1000), FREE, False, 100_000),
        (
            Usage(1000, cache_read_tokens=1000),
            Price(Rates(3, 15)),
            False,
            1_000_000,
        ),  # reads have no price of their own
        (Usage(1000, cache_read_tokens=1000), PRICE, True, 1_000_000),
        (Usage(3, cache_read_tokens=1), Price(Rates(3, 15, 1)), False, 2_334),  # rounded up
        (Usage(300, cache_read_tokens=300), Price(Rates(10, 1), (Band(200, Rates(10, 1, 5)),)), False, 150_000),
    ],
)
def test_tokens_by_price(usage: Usage, price: Price | None, plain: bool, expected: int) -> None:
    assert tokens(usage, price, plain=plain) == expected


def of(
    session: str = "s", agent: str = "", housekeeping: Any = None, body: dict[str, Any] | None = None, **headers: str
) -> Call:
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    made = make_call(json.dumps(body or {"model": "m", "messages": []}).encode(), headers=sent)
    return msgspec.structs.replace(made, identity=Identity("t", session, agent, housekeeping=housekeeping))


OPENCLAW = "You are a personal assistant running inside OpenClaw.\nRuntime: agent=main | session={} | sessionId=7f0c"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (of(), "direct"),
        (of(x_pennyweight_session_type="cron"), "cron"),
        (of(x_pennyweight_session_type="Sub-Agent"), "sub_agent"),
        (of(x_pennyweight_session_type="nonsense"), "direct"),
        (of(x_openai_subagent="review"), "sub_agent"),
        (of("agent:main:subagent:12"), "sub_agent"),
        (of("agent:main:cron:nightly"), "cron"),
        (of(housekeeping="heartbeat"), "cron"),
        (of(agent="night"), "cron"),
        (of(agent="night", x_pennyweight_session_type="direct"), "direct"),
        (of("7f0c", body={"model": "m", "system": OPENCLAW.format("agent:main:subagent:9")}), "sub_agent"),
        (of("7f0d", body={"model": "m", "system": OPENCLAW.format("agent:main:cron:9")}), "cron"),
        (of("7f0e", body={"model": "m", "system": OPENCLAW.format("agent:main:main")}), "direct"),
    ],
)
def test_session_types(call: Call, expected: SessionType) -> None:
    types = SessionTypes(lambda agent: "cron" if agent == "night" else None)
    assert types.of(call) == expected


def test_what_a_prompt_told_is_remembered_and_what_a_header_told_is_not() -> None:
    types = SessionTypes()
    assert types.of(of(x_openai_subagent="review")) == "sub_agent"
    assert types.of(of()) == "direct"
    assert types.of(of("7f", body={"model": "m", "system": OPENCLAW.format("agent:main:cron:9")})) == "cron"
    assert types.of(of("7f")) == "cron"
