"""The recipes in examples/ load, say what they mean, and `check` finds nothing but keys that are missing."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from pennyweight.cli.check import examine
from pennyweight.config import inspect, load, resolve
from pennyweight.config.providers import KNOWN
from pennyweight.config.tiers import choices
from pennyweight.prices import open_book, read_overrides
from pennyweight.request import Wire

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = sorted((EXAMPLES / "recipes").glob("*.toml"))
KEYS = {known.key: f"sk-{name}-0123456789abcdef" for name, known in KNOWN.items() if name != "ollama"}


def test_there_are_four() -> None:
    assert [path.stem for path in RECIPES] == [
        "anthropic-openai",
        "free-first-openrouter",
        "frugal-cloud",
        "laptop-ollama",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_clean_with_its_keys(path: Path, tmp_path: Path) -> None:
    config, problems = inspect(path, KEYS, {"data_dir": tmp_path})
    assert config is not None
    assert [str(problem) for problem in (*problems, *examine(config))] == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_without_keys_only_keys_are_missing(path: Path, tmp_path: Path) -> None:
    config, problems = inspect(path, {}, {"data_dir": tmp_path})
    assert config is not None
    told = [str(problem) for problem in (*problems, *examine(config))]
    assert all("key" in line for line in told), told
    assert all(problem.severity == "warning" for problem in problems)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_target_has_a_price_and_every_choice_leads_somewhere(path: Path) -> None:
    config = load(path, KEYS)
    local = {"ollama"} | {name for name, provider in config.providers.items() if provider.local}
    book = open_book(
        overrides=read_overrides(config.prices),
        local=local,
        names={name: provider.prices for name, provider in config.providers.items()},
    )
    for name in choices(config):
        for wire in Wire:
            found = resolve(config, name, wire)
            assert found.virtual is not None, found.refused
            assert found.virtual.candidates
    for tier in config.tiers:
        for target in tier.targets:
            provider, _, model = target.partition("/")
            assert book.price(provider, model, 1_795_000_000.0) is not None, target


def test_131_agents_are_on_three_tiers() -> None:
    rules = tomllib.loads((EXAMPLES / "agents-131.toml").read_text())["agents"]
    assert len({rule["name"] for rule in rules}) == len(rules) == 131
    assert Counter(rule["tier"] for rule in rules) == {"local": 36, "remote": 59, "frontier": 36}


def test_they_fit_the_laptop_recipe(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text((EXAMPLES / "agents-131.toml").read_text())
    (tmp_path / "pennyweight.toml").write_text(
        'agents = "agents.toml"\n' + (EXAMPLES / "recipes/laptop-ollama.toml").read_text()
    )
    config, problems = inspect(tmp_path / "pennyweight.toml", KEYS)
    assert [str(problem) for problem in problems] == []
    assert config is not None
    assert len(config.agents) == 131
    assert {rule.session_type for rule in config.agents} == {"direct", "cron", "sub_agent"}
