"""`pennyweight prompts`: cut a system prompt into modules, put it together for a task, look it over for waste."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..clock import SystemClock
from ..config import Config, find, load
from ..errors import ConfigError
from ..ledger.prompt_prices import HeadPrice, head_price
from ..money import format_usd
from ..prices import open_book, read_overrides
from ..stores.sqlite import Database, SQLiteKV
from ..text.prompts import Finding, Module, Session, Used, assemble, file_name, lint, read_module, split, written
from ..text.prompts.usage import SESSIONS, usage_name, usage_prefix
from ..text.tokenizers import BpeTokenizer
from .report import FILE, moment

__all__ = ["command"]

_PROMPT = click.Path(path_type=Path, exists=True, allow_dash=True)
_MONTH_S = 30 * 86_400.0
_MOST_NAMES = 10_000
_UNWATCHED = 'Nothing is known of what sessions use: add [[optimizers]] use = "prompts" (mode = "shadow" will do).'


@click.group(
    epilog="Try: pennyweight prompts lint AGENTS.md, or pennyweight prompts split system.md --out prompts/",
    name="prompts",
)
def command() -> None:
    """System prompts in modules.

    A module is a Markdown file with front matter (title, tags, priority 0-100, volatile, when). Cut an existing prompt
    into modules, put it together again for a task, and see what is repeated, contradictory or never used.
    """


@command.command("split", epilog="Try: pennyweight prompts split system.md --out prompts/")
@click.argument("path", type=_PROMPT, metavar="PROMPT.md")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the modules; default: none.")
@click.option("--force", is_flag=True, help="Write into a folder that has Markdown files already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def split_(path: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Cut a prompt into modules, at headings, lists of named things and breaks in sense; nothing is lost or changed."""
    modules = split(_read(path))
    count = BpeTokenizer().count
    names = [file_name(10 * (number + 1), module) for number, module in enumerate(modules)]
    if out is not None:
        _write(out, names, modules, force=force)
    if as_json:
        rows = [_row(module, count(module.text)) for module in modules]
        total = sum(count(module.text) for module in modules)
        click.echo(json.dumps({"tokens": total, "modules": rows}, indent=2, ensure_ascii=False))
        return
    table = Table("tokens", "priority", "what", "title", box=None, pad_edge=False)
    for module in modules:
        table.add_row(
            f"{count(module.text):,}", str(module.priority), _what(module), escape(module.title or "(opening)")
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    said = f"{len(modules)} modules, {sum(count(m.text) for m in modules):,} tokens"
    console.print(f"{said}, written to {out}" if out is not None else f"{said}. --out FOLDER writes them as files.")


@command.command(
    "assemble", epilog='Try: pennyweight prompts assemble prompts/ --query "fix the failing tests" --budget 4500'
)
@click.argument("path", type=_PROMPT, metavar="FOLDER|PROMPT.md")
@click.option("--query", default="", help="What the session is about: the first human text.")
@click.option("--tool", "tools", multiple=True, metavar="NAME", help="A tool that is offered; several times.")
@click.option("--agent", default="", help="The agent, for conditions.")
@click.option("--model", default="", help="The model, for conditions.")
@click.option("--budget", type=click.IntRange(min=1), metavar="TOKENS", help="Default: all that fits the conditions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the text in it.")
def assemble_(
    path: Path, query: str, tools: tuple[str, ...], agent: str, model: str, budget: int | None, as_json: bool
) -> None:
    """Put a prompt together for a task: the text to stdout, what was done to stderr.

    A folder's modules come in the order of their file names, what is stable first; a single prompt is cut first and
    keeps its order.
    """
    modules = _modules(path)
    made = assemble(
        modules,
        Session(query, tools, agent, model),
        count=BpeTokenizer().count,
        budget_tokens=budget,
        order="stable_first" if path.is_dir() else "as_written",
    )
    if as_json:
        told = {name: getattr(made, name) for name in made.__struct_fields__}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    click.echo(made.text, nl=False)
    short, left = len(made.shortened), len(made.dropped)
    said = f"{made.tokens_before:,} -> {made.tokens_after:,} tokens; {short} shortened, {left} left out"
    click.echo(said + (f": {'; '.join(made.dropped)}" if left else ""), err=True)


@command.command("lint", epilog="Try: pennyweight prompts lint system.md --agent main")
@click.argument("path", type=_PROMPT, metavar="FOLDER|PROMPT.md")
@click.option("--agent", help="Only this agent's calls and sessions; default: all calls, sessions without an agent.")
@click.option("--model", help="Only calls that asked for this model.")
@click.option("--tenant", default="local", show_default=True, help="The virtual key whose sessions count.")
@click.option("--since", default="30d", show_default=True, help="Costs from then on: 2026-11-01, 30d, 4w.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder with the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lint_(
    path: Path,
    agent: str | None,
    model: str | None,
    tenant: str,
    since: str,
    config_path: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """What is repeated, contradictory, out of place or never used, and what each part has cost.

    Costs are estimates: the part stood in every call that counts. What sessions use is counted by the optimizer
    "prompts"; without it nothing is said about parts that are never used.
    """
    modules = _modules(path)
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data})
    count = BpeTokenizer().count
    price = _head_price(config, moment(since, time.time()) or 0.0, agent, model)
    ledger = config.data_dir / FILE
    used = asyncio.run(_used(ledger, tenant, agent or "")) if ledger.is_file() else None
    findings = lint(modules, count=count, used=used)
    if as_json:
        click.echo(json.dumps(_told(modules, findings, price, used, count), indent=2, ensure_ascii=False))
        return
    _show(modules, findings, price, used, count, since)


