"""`pennyweight agents`: import, list, profile by outcomes, and a trial that becomes an experiment."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.agents import command, on_trial
from pennyweight.cli.agents_import import imported, tier_of, written
from pennyweight.clock import SystemClock
from pennyweight.config import load
from pennyweight.errors import ConfigError
from pennyweight.ledger.signals import Said, Signals
from pennyweight.policy import Flag, Policy
from pennyweight.request import Usage
from pennyweight.routing.agents import AgentRule
from pennyweight.routing.settings import TierTable
from pennyweight.stores.flags import SQLiteFlags
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

KEYS = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef"}
TIERS = (
    TierTable("local", ("ollama/qwen2.5:3b",)),
    TierTable("cheap", ("openai/gpt-5-mini", "anthropic/claude-haiku-5-5")),
    TierTable("frontier", ("anthropic/claude-opus-5-5",)),
)
CONFIG = """agents = "agents.toml"
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini"]
[[tiers]]
name = "frontier"
targets = ["openai/gpt-5"]
"""
AGENTS = """# ours
[[agents]]
name = "writer"  # of mails
tier = "frontier"

[[agents]]
name = "planner"
tier = "cheap"

[[agents]]
name = "quiet"
tier = "frontier"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writer who always succeeds on a dear tier, a planner who mostly fails on a cheap one, one of whom nothing is
    said, and one without a rule."""
    (tmp_path / "pennyweight.toml").write_text(CONFIG)
    (tmp_path / "agents.toml").write_text(AGENTS)
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PENNYWEIGHT_DATA", str(tmp_path))
    asyncio.run(_history(tmp_path))
    return tmp_path


async def _history(folder: Path) -> None:
    database = Database(folder / FILE)
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000)
    rows, said = [], []

    def add(agent: str, model: str, count: int, cost: int, values: list[float]) -> None:
        for number in range(count):
            session = f"{agent}-{number}"
            same: dict[str, Any] = {"provider": "openai", "target_model": model, "usage": usage, "trail": ()}
            rows.append(
                sample_receipt(
                    f"{session}-c",
                    at=time.time() - 60,
                    session=session,
                    agent=agent,
                    housekeeping="",
                    cost=cost,
                    baseline=cost,
                    replayed=False,
                    status=200,
                    **same,
                )
            )
            if number < len(values):
                said.append(Said("local", session, "", "feedback", values[number]))

    try:
        add("writer", "gpt-5", 60, 2_250_000_000_000, [1.0] * 60)
        add("planner", "gpt-5-mini", 40, 450_000_000_000, [1.0] * 10 + [-1.0] * 30)
        add("quiet", "gpt-5", 50, 2_250_000_000_000, [])
        add("stranger", "gpt-5-mini", 1, 5, [])
        tenants = {row.tenant for row in rows}
        said = [Said(rows[0].tenant, s.session, s.call_id, s.kind, s.value) for s in said]
        assert len(tenants) == 1
        await SQLiteLedger(database).append(rows)
        await Signals(database, SystemClock()).add(said)
    finally:
        await database.close()


def agents(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def told(*arguments: object) -> Any:
    done = agents(*arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_profile_says_who_sits_wrong_with_evidence_and_saving(folder: Path) -> None:
    found = {row["agent"]: row for row in told("profile", "--json")["agents"]}
    writer, planner, quiet = found["writer"], found["planner"], found["quiet"]
    assert (writer["advice"], writer["tier"], writer["to"]) == ("dearer", "frontier", "cheap")
    assert (writer["outcomes"], writer["success"]) == (60, 1.0)
    assert 0.9 < writer["low"] < writer["high"] == 1.0
    assert writer["cost_usd"] == pytest.approx(135)
    assert writer["saving_usd"] == pytest.approx(135 - 60 * (0.25 + 0.2))  # gpt-5-mini: $0.25 and $2 a million
    assert (planner["advice"], planner["to"]) == ("weaker", "frontier")
    assert planner["high"] < 0.85
    assert planner["saving_usd"] < 0
    assert quiet["advice"] == "unknown"
    assert "0 of its sessions have a known end" in quiet["why"]
    assert found["stranger"]["advice"] == "unknown"


def test_profile_is_readable(folder: Path) -> None:
    done = agents("profile")
    assert done.exit_code == 0
    assert "would have saved $108" in done.output


def test_a_higher_bar_finds_fewer(folder: Path) -> None:
    found = {row["agent"]: row for row in told("profile", "--json", "--bar", "0.99")["agents"]}
    assert found["writer"]["advice"] == "fits"


def test_list_names_strangers(folder: Path) -> None:
    found = told("list", "--json")
    assert [row["name"] for row in found["agents"]] == ["writer", "planner", "quiet"]
    assert found["without_a_rule"] == ["stranger"]
    assert "without a rule: stranger" in agents("list").output


def test_apply_starts_an_experiment_and_keeps_the_file(folder: Path) -> None:
    found = told("apply", "writer", "--share", "0.2", "--json")
    assert found["trials"] == {"writer": "cheap"}
    text = (folder / "agents.toml").read_text()
    assert text == AGENTS.replace('name = "writer"  # of mails\n', 'name = "writer"  # of mails\ntrial = "cheap"\n')
    config = load(folder / "pennyweight.toml", KEYS, {"data_dir": folder})
    assert [rule.use for rule in config.optimizers][:3] == ["routing", "agent_tiers", "exact_cache"]
    assert asyncio.run(_share_of(folder)) == ("on", 0.2, "operator")
    told("apply", "--json")
    assert (folder / "agents.toml").read_text().count("trial = ") == 2


async def _share_of(folder: Path) -> tuple[str, float, str]:
    database = Database(folder / FILE)
    try:
        policy = Policy({"agent_tiers": Flag(rollout=True)}, changes=SQLiteFlags(database, SystemClock()))
        await policy.load()
        now = policy.in_force("agent_tiers")
        return now.mode, now.share, now.by
    finally:
        await database.close()


def test_apply_refuses_what_profile_does_not_say(folder: Path) -> None:
    done = agents("apply", "quiet")
    assert isinstance(done.exception, ConfigError)
    assert "profile says nothing of quiet" in str(done.exception)


def test_a_trial_is_replaced_not_doubled() -> None:
    once = on_trial(AGENTS, {"writer": "cheap"})
    assert on_trial(once, {"writer": "cheap"}) == once
    assert tomllib.loads(on_trial(once, {"writer": "local"}))["agents"][0]["trial"] == "local"


# --- import ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("openai/gpt-5-mini", "cheap"),
        ("gpt-5-mini", "cheap"),
        ("haiku", "cheap"),
        ("opus", "frontier"),
        ("anthropic/claude-opus-4-6", "frontier"),
        ("sonnet", ""),
        ("inherit", ""),
        ("", ""),
        ("qwen2.5:3b", "local"),
    ],
)
def test_a_model_finds_its_tier(model: str, tier: str) -> None:
    assert tier_of(model, TIERS) == tier


def test_openclaw_agents_come_with_their_models(tmp_path: Path) -> None:
    path = tmp_path / "openclaw.json"
    path.write_text(
        """{ // JSON5
  agents: {
    defaults: { model: { primary: "anthropic/claude-opus-4-6" }, subagents: { model: "openai/gpt-5-mini" } },
    list: [ { id: "main" }, { id: "scout", model: "ollama/qwen2.5:3b" }, { name: "no id" }, "odd" ],
  },
}"""
    )
    assert [(rule.name, rule.tier, rule.session_type) for rule in imported(path, TIERS)] == [
        ("main", "frontier", "direct"),
        ("scout", "local", "direct"),
        ("subagent*", "cheap", "sub_agent"),
    ]


def test_claude_codes_agents_come_from_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / ".claude" / "agents"
    folder.mkdir(parents=True)
    (folder / "reviewer.md").write_text('---\nname: code-reviewer\nmodel: "opus"  # dear\n---\nYou review.\n')
    (folder / "tester.md").write_text("---\ndescription: tests\nmodel: haiku\n---\n")
    (folder / "README.md").write_text("no front matter\nname: x\n")
    expected = [("code-reviewer", "frontier"), ("tester", "cheap")]
    assert [(rule.name, rule.tier) for rule in imported(tmp_path / ".claude", TIERS)] == expected


def test_what_was_imported_is_a_file_of_agents(tmp_path: Path) -> None:
    rules = [AgentRule('quo"ted', "cheap", session_type="direct"), AgentRule("b", tasks=("code", "summary"))]
    found = tomllib.loads(written(rules))["agents"]
    assert found == [
        {"name": 'quo"ted', "tier": "cheap", "session_type": "direct"},
        {"name": "b", "tasks": ["code", "summary"]},
    ]


def test_import_writes_a_new_file_only(folder: Path) -> None:
    source = folder / "openclaw.json"
    source.write_text('{"agents": {"list": [{"id": "main", "model": "openai/gpt-5"}]}}')
    assert 'tier = "frontier"' in agents("import", source).output
    done = agents("import", source, "--write", folder / "new.toml")
    assert done.exit_code == 0
    assert "1 agents are in" in done.output
    again = agents("import", source, "--write", folder / "new.toml")
    assert "there already" in str(again.exception)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"agents": {"list": [1]}}'])
def test_what_has_no_agents_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        imported(path, TIERS)
