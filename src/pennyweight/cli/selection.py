"""`pennyweight selection`: who is to do a task, how it went, and how everybody stands."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..app import open_selection
from ..config import Config, find, load
from ..selection import Candidate, Choice, Selection, Standing

__all__ = ["command"]

T = TypeVar("T")

_CONFIG = click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
_DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
_TENANT = click.option("--tenant", default="local", show_default=True, help="Whose: the name of a virtual key.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@_CONFIG
@_DATA
@_TENANT
@_JSON
@click.pass_context
def command(ctx: click.Context, config_path: Path | None, data: Path | None, tenant: str, as_json: bool) -> None:
    """Which of several agents or models does a task best, learnt from how tasks went.

    \b
    pennyweight selection                                     how everybody stands
    pennyweight selection select code scout=kimi-k2 smith=kimi-k2 sage
    pennyweight selection feedback code smith --model kimi-k2 --success 1 --tokens 5200 --latency-s 14
    pennyweight selection forget                              begin anew
    """
    if ctx.invoked_subcommand is None:
        config = _loaded(config_path, data)
        _show(_run(config, lambda selection: selection.standings(tenant)), config.selection.rule, as_json)


@command.command()
@click.argument("task_type")
@click.argument("candidates", nargs=-1, required=True)
@_CONFIG
@_DATA
@_TENANT
@_JSON
def select(
    task_type: str, candidates: tuple[str, ...], config_path: Path | None, data: Path | None, tenant: str, as_json: bool
) -> None:
    """Who of CANDIDATES is to do a task of TASK_TYPE. A candidate is NAME, or NAME=MODEL that it runs on.

    \b
    pennyweight selection select code scout=kimi-k2 smith=kimi-k2 sage
    """
    asked = [Candidate(name, model) for name, _, model in (one.partition("=") for one in candidates)]
    choice = _run(_loaded(config_path, data), lambda selection: selection.select(tenant, task_type, asked))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(choice)))
    else:
        click.echo(choice.name)
        click.echo(f"{choice.why}; expected {choice.expected:.2f}, chosen by {choice.score:.2f}", err=True)


@command.command()
@click.argument("task_type")
@click.argument("name")
@click.option("--success", type=click.FloatRange(0, 1), required=True, help="1 done, 0 failed, or a part.")
@click.option("--model", default="", help="The model it runs on, as given to select.")
@click.option("--tokens", type=click.FloatRange(0), default=0.0, help="That the task took.")
@click.option("--latency-s", type=click.FloatRange(0), default=0.0, help="Seconds that the task took.")
@_CONFIG
@_DATA
@_TENANT
@_JSON
def feedback(
    task_type: str,
    name: str,
    success: float,
    model: str,
    tokens: float,
    latency_s: float,
    config_path: Path | None,
    data: Path | None,
    tenant: str,
    as_json: bool,
) -> None:
    """How a task of TASK_TYPE went that NAME did.

    \b
    pennyweight selection feedback code smith --model kimi-k2 --success 1 --tokens 5200 --latency-s 14
    """
    choice = Choice(task_type, name, model)

    async def tell(selection: Selection) -> None:
        await selection.feedback(tenant, choice, success, tokens=tokens, latency_s=latency_s)

    _run(_loaded(config_path, data), tell)
    click.echo(json.dumps({"learnt": True}) if as_json else f"Learnt: {name} did {task_type} with {success:g}.")


@command.command()
@_CONFIG
@_DATA
@_TENANT
@_JSON
def forget(config_path: Path | None, data: Path | None, tenant: str, as_json: bool) -> None:
    """Begin anew: what was told so far counts no more.

    \b
    pennyweight selection forget --tenant alice
    """
    _run(_loaded(config_path, data), lambda selection: selection.forget(tenant))
    click.echo(json.dumps({"forgotten": True}) if as_json else "Forgotten: all begin anew.")


def _loaded(config_path: Path | None, data: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": data})


def _run(config: Config, work: Callable[[Selection], Awaitable[T]]) -> T:
    async def main() -> T:
        async with open_selection(config) as selection:
            return await work(selection)

    return asyncio.run(main())


def _show(standings: Sequence[Standing], rule: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"rule": rule, "standings": [msgspec.to_builtins(one) for one in standings]}))
        return
    if not standings:
        click.echo("Nothing was told yet. Tell how a task went: pennyweight selection feedback TYPE NAME --success 1")
        return
    table = Table("task type", "candidate", "model", box=None, pad_edge=False, header_style="bold")
    for name in ("tried", "success", "tokens", "latency", "expected now", "chosen by"):
        table.add_column(name, justify="right")
    for one in sorted(standings, key=lambda one: (one.task_type, -one.score)):
        table.add_row(
            escape(one.task_type),
            escape(one.name),
            escape(one.model if one.model != one.name else ""),
            f"{one.tried:,}",
            f"{one.success:.0%}",
            f"{one.tokens:,.0f}",
            f"{one.latency_s:,.1f} s",
            f"{one.expected:.0%}",
            "rests" if one.resting else f"{one.score:.2f}",
        )
    Console(width=None if os.isatty(1) else 140).print(table)
