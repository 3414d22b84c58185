"""`pennyweight experiments`: what each optimizer does to the sessions that have it, and switching one."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..app import loop_settings
from ..clock import SystemClock
from ..config import Config, find, load
from ..ledger.loop import Loop
from ..ledger.shadows import Shadows
from ..policy import Flag, Mode, Policy
from ..stores.flags import SQLiteFlags
from ..stores.sqlite import FILE, Database

__all__ = ["command"]

_CONFIG = click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
_DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(invoke_without_command=True)
@_CONFIG
@_DATA
@_JSON
@click.pass_context
def command(ctx: click.Context, config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """What optimizers do to the sessions that have them: arms, effects with intervals, what was decided.

    \b
    pennyweight experiments                                    how everything stands
    pennyweight experiments --json                             the same for programs
    pennyweight experiments set exact_cache --mode shadow --reason "answers look old"
    pennyweight experiments set exact_cache --share 0.25       a quarter of the sessions
    pennyweight experiments reset exact_cache                  back to what the file says
    """
    if ctx.invoked_subcommand is None:
        _show(_loaded(config_path, data), as_json)


def _loaded(config_path: Path | None, data: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": data})


@command.command("set")
@click.argument("name")
@click.option("--mode", type=click.Choice(["off", "shadow", "on"]), help="shadow: asked and recorded, not followed.")
@click.option("--share", type=click.FloatRange(0, 1), help="Of sessions: 0.25 is a quarter.")
@click.option("--reason", default="", help="Kept with the change.")
@_CONFIG
@_DATA
@_JSON
def set_flag(
    name: str,
    mode: str | None,
    share: float | None,
    reason: str,
    config_path: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Switch optimizer NAME. A running gateway follows within seconds. What you set, the gateway leaves alone.

    \b
    pennyweight experiments set exact_cache --mode shadow --share 0.25 --reason "answers look old"
    """
    if mode is None and share is None:
        raise click.UsageError("Nothing to change: give --mode, --share or both.")
    asyncio.run(_set(_loaded(config_path, data), name, cast("Mode | None", mode), share, reason, as_json))


@command.command()
@click.argument("name")
@click.option("--reason", default="", help="Kept with the change.")
@_CONFIG
@_DATA
@_JSON
def reset(name: str, reason: str, config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """Put optimizer NAME back to what the configuration says; the gateway may act on it again.

    \b
    pennyweight experiments reset exact_cache
    """
    asyncio.run(_reset(_loaded(config_path, data), name, reason, as_json))


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Policy, Loop, Shadows]]:
    clock = SystemClock()
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(config.data_dir / FILE)
    try:
        changes = SQLiteFlags(database, clock)
        flags = {rule.use: Flag(rule.mode, rule.share, rule.level, rule.rollout) for rule in config.optimizers}
        policy = Policy(flags, holdout=config.experiments.holdout, changes=changes)
        settings = loop_settings(config.experiments)
        loop = Loop(database.path, database, policy, history=changes.history, clock=clock, settings=settings)
        yield policy, loop, Shadows(database, policy, clock, alpha=settings.alpha, act=False)
    finally:
        await database.close()


async def _set(config: Config, name: str, mode: Mode | None, share: float | None, reason: str, as_json: bool) -> None:
    async with _opened(config) as (policy, _, _):
        await policy.load()
        await policy.set(name, by="operator", mode=mode, share=share, reason=reason)
        _say(policy, name, as_json)


async def _reset(config: Config, name: str, reason: str, as_json: bool) -> None:
    async with _opened(config) as (policy, _, _):
        await policy.load()
        await policy.reset(name, reason=reason)
        _say(policy, name, as_json)


def _say(policy: Policy, name: str, as_json: bool) -> None:
    now = policy.in_force(name)
    if as_json:
        click.echo(json.dumps({"name": name, "mode": now.mode, "share": now.share, "by": now.by}))
    else:
        click.echo(f"{name} is {now.mode} for {now.share * 100:.3g}% of sessions, as said by {_who(now.by)}.")


def _who(by: str) -> str:
    return {"config": "the configuration", "operator": "you", "loop": "the evidence"}[by]


def _show(config: Config, as_json: bool) -> None:
    async def main() -> dict[str, Any]:
        async with _opened(config) as (_, loop, shadows):
            return {**await loop.report(), "shadow_pairs": await shadows.report()}

    found = asyncio.run(main())
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


# --- for people -------------------------------------------------------------------------------------------


