"""`pennyweight replay`: recorded traffic through the pipeline, offline: what it cost and what it would have cost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..config import Config
from ..money import PicoUSD, format_usd
from ..replay.offline import Line, Replay, Totals, accepted, run, total
from ..replay.readers import Recorded, read
from .offline import engine, loaded, opened


@click.command(epilog="Try: pennyweight replay ~/.claude/projects/*/*.jsonl --optimize max")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--optimize", type=click.Choice(["off", "safe", "max"]), help="Default: as configured.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder, for the prices updated there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    paths: tuple[Path, ...], optimize: str | None, config_path: Path | None, data: Path | None, as_json: bool
) -> None:
    """Run recorded traffic through the pipeline, without a network: cost before and after.

    Reads Pennyweight's captures, OpenClaw sessions, Claude Code transcripts, Codex rollouts, and JSON lists of request
    bodies; which one it is, the content tells. A folder stands for the .jsonl,
    .jsonl.gz and .json files in it.
    """
    config = loaded(config_path, data, optimize)
    calls = [call for path in files_in(paths) for call in read(path)]
    replayed = asyncio.run(_replay(calls, config))
    if as_json:
        click.echo(json.dumps(as_object(replayed, config)))
    else:
        _print(replayed, config)


async def _replay(calls: list[Recorded], config: Config) -> Replay:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying", total=len(calls))
        async with opened(config) as (app, clock):
            return await run(
                calls,
                engine(app, clock),
                optimize=config.optimize,
                progress=lambda done: progress.update(task, completed=done),
            )


def files_in(paths: tuple[Path, ...]) -> list[Path]:
    """The recordings among these files and in these folders. Raises UsageError."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.name.endswith(_NAMES)) if path.is_dir() else [path]
        found += inside
    if not found:
        raise click.UsageError("There is no .jsonl, .json or .jsonl.gz file in there.")
    return found


_NAMES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def as_object(replayed: Replay, config: Config) -> dict[str, Any]:
    """What --json prints. Money in US dollars; `counted` calls have simulated, not reported usage."""
    return {
        **_figures(total(replayed.lines)),
        "optimize": config.optimize,
        "skipped": replayed.skipped,
        "accepted": accepted(replayed.lines),
        "sessions": [{"session": name, **_figures(total(lines))} for name, lines in _sessions(replayed).items()],
    }


def _figures(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "input_tokens": totals.input_tokens,
        "cached_tokens": totals.cached_tokens,
        "output_tokens": totals.output_tokens,
        "baseline_usd": totals.baseline / 1e12 if totals.priced else None,
        "cost_usd": totals.cost / 1e12 if totals.priced else None,
        "saved_usd": totals.saved / 1e12 if totals.priced else None,
        "saved_basis": "estimated" if totals.saved else "",
        "counted_calls": totals.counted,
        "unpriced_calls": totals.unpriced,
        "answered_calls": totals.answered,
    }


def _sessions(replayed: Replay) -> dict[str, list[Line]]:
    sessions: dict[str, list[Line]] = {}
    for line in replayed.lines:
        sessions.setdefault(line.session, []).append(line)
    return sessions


def _print(replayed: Replay, config: Config) -> None:
    everything = total(replayed.lines)
    table = Table(
        title=f"Replayed with --optimize {config.optimize}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("session", overflow="ellipsis", no_wrap=True, max_width=14)
    for name in ("calls", "input", "cached", "output", "before", "after", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(name, total(lines)) for name, lines in _sessions(replayed).items()]
    if len(rows) > 1:
        rows.append(("total", everything))
    for name, figures in rows:
        table.add_row(
            escape(name),
            f"{figures.calls:,}",
            f"{figures.input_tokens:,}",
            f"{figures.cached_tokens:,}",
            f"{figures.output_tokens:,}",
            *((_short(figures.baseline), _short(figures.cost), _short(figures.saved)) if figures.priced else _UNPRICED),
        )
    console = Console()
    console.print(table)
    for line in _notes(everything, replayed):
        console.print(line, highlight=False, soft_wrap=True)


_UNPRICED = ("unpriced", "unpriced", "")


def _short(amount: PicoUSD) -> str:
    """To four digits after the point, so that a table fits; --json has all of them."""
    return f"${amount / 1e12:,.4f}"


def _notes(everything: Totals, replayed: Replay) -> list[str]:
    notes = []
    if everything.saved:
        notes.append(f"Saved: {format_usd(everything.saved, exact=True)}, estimated from recorded traffic.")
    notes += [f"{name} accepted for {count} calls." for name, count in accepted(replayed.lines).items()]
    if everything.counted:
        notes.append(
            f"{everything.counted} of {everything.calls} calls had no recorded usage: their tokens are counted (o200k) "
            "and their cache reads simulated."
        )
    if everything.unpriced:
        models = sorted({line.model for line in replayed.lines if line.before is None or line.after is None})
        notes.append(f"{everything.unpriced} calls are unpriced, and in no sum of money: {', '.join(models)[:300]}.")
    if replayed.skipped:
        notes.append(f"{replayed.skipped} calls failed when they were recorded and were left out.")
    return notes
