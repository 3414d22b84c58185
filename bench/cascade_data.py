"""Outcomes and raw answers of many models on the same questions, as cascades read them.

Files: `{meta, models}` first, then `{id, prompt, functions, correct: "0101…", out_tok}` (outcomes), `{id, calls: […]}`
(raw tool calls by model) or `{id, answers: […]}` (short answers by model). Their lines tell them apart.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.routing.confidence.said import Asked, Said, ToolUse

__all__ = ["Item", "Set", "read_sets"]


class Item(NamedTuple):
    """One question: what was asked, each model's answer, and whether each was right."""

    id: str
    asked: Asked
    said: dict[str, Said]
    right: dict[str, bool]
    output_tokens: dict[str, int]


class Set(NamedTuple):
    """The questions of one file of outcomes whose raw answers were given too."""

    name: str
    items: list[Item]
    models: list[str]  # of which it is known whether they were right
    answering: list[str]  # of which the answers are there

    def accuracy(self, model: str) -> float:
        return sum(item.right[model] for item in self.items) / len(self.items)


def read_sets(paths: Iterable[Path]) -> list[Set]:
    """A file of answers belongs to the outcomes with most of its ids."""
    outcomes: list[tuple[str, list[str], dict[str, Any]]] = []
    answers: list[tuple[list[str], dict[str, Any]]] = []
    for path in paths:
        head, rows = _read(path)
        first = next(iter(rows.values()), {})
        if "correct" in first:
            outcomes.append((path.name.split(".")[0], head, rows))
        elif "calls" in first or "answers" in first:
            answers.append((head, rows))
    sets = []
    for name, models, rows in outcomes:
        near = max(answers, key=lambda pair: len(pair[1].keys() & rows.keys()), default=None)
        if near is None or not near[1].keys() & rows.keys():
            continue
        answering = [model for model in near[0] if model in models]
        items = [_item(row, models, near[0], near[1][key]) for key, row in rows.items() if key in near[1]]
        sets.append(Set(name, items, models, answering))
    return sets


def _read(path: Path) -> tuple[list[str], dict[str, Any]]:
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
    head = json.loads(lines[0])
    if not head.get("meta"):
        return [], {}
    return head["models"], {str(row["id"]): row for row in map(json.loads, lines[1:])}


def _item(row: Mapping[str, Any], models: Sequence[str], answering: Sequence[str], said: Mapping[str, Any]) -> Item:
    tools = _tools(row.get("functions"))
    asked = Asked(prompt=row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"]), tools=tools)
    asked = Asked(asked.prompt, tools, may_call=bool(tools))
    values = said.get("calls", said.get("answers", ()))
    read = _calls if "calls" in said else _answer
    tokens = row.get("out_tok") or [round(chars / 4) for chars in row.get("out_chars", ())]
    return Item(
        str(row["id"]),
        asked,
        {model: read(value) for model, value in zip(answering, values, strict=True)},
        {model: flag == "1" for model, flag in zip(models, row["correct"], strict=True)},
        {model: count for model, count in zip(models, tokens, strict=False) if count is not None},
    )


def _tools(functions: Any) -> dict[str, Any]:
    """Providers take no dots in the names of tools, so those that answered saw underscores."""
    found = [functions] if isinstance(functions, dict) else functions or []
    return {_name(tool["name"]): tool.get("parameters") or {} for tool in found}


def _name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _calls(value: Any) -> Said:
    if not isinstance(value, list):
        return Said(str(value))
    calls = []
    for call in value:
        for name, arguments in call.items() if isinstance(call, dict) else ():
            calls.append(ToolUse(_name(name), _object(arguments)))
    return Said("", tuple(calls))


def _object(arguments: Any) -> dict[str, Any] | None:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    return arguments if isinstance(arguments, dict) else None


def _answer(value: Any) -> Said:
    return Said("" if value is None else value if isinstance(value, str) else json.dumps(value))
