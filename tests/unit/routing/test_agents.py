"""Who an agent is, by the first rule that fits its name."""

from __future__ import annotations

import msgspec
import pytest

from pennyweight.routing.agents import AgentRule, Agents


def test_the_first_rule_that_fits_counts() -> None:
    agents = Agents([AgentRule("scout-*", "local"), AgentRule("scout-7", "cheap"), AgentRule("*", "frontier")])
    assert [rule.tier for name in ("scout-1", "scout-7", "x") if (rule := agents.of(name))] == [
        "local",
        "local",
        "frontier",
    ]


def test_an_exact_name_before_a_pattern_wins() -> None:
    agents = Agents([AgentRule("scout-7", "cheap"), AgentRule("scout-*", "local")])
    found = agents.of("scout-7")
    assert found is not None
    assert found.tier == "cheap"


def test_an_unnamed_caller_is_no_agent() -> None:
    assert Agents([AgentRule("*", "cheap")]).of("") is None
    assert Agents().of("scout") is None


def test_a_dot_in_a_name_is_a_dot() -> None:
    assert Agents([AgentRule("a.*", "cheap")]).of("ab") is None


def test_what_callers_send_is_remembered_in_bounds() -> None:
    agents = Agents([AgentRule("scout-*", "cheap")])
    for number in range(10_000):
        agents.of(f"stranger-{number}")
    assert len(agents._known) <= 4_096


def test_one_task_is_the_type_of_all_calls() -> None:
    assert AgentRule("a", tasks=("code",)).task == "code"
    assert AgentRule("a", tasks=("code", "summary")).task == ""


def test_a_rule_knows_its_settings() -> None:
    with pytest.raises(msgspec.ValidationError, match="tear"):
        msgspec.convert({"name": "a", "tear": "cheap"}, AgentRule)
