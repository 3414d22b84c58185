"""Tiers, targets and virtual models in a configuration: which names there are, where they go, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.config import Config, inspect, load, resolve
from pennyweight.config.tiers import BUILT_IN, choices
from pennyweight.errors import ConfigError
from pennyweight.request import Wire

CHAT, MESSAGES, OLLAMA = Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, Wire.OLLAMA
KEYS = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef"}
TIERS = """
[[tiers]]
name = "local"
targets = ["ollama/qwen2.5:3b"]
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]
share = 0.8
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
"""


def loaded(tmp_path: Path, text: str = TIERS, **env: str) -> Config:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    return load(path, env or KEYS)


def told(tmp_path: Path, text: str, **env: str) -> list[str]:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    return [f"{problem.severity} {problem}".replace(f"{tmp_path}/", "") for problem in inspect(path, env or KEYS)[1]]


def test_names_are_there_as_soon_as_there_are_tiers(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert set(choices(config)) == set(BUILT_IN)
    assert not choices(load(None, KEYS))


def test_a_choice_goes_to_the_strongest_unless_it_is_routed(tmp_path: Path) -> None:
    found = resolve(loaded(tmp_path), "auto", CHAT)
    assert found.virtual is not None
    assert (found.target.provider, found.target.model, found.target.wire) == ("anthropic", "claude-opus-4-6", MESSAGES)
    assert [(c.tier, c.rank, c.target.model) for c in found.virtual.candidates] == [
        ("local", 0, "qwen2.5:3b"),
        ("cheap", 1, "gpt-5-mini"),
        ("cheap", 1, "claude-haiku-4-5"),
        ("frontier", 2, "claude-opus-4-6"),
    ]
    assert [target.model for target in found.fallbacks] == ["gpt-5-mini", "claude-haiku-4-5", "qwen2.5:3b"]


def test_local_leaves_the_machine_for_nothing(tmp_path: Path) -> None:
    found = resolve(loaded(tmp_path), "local", CHAT)
    assert (found.target.provider, found.fallbacks) == ("ollama", ())


def test_local_without_a_local_target_is_refused_with_the_remedy(tmp_path: Path) -> None:
    text = TIERS.replace('"ollama/qwen2.5:3b"', '"openai/gpt-5-nano"')
    found = resolve(loaded(tmp_path, text), "local", CHAT)
    assert "no tier has one" in found.refused


def test_without_tiers_a_choice_is_refused_with_the_remedy() -> None:
    found = resolve(load(None, KEYS), "auto", CHAT)
    assert "[[tiers]]" in found.refused
    assert "openrouter/auto" in found.refused
    assert resolve(load(None, KEYS), "gpt-5", CHAT).refused == ""


@pytest.mark.parametrize("wire", [CHAT, OLLAMA])
def test_a_name_that_a_provider_may_really_serve_is_not_stolen(wire: Wire) -> None:
    config = load(None, {"OPENAI_BASE_URL": "http://127.0.0.1:4000/v1"})
    assert resolve(config, "fast", wire).refused == ""
    found = resolve(load(None, {**KEYS, "OPENROUTER_API_KEY": "sk-or-0123456789abcdef"}), "openrouter/auto", CHAT)
    assert (found.target.provider, found.target.model, found.refused) == ("openrouter", "auto", "")


def test_the_operators_own_takes_the_place_of_a_built_in_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, TIERS + '[[virtual]]\nname = "coding"\ntiers = ["cheap"]\nbar = 0.7\ntask = "code"\n')
    found = resolve(config, "coding", CHAT).virtual
    assert found is not None
    assert ({c.tier for c in found.candidates}, found.bar) == ({"cheap"}, 0.7)


def test_a_real_name_may_be_sent_to_a_choice(tmp_path: Path) -> None:
    config = loaded(tmp_path, TIERS + '[[routes]]\nmodel = "gpt-5"\nto = "auto"\n')
    found = resolve(config, "gpt-5", CHAT)
    assert found.virtual is not None
    assert found.virtual.name == "auto"
    assert resolve(config, "gpt-5-mini", CHAT).virtual is None


def test_a_rule_for_everything_else_leaves_choices_alone(tmp_path: Path) -> None:
    config = loaded(tmp_path, TIERS + '[[routes]]\nmodel = "*"\nprovider = "openai"\n')
    assert resolve(config, "auto", CHAT).virtual is not None
    assert resolve(config, "whatever", CHAT).target.provider == "openai"


def test_targets_without_a_key_are_left_out_and_told(tmp_path: Path) -> None:
    text = TIERS.replace('"openai/gpt-5-mini"', '"openrouter/qwen/qwen3-coder"')
    assert any("warning" in line and "OPENROUTER_API_KEY" in line for line in told(tmp_path, text))
    virtual = resolve(loaded(tmp_path, text), "auto", CHAT).virtual
    assert virtual is not None
    assert "openrouter" not in {c.target.provider for c in virtual.candidates}


def test_a_tier_with_no_live_target_is_told_and_the_next_answers(tmp_path: Path) -> None:
    lines = told(tmp_path, TIERS, OPENAI_API_KEY=KEYS["OPENAI_API_KEY"])
    assert any("The tier 'frontier' has no live target" in line for line in lines)
    found = resolve(loaded(tmp_path, TIERS, OPENAI_API_KEY=KEYS["OPENAI_API_KEY"]), "auto", CHAT)
    assert found.target.model == "gpt-5-mini"


def test_the_optimizer_is_there_where_there_is_something_to_choose(tmp_path: Path) -> None:
    assert [rule.use for rule in loaded(tmp_path).optimizers][:2] == ["routing", "exact_cache"]
    assert "routing" not in [rule.use for rule in load(None, KEYS).optimizers]
    lines = told(tmp_path, TIERS + '[[optimizers]]\nuse = "exact_cache"\n')
    assert any("`routing` is not listed" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[tiers]]\nname = "a"\ntargets = []\n', "The tier 'a' has no targets"),
        ('[[tiers]]\nname = "a"\ntargets = ["opnai/x"]\n', "Did you mean 'openai'?"),
        ('[[tiers]]\nname = "a"\ntargets = ["gpt-5"]\n', "which is no target"),
        ('[[tiers]]\nname = "a"\ntargets = ["openai/*"]\n', "names 'openai/*', which is no model but a pattern"),
        (TIERS + '[[virtual]]\nname = "v"\nreference = "openai/gpt-*"\n', "names 'openai/gpt-*', which is no model"),
        ('[[tiers]]\nname = "a"\ntargets = ["openai/x"]\nshare = 1.2\n', "is no share of calls"),
        (TIERS + '[[tiers]]\nname = "x"\ntargets = ["openai/x"]\nshare = 0.3\n', "come to 1.1"),
        (TIERS + '[[targets]]\ntarget = "openai/gpt-5-mini"\nper_day = -1\n', "per_day -1 must be above 0"),
        (TIERS + '[[targets]]\ntarget = "openai/gpt-5-mini"\nsuccess = 90\n', "success 90.0 is no probability"),
        (TIERS + '[[virtual]]\nname = "v"\ntiers = ["cheep"]\n', "Did you mean 'cheap'?"),
        (TIERS + '[[virtual]]\nname = "v"\nbar = 85\n', "bar 85.0 is no probability"),
        (TIERS + '[[virtual]]\nname = "v"\ntask = "codeing"\n', "Did you mean 'code'?"),
        (TIERS + '[[virtual]]\nname = "v"\nreference = "opnai/x"\n', "provider 'opnai', which is not there"),
        (TIERS + '[[virtual]]\nname = "v"\ncascade = true\npeer = "x"\n', "names 'x', which is no target"),
        (TIERS + '[[virtual]]\nname = "v"\ntiers = ["frontier"]\naim = "local"\n', "its tiers have none"),
        (TIERS + '[[virtual]]\nname = "v"\naim = "local"\nreference = "openai/gpt-5"\n', "is not on it"),
        (TIERS + '[[virtual]]\nname = "v"\ntiers = ["local"]\ncascade = true\n', "nothing to go up to"),
        (
            TIERS + '[[targets]]\ntarget = "ollama/qwen2.5:3b"\ncontext_tokens = 512\n'
            '[[virtual]]\nname = "v"\ntiers = ["local"]\n',
            "can answer nothing",
        ),
        ('[[virtual]]\nname = "v"\n', "nothing to choose from"),
        (TIERS + '[[routes]]\nmodel = "x"\nto = "atuo"\n', "Did you mean 'auto"),
        (TIERS + '[[routes]]\nmodel = "x"\nto = "auto"\nprovider = "openai"\n', "and to a provider"),
        ('[[routes]]\nmodel = "x"\n', "not where it goes"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    errors = [line for line in told(tmp_path, text) if line.startswith("error")]
    assert any(said in line for line in errors), errors
    with pytest.raises(ConfigError):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        (
            TIERS + '[[tiers]]\nname = "cheap"\ntargets = ["openai/x"]\n',
            'line 6: name = "cheap"',
            'line 13: name = "cheap"',
        ),
        (
            TIERS + '[[tiers]]\nname = "x"\ntargets = ["openai/gpt-5-mini"]\n',
            'line 7: targets = ["openai/gpt-5-mini", ',
            'line 14: targets = ["openai/gpt-5-mini"]',
        ),
        (
            TIERS + '[[virtual]]\nname = "auto"\n[[virtual]]\nname = "auto"\naim = "cheap"\n',
            'line 13: name = "auto"',
            'line 15: name = "auto"',
        ),
        (
            TIERS + '[[virtual]]\nname = "mine"\n[[routes]]\nmodel = "mine"\nprovider = "openai"\n',
            'line 13: name = "mine"',
            'line 15: model = "mine"',
        ),
        (
            '[[routes]]\nmodel = "gpt-*"\nprovider = "openai"\n[[routes]]\nmodel = "gpt-5"\nprovider = "ollama"\n',
            'line 2: model = "gpt-*"',
            'line 5: model = "gpt-5"',
        ),
        (
            TIERS + '[[targets]]\ntarget = "openai/gpt-5-mini"\n[[targets]]\ntarget = "openai/gpt-5-mini"\n',
            'line 13: target = "openai/gpt-5-mini"',
            'line 15: target = "openai/gpt-5-mini"',
        ),
    ],
)
def test_contradictions_are_refused_with_both_lines(tmp_path: Path, text: str, first: str, second: str) -> None:
    errors = [line for line in told(tmp_path, text) if line.startswith("error")]
    assert len(errors) == 1, errors
    assert first in errors[0]
    assert second in errors[0]


def test_rules_that_say_the_same_do_not_contradict(tmp_path: Path) -> None:
    text = '[[routes]]\nmodel = "gpt-*"\nprovider = "openai"\n[[routes]]\nmodel = "gpt-5"\nprovider = "openai"\n'
    assert not [line for line in told(tmp_path, text) if line.startswith("error")]


def test_agents_are_read_from_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text('[[agents]]\nname = "scout-*"\ntier = "cheap"\ntasks = ["code"]\n')
    config = loaded(tmp_path, 'agents = "agents.toml"\n' + TIERS)
    assert [(rule.name, rule.tier) for rule in config.agents] == [("scout-*", "cheap")]


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ('[[agents]]\nname = "a"\ntier = "cheep"\n', "agents.toml:3: The agent 'a' is for tier 'cheep'"),
        ('[[agents]]\nname = "a"\n[[agents]]\nname = "a"\n', 'line 2: name = "a"\n    line 4: name = "a"'),
        ('[[agents]]\nname = "a"\nday_usd = -1\n', "day_usd -1"),
        ('[[agents]]\nname = "a"\ntasks = ["flying"]\n', "'flying', which is no known task"),
        ('[[agents]]\nname = "a"\ntear = "cheap"\n', "agents.toml:3: agents[0].tear is no setting"),
        ("[[agents]\n", "agents.toml: This is not valid TOML"),
        ('[[agent]]\nname = "a"\n', "agent is no setting"),
    ],
)
def test_what_is_wrong_in_it_is_told_with_its_lines(tmp_path: Path, agents: str, said: str) -> None:
    (tmp_path / "agents.toml").write_text(agents)
    lines = told(tmp_path, 'agents = "agents.toml"\n' + TIERS)
    assert any(said in line for line in lines), lines


def test_a_file_of_agents_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert any("cannot be read" in line for line in told(tmp_path, 'agents = "agents.toml"\n' + TIERS))


def test_a_server_on_this_machine_that_costs_nobody_knows_what_is_pointed_out(tmp_path: Path) -> None:
    tiers = '[[tiers]]\nname = "small"\ntargets = ["lab/q"]\n[providers.lab]\nbase_url = "http://127.0.0.1:8081/v1"\n'
    (problem,) = told(tmp_path, tiers)
    assert "warning" in problem
    assert "'lab/q', a server on this machine" in problem
    assert "usd_per_hour = 0.0" in problem
    assert not told(tmp_path, f"{tiers}usd_per_hour = 0.0\n")
    price = '[[prices]]\nprovider = "lab"\nmodel = "*"\ninput = "1"\noutput = "2"\n'
    assert not told(tmp_path, tiers + price)
    assert not told(tmp_path, tiers.replace("127.0.0.1", "10.0.0.7").replace("http:", "https:"))
