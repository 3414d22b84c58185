"""`pennyweight compact`: the messages of a request under a budget of tokens, with what became of each."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError
from ..optimizers.context.library import Compacted, compact

__all__ = ["command"]


@click.command(
    epilog="""Try:

    \b
    pennyweight compact session.json --budget 20000 > shorter.json
    pennyweight compact request.json --budget 20000 --levels
    """
)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), default="-", metavar="[FILE]")
@click.option(
    "--budget", type=click.IntRange(min=0), required=True, metavar="TOKENS", help="For all messages together."
)
@click.option("--query", default="", help="What the work is about, where the last message does not say it.")
@click.option(
    "--keep-turns", type=click.IntRange(min=0), default=4, show_default=True, help="Of the model, as they are."
)
@click.option(
    "--references", type=click.Path(path_type=Path), metavar="FILE", help="Write what is missing, by its names."
)
@click.option("--levels", is_flag=True, help="Print what became of each message, in place of the messages.")
def command(path: Path, budget: int, query: str, keep_turns: int, references: Path | None, levels: bool) -> None:
    """Bring the messages of a request under a budget.

    FILE is read from stdin if it is "-" or left out. It is a list of messages, or a request body with `messages` or
    `input`, of Chat Completions, Messages, Responses or Ollama; the same comes out. Tokens are those of o200k_base.
    """
    value = _read(path)
    member = next((name for name in ("messages", "input") if isinstance(value, dict) and name in value), "")
    messages = value[member] if member else value
    if not isinstance(messages, list):
        raise ConfigError("That is no list of messages, nor a body with one in `messages` or `input`.", where=str(path))
    made = compact(messages, budget, query=query, keep_turns=keep_turns, references=references is not None)
    if references is not None:
        references.write_text(json.dumps(made.references, ensure_ascii=False), encoding="utf-8")
    if levels:
        for level, message in zip(made.levels, messages, strict=True):
            click.echo(f"{level:10} {_told(message)}")
    else:
        click.echo(json.dumps({**value, member: made.messages} if member else made.messages, ensure_ascii=False))
    click.echo(_summary(made, budget) + _why(made, budget, messages), err=True)


def _read(path: Path) -> Any:
    """Raises ConfigError."""
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"It cannot be read: {error.strerror}.", where=str(path)) from None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"That is no JSON: {error}.", where=str(path)) from None


def _told(message: Any) -> str:
    """A message in a line: who says it, and how it begins."""
    who = message.get("role") or message.get("type") if isinstance(message, dict) else "?"
    said = (
        json.dumps(message.get("content", message), ensure_ascii=False) if isinstance(message, dict) else str(message)
    )
    return f"{who}: {said[:80]}"


def _summary(made: Compacted, budget: int) -> str:
    counts = ", ".join(f"{number} {level}" for level, number in Counter(made.levels).most_common())
    over = "" if made.tokens_after <= budget else f" What must stay is above the budget of {budget:,}."
    return f"{made.tokens_before:,} → {made.tokens_after:,} tokens: {counts}.{over}"


def _why(made: Compacted, budget: int, messages: list[Any]) -> str:
    """What binds most of what stays, where that is not plain to see."""
    if made.tokens_after <= budget or not (signed := [at for at, one in enumerate(messages) if _is_signed(one)]):
        return ""
    return (
        f" The first {signed[-1] + 1} stay: they end in reasoning that its provider has signed, and refuses where "
        "other messages stand before it."
    )


def _is_signed(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    parts = [message, *(content if isinstance(content, list) else ())]
    return any(
        isinstance(part, dict)
        and part.get("type") in ("thinking", "redacted_thinking", "reasoning")
        and any(part.get(name) for name in ("signature", "data", "encrypted_content"))
        for part in parts
    )
