"""`pennyweight budgets`: how budgets stand, and beginning one anew."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from ..app import App, build
from ..backends.budget.amounts import TOKEN
from ..backends.budget.state import State
from ..config import Config, find, load
from ..errors import NotFound
from ..money import format_usd
from .report import wide

__all__ = ["command"]

T = TypeVar("T")

_CONFIG = click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
_DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_BAR = 20
_COLOURS = {"ok": "green", "warn": "yellow", "force": "dark_orange", "halt": "red"}


@click.group(invoke_without_command=True)
@click.option("--tenant", help="Only what this virtual key has spent.")
@_CONFIG
@_DATA
@_JSON
@click.pass_context
def command(ctx: click.Context, tenant: str | None, config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """What budgets have spent, hold for calls under way, and have left. The fullest first.

    \b
    pennyweight budgets                                   all of them
    pennyweight budgets --json                            the same for programs
    pennyweight budgets reset "session tokens" --subject 7f0c1b
    """
    if ctx.invoked_subcommand is not None:
        return
    config = _loaded(config_path, data)
    states = asyncio.run(_with_app(config, lambda app: app.budgets.states(tenant=tenant)))
    if as_json:
        click.echo(json.dumps({"store": config.budgeting.store, "budgets": msgspec.to_builtins(states)}))
    elif states:
        _show(states)
    else:
        click.echo(
            "No budget has spent anything. Budgets stand in pennyweight.toml as [[budgets]]: see docs/budgets.md."
        )


@command.command("reset")
@click.argument("budget")
@click.option("--subject", help="Only of this session, agent or key.")
@click.option("--tenant", help="Only of this virtual key.")
@_CONFIG
@_DATA
@_JSON
def reset(
    budget: str, subject: str | None, tenant: str | None, config_path: Path | None, data: Path | None, as_json: bool
) -> None:
    """Begin BUDGET anew: nothing of it is spent, and nothing is held. Its name is in `pennyweight budgets`.

    \b
    pennyweight budgets reset daily --tenant alice
    """
    work = _with_app(_loaded(config_path, data), lambda app: app.budgets.reset(budget, tenant=tenant, subject=subject))
    count = asyncio.run(work)
    if not count:
        raise NotFound(f"There is no counter of a budget {budget!r}. `pennyweight budgets` names those there are.")
    click.echo(
        json.dumps({"reset": count}) if as_json else f"{count} counter{'s' if count > 1 else ''} of {budget} reset."
    )


def _loaded(config_path: Path | None, data: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": data})


async def _with_app(config: Config, work: Callable[[App], Awaitable[T]]) -> T:
    async with build(config) as app:
        return await work(app)


def _show(states: list[State]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("budget", "left"), ("whose", "left"), ("", "left"), ("spent", "right"), ("of", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("under way", justify="right")
    table.add_column("resets", justify="left")
    for state in states:
        colour = _COLOURS[state.level]
        full = min(round(state.share * _BAR), _BAR)
        bar = f"[{colour}]{'█' * full}[/][dim]{'░' * (_BAR - full)}[/] {state.share:4.0%}"
        whose = state.subject if state.subject in (state.tenant, "") else f"{state.subject} ({state.tenant})"
        resets = f"{datetime.fromtimestamp(state.ends, UTC):%Y-%m-%d %H:%M} UTC" if state.ends is not None else ""
        spent, amount, held = (_amount(state, value) for value in (state.spent, state.amount, state.held))
        table.add_row(escape(state.budget), escape(whose or "all"), bar, spent, amount, held, resets)
    wide().print(table)


def _amount(state: State, value: int) -> str:
    return format_usd(value) if state.unit == "usd" else f"{value // TOKEN:,} tokens"
