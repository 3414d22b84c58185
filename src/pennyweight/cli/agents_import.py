"""Agents from what their clients have written down: OpenClaw's openclaw.json, a folder of Claude Code's agents.

Pure but for reading the files. What a client says of an agent's model becomes its tier, where a tier has that model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..routing.agents import AgentRule
from ..routing.settings import TierTable
from .connect import json5

__all__ = ["imported", "tier_of", "written"]


def imported(path: Path, tiers: Sequence[TierTable]) -> list[AgentRule]:
    """The agents that a file or a folder names. Raises ConfigError where it is neither."""
    try:
        if path.is_dir():
            folder = path / "agents" if (path / "agents").is_dir() else path
            found = [_claude(file.read_text(encoding="utf-8"), file, tiers) for file in sorted(folder.rglob("*.md"))]
            rules = [rule for rule in found if rule is not None]
        else:
            rules = _openclaw(path.read_text(encoding="utf-8"), path, tiers)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"It cannot be read: {error}.", where=str(path)) from None
    if not rules:
        known = "an openclaw.json with agents.list, or a folder such as .claude/agents with *.md files"
        raise ConfigError(f"There are no agents in it. Name {known}.", where=str(path))
    seen: dict[str, AgentRule] = {}
    for rule in rules:
        seen.setdefault(rule.name, rule)
    return list(seen.values())


def tier_of(model: str, tiers: Sequence[TierTable]) -> str:
    """The tier that has the model: by "provider/model", by its name alone, or by the word that it is known by ("opus");
    "" where none has."""
    if not model or model == "inherit":
        return ""
    lower = model.lower()
    for test in (
        lambda target: target == lower or target.partition("/")[2] == lower.rpartition("/")[2],
        lambda target: lower.rpartition("/")[2] in re.split(r"[^a-z0-9.]+", target.partition("/")[2]),
        lambda target: any(word in lower and word in target for word in _FAMILIES),
    ):
        for tier in tiers:
            if any(test(target.lower()) for target in tier.targets):
                return tier.name
    return ""


_FAMILIES = ("haiku", "sonnet", "opus", "nano", "mini", "flash", "kimi", "minimax", "qwen")


def written(rules: Sequence[AgentRule]) -> str:
    """The text of an agents.toml."""
    blocks = []
    for rule in rules:
        lines = ["[[agents]]", f"name = {_quoted(rule.name)}"]
        told = ((field, getattr(rule, field)) for field in ("tier", "trial", "session_type"))
        lines += [f"{field} = {_quoted(value)}" for field, value in told if value]
        if rule.tasks:
            lines.append(f"tasks = [{', '.join(map(_quoted, rule.tasks))}]")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _openclaw(text: str, path: Path, tiers: Sequence[TierTable]) -> list[AgentRule]:
    """agents.list[] of openclaw.json (JSON5): an id each, and a model that is a name or {primary: name}."""
    try:
        tree = json5.load(text).value
    except ValueError as error:
        raise ConfigError(f"This is no JSON5: {error}.", where=str(path)) from None
    agents = _at(tree, "agents")
    usual = _model(_at(agents, "defaults", "model"))
    sub = _model(_at(agents, "defaults", "subagents", "model"))
    listed = _at(agents, "list")
    rules = [
        AgentRule(name, tier_of(_model(item.get("model")) or usual, tiers), session_type="direct")
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and isinstance(name := item.get("id"), str) and name.strip()
    ]
    if not rules and usual:
        rules = [AgentRule("main", tier_of(usual, tiers), session_type="direct")]
    if sub:
        rules.append(AgentRule("subagent*", tier_of(sub, tiers), session_type="sub_agent"))
    return rules


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _model(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("primary")
    return value if isinstance(value, str) else ""


_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(name|model):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def _claude(text: str, path: Path, tiers: Sequence[TierTable]) -> AgentRule | None:
    """A file of .claude/agents: front matter with a name and, mostly, a model. None for one without front matter."""
    front = _FRONT.match(text.lstrip("\ufeff"))
    if front is None:
        return None
    told = {name: value.split(" #")[0].strip().strip("\"'") for name, value in _FIELD.findall(front[1])}
    return AgentRule(told.get("name") or path.stem, tier_of(told.get("model", ""), tiers), session_type="sub_agent")