def _print(found: dict[str, Any]) -> None:
    console = Console()
    table = Table("optimizer", "mode", "sessions", "said by", "why", box=None, pad_edge=False, header_style="bold")
    for one in found["optimizers"]:
        share = f"{one['share'] * 100:.3g}%" + (" (rolling out)" if one["rollout"] else "")
        table.add_row(one["name"], one["mode"], share, _who(one["by"]), escape(one["reason"]))
    console.print(table)
    held = f"{found['holdout']:.1%} of sessions are the holdout: every optimizer is off for them."
    console.print(held if found["holdout"] else "There is no holdout: what all of it saves is not measured.")
    if found["sessions_followed"] < 1:
        console.print(f"So many calls come that one in {1 / found['sessions_followed']:.0f} sessions is followed.")
    if found["total"] is not None:
        _print_trial(console, "all that is on, against the holdout", found["total"])
    for one in found["optimizers"]:
        if one["experiment"] is not None:
            _print_trial(console, f"{one['name']}, against sessions without it", one["experiment"])
    for test in found["shadow_pairs"]:
        _print_pairs(console, test)
    for change in found["changes"][:10]:
        at = datetime.fromtimestamp(change["at"], UTC).strftime("%Y-%m-%d %H:%M")
        what = {"notice": "notice", "reset": "back to the file"}.get(change["kind"], "")
        what = what or f"{change['mode']} {change['share'] * 100:.3g}%"
        console.print(
            f"{at}  {change['optimizer']}: {what}, by {_who(change['by'])}. {escape(change['reason'])}",
            highlight=False,
            soft_wrap=True,
        )


def _print_pairs(console: Console, test: dict[str, Any]) -> None:
    effect = ""
    if test["effect"] is not None:
        effect = f", {test['effect'] * 100:+.1f} points ({test['low'] * 100:+.1f} to {test['high'] * 100:+.1f})"
    counts = f"{test['pairs']:,} pairs, {test['worse']:,} worse with it, {test['better']:,} better"
    odds = f"odds of harm {test['harm_odds']:,.0f}, alarm at {test['alarm_at']:,.0f}"
    told = f"\n{escape(test['optimizer'])}, the same task with it and without: {counts}{effect}; {odds}"
    console.print(told, highlight=False, soft_wrap=True)


def _print_trial(console: Console, title: str, trial: dict[str, Any]) -> None:
    console.print(f"\n[bold]{escape(title)}[/]", highlight=False)
    arms = Table("arm", box=None, pad_edge=False, header_style="dim")
    for name in ("sessions", "calls", "errors", "mean latency", "per call", "per session", "feedback"):
        arms.add_column(name, justify="right")
    for name, arm in trial["arms"].items():
        arms.add_row(name, *_arm(arm))
    console.print(arms)
    if not trial["metrics"]:
        console.print("No session has come far enough to be compared.", highlight=False)
        return
    effects = Table("outcome", box=None, pad_edge=False, header_style="dim")
    for name in ("effect", "interval", "on / all", "odds of harm / alarm at"):
        effects.add_column(name, justify="right")
    for metric in trial["metrics"]:
        name = f"{metric['metric'].replace('_', ' ')}{' (first calls)' if metric['look'] == 'early' else ''}"
        alarm = "[red]ALARM [/]" if metric["alarm"] else ""
        odds = f"{alarm}{metric['harm_odds']:,.1f} / {metric['alarm_at']:,.0f}"
        effects.add_row(name, *_effect(metric), f"{metric['sessions_on']:,} / {metric['sessions']:,}", odds)
    console.print(effects)


def _arm(arm: dict[str, Any]) -> list[str]:
    def shown(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    thumbs = arm["feedback"]
    return [
        f"{arm['sessions']:,}",
        f"{arm['calls']:,}",
        shown(arm["error_rate"], "{:.2%}"),
        shown(arm["latency_s"], "{:.2f} s"),
        shown(arm["cost_per_call_usd"], "${:.6f}"),
        shown(arm["cost_per_session_usd"], "${:.4f}"),
        f"+{thumbs['up']} -{thumbs['down']}" if thumbs["up"] or thumbs["down"] else "",
    ]


def _effect(metric: dict[str, Any]) -> tuple[str, str]:
    if metric["effect"] is None:
        return "", "too few sessions"
    form = "{:.2f}x" if metric["shown"] == "ratio" else "{:+.2%}"
    low, high = (form.format(metric[end]) for end in ("low", "high"))
    return form.format(metric["effect"]), f"{low} to {high}"
