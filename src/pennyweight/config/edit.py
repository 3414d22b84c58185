"""Switching an optimizer on in the text of a `pennyweight.toml`, every other line left as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import ConfigError
from .settings import Config, OptimizerRule
from .toml import line_of

__all__ = ["doing", "switch_on"]

_DEFAULTS: tuple[OptimizerRule, ...] = next(
    field.default for field in msgspec.structs.fields(Config) if field.name == "optimizers"
)


def doing(config: Config) -> frozenset[str]:
    """What a gateway of that configuration does: names of optimizers that are on, "NAME max" too under `max`.

    Only "off" where it may change nothing at all.
    """
    if config.optimize == "off":
        return frozenset({"off"})
    names = {rule.use for rule in config.optimizers if rule.mode == "on"}
    return frozenset(names | ({f"{name} max" for name in names} if config.optimize == "max" else set()))


def switch_on(text: str, what: str) -> str:
    """The text of a configuration in which an optimizer is on. what: its name, or "NAME max" for `optimize = "max"`.

    Raises ConfigError, with what to write by hand, where the text cannot be changed so.
    """
    name, _, level = what.partition(" ")
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration is not valid TOML: {error}. Run: pennyweight check") from None
    optimize = tree.get("optimize", "safe")
    if level == "max" and optimize != "max":
        text = _top(text, "optimize", "max")
    elif optimize == "off":
        text = _top(text, "optimize", "safe")
    text = _listed(text, tree, name)
    _check(text, name, level)
    return text


def _listed(text: str, tree: Mapping[str, Any], name: str) -> str:
    rules = tree.get("optimizers")
    if rules is None:
        if any(rule.use == name and rule.mode == "on" for rule in _DEFAULTS):
            return text
        names = [*(rule.use for rule in _DEFAULTS if rule.use != name), name]  # naming one replaces the defaults
        return _joined(text, "".join(f'\n[[optimizers]]\nuse = "{use}"\n' for use in names))
    for index, rule in enumerate(rules):
        if isinstance(rule, dict) and rule.get("use") == name:
            if rule.get("mode", "on") == "on":
                return text
            return _replaced(text, ("optimizers", index, "mode"), "mode", "on")
    return _joined(text, f'\n[[optimizers]]\nuse = "{name}"\n')


def _top(text: str, key: str, value: str) -> str:
    """A setting before the first table set to a string."""
    if key in tomllib.loads(text):
        return _replaced(text, (key,), key, value)
    return f'{key} = "{value}"\n{text}'


def _replaced(text: str, path: tuple[str | int, ...], key: str, value: str) -> str:
    number = line_of(text, path)
    lines = text.splitlines(keepends=True)
    if number is not None:
        pattern = rf"""^(\s*["']?{key}["']?\s*=\s*)("[^"\n]*"|'[^'\n]*')"""
        lines[number - 1] = re.sub(pattern, lambda found: f'{found[1]}"{value}"', lines[number - 1])
    return "".join(lines)


def _joined(text: str, tail: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{tail if text else tail.lstrip()}"


def _check(text: str, name: str, level: str) -> None:
    """Odd ways of writing TOML are not for us to rewrite."""
    try:
        tree = tomllib.loads(text)
        rules = tree.get("optimizers", [{"use": rule.use} for rule in _DEFAULTS])
        on = any(rule.get("use") == name and rule.get("mode", "on") == "on" for rule in rules)
        optimize = tree.get("optimize", "safe")
        done = on and (optimize == "max" if level == "max" else optimize != "off")
    except (tomllib.TOMLDecodeError, AttributeError):
        done = False
    if not done:
        by_hand = 'optimize = "max" at its top' if level == "max" else f'[[optimizers]] with use = "{name}"'
        raise ConfigError(f"The configuration is written in a way that is not changed by itself. Put in: {by_hand}.")
