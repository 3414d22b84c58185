"""An optimizer is switched on in a configuration's text, and every other line stays."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pennyweight.config import load
from pennyweight.config.edit import doing, switch_on
from pennyweight.errors import ConfigError


def uses(text: str) -> list[str]:
    return [rule["use"] for rule in tomllib.loads(text)["optimizers"]]


def test_the_defaults_are_on_already() -> None:
    assert switch_on("", "prompt_cache") == ""
    assert switch_on("# mine\n[server]\nport = 1\n", "billing_header") == "# mine\n[server]\nport = 1\n"


def test_one_that_is_off_is_switched_on_and_its_comment_stays() -> None:
    text = '[[optimizers]]\nuse = "exact_cache"\n\n[[optimizers]]\nuse = "prompt_cache"\nmode = "shadow" # looking\n'
    assert switch_on(text, "prompt_cache") == text.replace('"shadow"', '"on"')


def test_one_that_is_not_listed_is_added_to_the_list() -> None:
    text = '[[optimizers]]\nuse = "exact_cache"\n'
    assert switch_on(text, "prompt_cache") == text + '\n[[optimizers]]\nuse = "prompt_cache"\n'


def test_the_defaults_are_kept_when_the_first_is_named() -> None:
    changed = switch_on("[server]\nport = 1\n", "mine")
    assert uses(changed)[-1] == "mine"
    assert {"exact_cache", "billing_header", "prompt_cache"} <= set(uses(changed))
    assert changed.startswith("[server]\nport = 1\n")


def test_off_becomes_safe_and_max_is_set_only_when_asked_for() -> None:
    assert switch_on('optimize = "off" # for now\n', "prompt_cache") == 'optimize = "safe" # for now\n'
    assert switch_on("[server]\nport = 1\n", "prompt_cache max") == 'optimize = "max"\n[server]\nport = 1\n'


def test_what_is_written_oddly_is_left_alone_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match='use = "prompt_cache"'):
        switch_on('optimizers = [{use = "exact_cache"}]\n', "prompt_cache")
    with pytest.raises(ConfigError, match="pennyweight check"):
        switch_on("optimize = \n", "prompt_cache")


def test_what_a_configuration_does(tmp_path: Path) -> None:
    def of(text: str) -> frozenset[str]:
        path = tmp_path / "pennyweight.toml"
        path.write_text(text)
        return doing(load(path, {"PENNYWEIGHT_DATA": str(tmp_path)}))

    assert {"exact_cache", "billing_header", "prompt_cache"} <= of("")
    assert "prompt_cache max" in of('optimize = "max"')
    assert of('optimize = "off"') == {"off"}
    assert of('[[optimizers]]\nuse = "exact_cache"\nmode = "shadow"\n') == frozenset()
