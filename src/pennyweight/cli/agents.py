"""`pennyweight agents`: which agents there are, whether their tiers fit what comes of them, and trying another."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from ..clock import SystemClock
from ..config import Config, find, load
from ..config.tiers import ranked
from ..errors import ConfigError
from ..ledger.accounts import Account, Accounts
from ..ledger.agents import Profile, profiles, read
from ..ledger.reading import is_made, reading
from ..money import format_usd
from ..policy import Flag, Policy
from ..prices import LOCAL, open_book, read_overrides
from ..routing.agents import Agents
from ..stores.flags import SQLiteFlags
from ..stores.sqlite import FILE, Database
from ..text.tokenizers import BpeTokenizer
from .agents_import import imported, written
from .report import wide

__all__ = ["command"]

_CONFIG = click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
_DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_DAYS = click.option("--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
_BAR = click.option(
    "--bar",
    type=click.FloatRange(0, 1),
    default=0.85,
    show_default=True,
    help="Share of sessions that must end well.",
)


@click.group()
def command() -> None:
    """Agents on tiers.

    \b
    pennyweight agents import ~/.openclaw/openclaw.json --write agents.toml
    pennyweight agents list                 who is on which tier, and who was seen without a rule
    pennyweight agents profile              who sits on a tier dearer or weaker than their outcomes need
    pennyweight agents apply --share 0.1    try what profile says on a tenth of the sessions
    """


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--write", type=click.Path(path_type=Path), help="A new file for them; else they are printed.")
@_CONFIG
def import_(path: Path, write: Path | None, config_path: Path | None) -> None:
    """Agents from OpenClaw's openclaw.json or a folder of Claude Code's agents, as an agents.toml.

    \b
    pennyweight agents import .claude/agents
    """
    config = _loaded(config_path, None)
    rules = imported(path, config.tiers)
    text = written(rules)
    if write is None:
        click.echo(text, nl=False)
        return
    try:
        with write.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError("It is there already. Name another, or move it away.", where=str(write)) from None
    except OSError as error:
        raise ConfigError(f"It cannot be written: {error.strerror}.", where=str(write)) from None
    bare = sum(not rule.tier for rule in rules)
    without = f" {bare} have no tier: their model is in none." if bare else ""
    click.echo(f"{len(rules)} agents are in {write}.{without} Name it in pennyweight.toml: agents = {str(write)!r}")


@command.command("list")
@_CONFIG
@_DATA
@_JSON
def list_(config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """The rules of agents.toml, and the agents in the ledger that none of them names."""
    config = _loaded(config_path, data)
    known = Agents(config.agents)
    strangers = sorted({one.agent for one in _held(config, 30.0) if known.of(one.agent) is None})
    if as_json:
        rows = [{name: getattr(rule, name) for name in rule.__struct_fields__} for rule in config.agents]
        click.echo(json.dumps({"agents": rows, "without_a_rule": strangers}))
        return
    table = Table("agent", "tier", "tasks", "session", "budget")
    for rule in config.agents:
        budget = [f"{rule.budget_tokens:,} tokens" if rule.budget_tokens else "", _usd(rule.budget_usd)]
        tier = rule.tier + (f" (trial: {rule.trial})" if rule.trial else "")
        table.add_row(
            escape(rule.name),
            escape(tier),
            ", ".join(rule.tasks),
            rule.session_type or "",
            ", ".join(filter(None, budget)),
        )
    wide().print(table)
    if strangers:
        click.echo(f"Seen in the last 30 days without a rule: {', '.join(strangers)}.")


@command.command()
@_DAYS
@_BAR
@_CONFIG
@_DATA
@_JSON
def profile(days: float, bar: float, config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """Which agents sit on a tier dearer or weaker than their outcomes need, with the evidence and the saving.

    An outcome is a session of which something is known: feedback, a judge's word, tool calls that held or did not, the
    same request again, an error. Silence is none.
    """
    config = _loaded(config_path, data)
    found = _profiles(config, days, bar)
    if as_json:
        click.echo(json.dumps({"days": days, "bar": bar, "agents": [_row(one) for one in found]}))
        return
    _print(found, days)


@command.command()
@click.argument("names", nargs=-1)
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), help="Of sessions; else they come little by little."
)
@_DAYS
@_BAR
@_CONFIG
@_DATA
@_JSON
def apply(
    names: tuple[str, ...],
    share: float | None,
    days: float,
    bar: float,
    config_path: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Try what profile says, as an experiment: for all that it names, or for agents NAMES.

    Writes `trial = "<tier>"` into agents.toml. The gateway follows at its next start or SIGHUP; how it goes is told by
    `pennyweight experiments`, under agent_tiers, which takes it back where it does harm.

    \b
    pennyweight agents apply bug-fixer --share 0.1
    """
    config = _loaded(config_path, data)
    path = _agents_file(config)
    found = {one.agent: one for one in _profiles(config, days, bar) if one.advice in ("dearer", "weaker") and one.to}
    if missing := [name for name in names if name not in found]:
        raise ConfigError(f"profile says nothing of {', '.join(missing)}. See `pennyweight agents profile`.")
    chosen = {name: found[name].to for name in names or found}
    rules = Agents(config.agents)
    if unnamed := [name for name in chosen if (rule := rules.of(name)) is None or rule.name != name]:
        raise ConfigError(
            f"There is no rule of their own for {', '.join(unnamed)}. Add [[agents]] with that name first.",
            where=str(path),
        )
    if chosen:
        path.write_text(on_trial(path.read_text(encoding="utf-8"), chosen), encoding="utf-8")
        if share is not None:
            asyncio.run(_share(config, share))
    if as_json:
        click.echo(json.dumps({"trials": chosen, "share": share, "file": str(path)}))
        return
    for name, tier in chosen.items():
        click.echo(f"{name} is on trial for tier {tier}.")
    told = "comes in little by little" if share is None else f"gets {share * 100:.3g}% of sessions"
    click.echo(
        f"It {told}. Restart the gateway or send it SIGHUP, then: pennyweight experiments"
        if chosen
        else "There is nothing to try: every agent with known outcomes sits where it fits."
    )