def _show(
    modules: Sequence[Module],
    findings: Sequence[Finding],
    price: HeadPrice,
    used: Used | None,
    tokens: Callable[[str], int],
    since: str,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("tokens", f"cost since {since}", "title", box=None, pad_edge=False)
    for module in sorted(modules, key=lambda m: -tokens(m.text)):
        cost = format_usd(round(price.pico * tokens(module.text))) if price.calls else "-"
        table.add_row(f"{tokens(module.text):,}", cost, escape(module.title or "(opening)"))
    console.print(table)
    if not price.calls:
        console.print("No calls in the ledger yet, so no costs.")
    else:
        console.print(f"Costs are estimated over {price.calls:,} calls of {price.sessions:,} sessions.")
    if price.unpriced_calls:
        console.print(f"{price.unpriced_calls:,} calls have no price: see `pennyweight prices`.")
    if used is None:
        console.print(_UNWATCHED, markup=False)
    console.print("")
    if not findings:
        console.print("Nothing found.")
    for found in findings:
        where = escape(found.title or "(opening)") + (f" and {escape(found.other)}" if found.other else "")
        saves = f" ({found.tokens:,} tokens)" if found.tokens else ""
        console.print(f"[bold]{found.rule.replace('_', ' ')}[/bold] {where}{saves}\n    {escape(found.told)}")


def _told(
    modules: Sequence[Module],
    findings: Sequence[Finding],
    price: HeadPrice,
    used: Used | None,
    tokens: Callable[[str], int],
) -> dict[str, object]:
    rows = []
    for module in modules:
        size = tokens(module.text)
        rows.append({**_row(module, size), "cost_usd": str(round(price.pico * size) / 1e12) if price.calls else None})
    return {
        "calls": price.calls,
        "unpriced_calls": price.unpriced_calls,
        "basis": "estimated",
        "sessions_watched": used.sessions if used is not None else 0,
        "modules": rows,
        "findings": [{name: getattr(found, name) for name in found.__struct_fields__} for found in findings],
    }


# --- reading and writing ------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            return sys.stdin.read()
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Convert it first: iconv -t utf-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _modules(path: Path) -> tuple[Module, ...]:
    if not path.is_dir():
        return split(_read(path))
    files = sorted(path.glob("*.md"))
    if not files:
        raise ConfigError(
            f"{path} has no modules: no .md files. `pennyweight prompts split PROMPT --out {path}` makes some."
        )
    return tuple(read_module(file.name, _read(file)) for file in files)


def _write(out: Path, names: Sequence[str], modules: Sequence[Module], *, force: bool) -> None:
    if not force and out.is_dir() and any(out.glob("*.md")):
        raise ConfigError(f"{out} has Markdown files already. Choose another folder, or --force to write beside them.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, module in zip(names, modules, strict=True):
            (out / name).write_text(written(module), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.") from None


def _row(module: Module, tokens: int) -> dict[str, object]:
    return {
        "title": module.title,
        "tokens": tokens,
        "priority": module.priority,
        "volatile": module.volatile,
        "entries": len(module.entries),
    }


def _what(module: Module) -> str:
    if module.entries:
        return f"list of {len(module.entries)}"
    return "volatile" if module.volatile else ""


def _head_price(config: Config, since: float, agent: str | None, model: str | None) -> HeadPrice:
    names = {name: provider.prices for name, provider in config.providers.items()}
    book = open_book(config.data_dir, overrides=read_overrides(config.prices), names=names)
    return head_price(config.data_dir / FILE, book.price, since=since, agent=agent, model=model)


async def _used(path: Path, tenant: str, agent: str) -> Used | None:
    """What sessions of that agent have used; None where nothing was counted."""
    database = Database(path, now=time.time)
    try:
        kv = SQLiteKV(database, clock=SystemClock())
        prefix = usage_prefix(tenant, agent)
        names = {usage_name(key) for key in await kv.keys(prefix, limit=_MOST_NAMES)}
        if SESSIONS not in names:
            return None
        sessions = await kv.add(prefix + SESSIONS, 0)
        return Used(frozenset(names - {SESSIONS}), sessions)
    finally:
        await database.close()
