"""Reading agents.toml: which agents there are, and what is wrong with the file, with its lines."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from ..routing.agents import AgentRule
from . import tier_checks, toml
from .toml import Problem

__all__ = ["Read", "read"]


class Read(msgspec.Struct, frozen=True):
    """The rules of one file, and its problems."""

    path: Path
    text: str = ""
    rules: tuple[AgentRule, ...] = ()
    problems: tuple[Problem, ...] = ()

    def problem(self, wrong: tier_checks.Wrong) -> Problem:
        """With the lines of the file that it is about."""
        line, other = toml.line_of(self.text, wrong.path), None
        if wrong.other is not None:
            other = toml.line_of(self.text, wrong.other)
        quoted = self._quote(line)
        if other is not None and quoted:
            quoted = f"line {other}: {self._quote(other)}\n    line {line}: {quoted}"
        where = f"{self.path}:{line}" if line is not None else str(self.path)
        return Problem(wrong.message, wrong.remedy, wrong.severity, where, quoted)

    def _quote(self, line: int | None) -> str:
        lines = self.text.splitlines()
        return lines[line - 1].strip() if line is not None and line <= len(lines) else ""


def read(path: Path) -> Read:
    """Never raises: what cannot be read is a problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "Check the path, or take `agents` out."
        return Read(path, problems=(Problem(f"{path} cannot be read: {told}.", remedy, where=str(path)),))
    found = Read(path, text)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(f"This is not valid TOML: {error}.", "See https://toml.io.", where=str(path))
        return msgspec.structs.replace(found, problems=(problem,))
    wrong = [
        tier_checks.Wrong((key,), f"{key} is no setting.", "A file of agents has [[agents]] only.")
        for key in tree
        if key != "agents"
    ]
    rules, more = _rules(tree.get("agents", []))
    return msgspec.structs.replace(found, rules=rules, problems=tuple(found.problem(w) for w in (*wrong, *more)))


def _rules(value: Any) -> tuple[tuple[AgentRule, ...], list[tier_checks.Wrong]]:
    if not isinstance(value, list):
        return (), [tier_checks.Wrong(("agents",), "agents must be a list of tables.", "Write [[agents]].")]
    rules, wrong = [], []
    for index, item in enumerate(value):
        made, problems = toml.table(AgentRule, item, ("agents", index))
        wrong += [tier_checks.Wrong(place, message, remedy) for place, message, remedy in problems]
        if made is not None:
            rules.append(made)
    return tuple(rules), wrong