def on_trial(text: str, chosen: dict[str, str]) -> str:
    """The text of an agents.toml with those trials in it; all else keeps its bytes."""
    blocks = re.split(r"(?m)^(?=\[\[agents\]\])", text)
    for place, block in enumerate(blocks):
        named = re.search(r"""(?m)^name\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')[^\n]*$""", block)
        tier = chosen.get((named[1] or named[2] or "") if named else "")
        if named is None or tier is None:
            continue
        line = f'trial = "{tier}"'
        if re.search(r"(?m)^trial\s*=", block):
            blocks[place] = re.sub(r"(?m)^trial\s*=[^\n]*$", line, block)
        else:
            blocks[place] = f"{block[: named.end()]}\n{line}{block[named.end() :]}"
    return "".join(blocks)


# --- what they stand on ----------------------------------------------------------------------------------------------


def _loaded(config_path: Path | None, data: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": data})


def _agents_file(config: Config) -> Path:
    if config.agents_path is None:
        raise ConfigError('There is no agents.toml. Make one (`pennyweight agents import`) and name it: agents = "…".')
    return config.agents_path


def _held(config: Config, days: float) -> list[Any]:
    path = config.data_dir / FILE
    if not is_made(path):
        return []
    with reading(path) as connection:
        return list(read(connection, since=time.time() - days * 86_400))


def _profiles(config: Config, days: float, bar: float) -> list[Profile]:
    tiers = ranked(config)
    if not tiers:
        raise ConfigError("There are no [[tiers]] to compare. docs/routing.md has recipes.", where=str(config.source))
    local = {name for name, provider in config.providers.items() if provider.local}
    book = open_book(
        config.data_dir,
        overrides=read_overrides(config.prices),
        local=LOCAL | local,
        names={name: provider.prices for name, provider in config.providers.items()},
    )
    accounts = Accounts(book, {name: Account(True) for name in LOCAL | local}, BpeTokenizer())
    return profiles(_held(config, days), tiers, accounts.cost, bar=bar)


async def _share(config: Config, share: float) -> None:
    clock = SystemClock()
    database = Database(config.data_dir / FILE)
    try:
        policy = Policy({"agent_tiers": Flag(rollout=True)}, changes=SQLiteFlags(database, clock))
        await policy.load()
        await policy.set("agent_tiers", by="operator", mode="on", share=share, reason="pennyweight agents apply")
    finally:
        await database.close()


def _row(one: Profile) -> dict[str, Any]:
    return {
        "agent": one.agent,
        "tier": one.tier,
        "calls": one.calls,
        "sessions": one.sessions,
        "outcomes": one.outcomes,
        "success": one.success,
        "low": round(one.low, 4),
        "high": round(one.high, 4),
        "cost_usd": one.cost / 1e12,
        "advice": one.advice,
        "to": one.to,
        "saving_usd": None if one.saving is None else one.saving / 1e12,
        "tried": one.tried,
        "why": one.why,
    }


def _print(found: Sequence[Profile], days: float) -> None:
    table = Table("agent", "tier", "sessions", "success (95%)", "cost", "advice", "saving", "why")
    for one in found:
        success = (
            f"{one.success:.0%} ({one.low:.0%} to {one.high:.0%}), n {one.outcomes}" if one.success is not None else ""
        )
        advice = {"dearer": f"try {one.to}", "weaker": f"needs {one.to}"}.get(one.advice, one.advice)
        tried = f"; {one.tried} outcomes there" if one.to else ""
        table.add_row(
            escape(one.agent),
            escape(one.tier),
            f"{one.sessions:,}",
            success,
            format_usd(one.cost),
            escape(advice),
            "" if one.saving is None else format_usd(one.saving),
            escape(one.why + tried),
        )
    wide().print(table)
    saving = sum(one.saving or 0 for one in found if one.advice == "dearer")
    click.echo(f"In {days:g} days, lighter tiers would have saved {format_usd(saving)} at list prices, if as good.")


def _usd(value: str | float | None) -> str:
    return "" if value is None else f"${value}".replace("$$", "$")
