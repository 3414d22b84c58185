"""`pennyweight doctor`: why prompts were not read from the provider's cache, what that cost, and what to set."""

from __future__ import annotations

import asyncio
import json
import os
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..app import OPTIMIZERS
from ..config import Config, files, find, load
from ..config.edit import doing, switch_on
from ..errors import ConfigError
from ..folders import expanded
from ..ledger.doctor import Group, grouped
from ..ledger.doctor.shown import as_object, page, summed
from ..ledger.doctor.stored import read as read_stored
from ..ledger.reading import is_made
from ..money import format_usd
from ..replay.doctor import Diagnosis
from ..replay.readers import Recorded, read
from ..stores.database import FILE
from .offline import examined, opened
from .replay import files_in
from .report import moment

WIDTH = 80


class Report(msgspec.Struct, frozen=True):
    """`about`: what was looked at. `prompt_cost`: PicoUSD of all prompts, None where only misses were kept."""

    groups: tuple[Group, ...]
    about: str
    prompt_cost: int | None = None
    notes: tuple[str, ...] = ()


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="[FILE]...")
@click.option("--since", help="From this moment on: 2026-11-01, or 24h, 7d, 4w ago. Of a gateway's own calls: 7d.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", "html_path", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to send on.")
@click.option("--with-text", is_flag=True, help="Quote from prompts what changed (files only).")
@click.option("--apply", "apply_", is_flag=True, help="Switch on what the gateway can do itself, after a backup.")
@click.option("--max", "up_to_max", is_flag=True, help='With --apply: what needs optimize = "max" too.')
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder of the gateway.")
def command(
    paths: tuple[Path, ...],
    since: str | None,
    as_json: bool,
    html_path: Path | None,
    with_text: bool,
    apply_: bool,
    up_to_max: bool,
    config_path: Path | None,
    data: Path | None,
) -> None:
    """Say why prompt tokens were not read from the provider's cache.

    For every cause: what it cost, how often, and the setting that ends it.
    Without a FILE: of the calls that went through the gateway. With one: of
    recorded traffic, in any form that `pennyweight replay` reads, whether or
    not the gateway ever saw it. Nothing is said of what is healthy.

    \b
    pennyweight doctor                               the gateway's last 7 days
    pennyweight doctor ~/.claude/projects/*/*.jsonl  Claude Code's transcripts
    pennyweight doctor calls.jsonl --html page.html  a page for a colleague
    pennyweight doctor --apply                       do what can be done here
    """
    place = config_path or find(os.environ)
    config = load(place, os.environ, {"data_dir": data})
    now = time.time()
    if paths:
        report = _of_files(paths, config, moment(since, now) or 0.0)
    else:
        if with_text:
            raise click.UsageError("--with-text needs a FILE: the gateway keeps no prompt text.")
        report = _of_gateway(config, moment(since or "7d", now) or 0.0, since or "7d")
    if html_path is not None:
        html_path.write_text(page(report.groups, about=report.about, text=with_text, now=now), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(_object(report, text=with_text)))
    elif html_path is None or apply_:
        _print(report, text=with_text)
    if html_path is not None and not as_json:
        click.echo(f"Wrote {html_path}.")
    if apply_:
        _apply(report.groups, place, up_to_max=up_to_max, quiet=as_json)


# --- where findings come from ---------------------------------------------------------------------------------


def _of_gateway(config: Config, since: float, span: str) -> Report:
    path = config.data_dir / FILE
    groups = grouped(read_stored(path, since=since), on=doing(config), known=OPTIMIZERS, live=True)
    about = f"Calls through the gateway since {span if '-' in span else span + ' ago'}."
    notes = () if is_made(path) else ("There are no calls yet: run `pennyweight serve`, or give a FILE.",)
    return Report(groups, about, notes=notes)


def _of_files(paths: Sequence[Path], config: Config, since: float) -> Report:
    calls = _read(files_in(tuple(paths)))
    found = asyncio.run(_diagnosed(calls, config, since))
    notes = []
    if found.simulated:
        notes.append(
            f"{found.simulated:,} of {found.calls:,} calls had no recorded usage: their tokens are counted (o200k) and "
            "their cache reads simulated."
        )
    if found.skipped:
        notes.append(f"{found.skipped:,} calls failed when they were recorded, or came earlier: left out.")
    about = (
        f"{found.calls:,} recorded calls with {found.prompt_tokens:,} prompt tokens, {format_usd(found.prompt_cost)}."
    )
    groups = grouped(found.findings, on=doing(config), known=OPTIMIZERS)
    return Report(groups, about, found.prompt_cost, tuple(notes))


def _read(paths: Sequence[Path]) -> list[Recorded]:
    """The calls of all files. Sessions that are called after their files are told apart by the folder, if need be."""
    names = Counter(path.name for path in paths)
    calls: list[Recorded] = []
    for path in paths:
        found = read(path)
        if names[path.name] > 1:
            found = [msgspec.structs.replace(call, session=f"{path.parent.name}/{call.session}") for call in found]
        calls += found
    return calls


async def _diagnosed(calls: list[Recorded], config: Config, since: float) -> Diagnosis:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("examining", total=len(calls))
        async with opened(config) as (app, _):
            return examined(app, calls, since=since, progress=lambda done: progress.update(task, completed=done))


# --- how they are told ----------------------------------------------------------------------------------------


def _object(report: Report, *, text: bool) -> dict[str, Any]:
    cost, tokens = summed(report.groups)
    return {
        "about": report.about,
        "missed_pico": cost,
        "missed_tokens": tokens,
        "prompt_cost_pico": report.prompt_cost,
        "findings": [as_object(group, text=text) for group in report.groups],
        "notes": list(report.notes),
    }


def _print(report: Report, *, text: bool) -> None:
    _say(report.about)
    cost, tokens = summed(report.groups)
    if report.groups:
        of_all = f", {cost / report.prompt_cost:.0%} of what the prompts cost" if report.prompt_cost else ""
        _say(f"Missed: {format_usd(cost)}{of_all}; {tokens:,} tokens.")
    elif not report.notes or report.prompt_cost is not None:
        _say("Nothing was missed that is worth a change.")
    for number, group in enumerate(report.groups, 1):
        click.echo("")
        _tell(number, group, text=text)
    if report.notes:
        click.echo("")
    for note in report.notes:
        _say(note)


_COLOURS = {"high": "red", "medium": "yellow", "low": "cyan"}


def _tell(number: int, group: Group, *, text: bool) -> None:
    price = format_usd(group.cost) if group.cost is not None else f"{group.tokens:,} tokens, no price known"
    head = textwrap.wrap(group.title, WIDTH - 4)
    click.echo(f"{number:>2}. " + click.style(f"\n{' ' * 4}".join(head), bold=True))
    conversations = f"{len(group.sessions)} conversation{'s' if len(group.sessions) != 1 else ''}"
    calls = f"{group.calls:,} call{'s' if group.calls != 1 else ''} in {conversations}"
    severity = click.style(group.severity, fg=_COLOURS[group.severity])
    click.echo(f"    {price}  {severity}  {calls}")
    who = f"{group.model} at {group.provider}" + (f", {group.client}" if group.client else "")
    for line in (f"{who}. {group.detail}", f"Fix: {group.fix}"):
        _say(line, "    ")
    if group.setting and len(group.setting) <= WIDTH - len("    Setting: "):
        click.echo(f"    Setting: {group.setting}")
    elif group.setting:  # on a line of its own, to be copied whole
        click.echo("    Setting:")
        _say(group.setting, "      ")
    if group.applicable:
        _say("The gateway can do this: --apply" + (" --max" if group.apply.endswith("max") else ""), "    ")
    if text and (group.worst.before or group.worst.after):
        _say(f"Before: {group.worst.before!r}", "    ", "      ")
        _say(f"After:  {group.worst.after!r}", "    ", "      ")


def _say(text: str, indent: str = "", hanging: str | None = None) -> None:
    click.echo(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if hanging is None else hanging,
            break_on_hyphens=False,
            break_long_words=False,
        )
    )


# --- what can be done -----------------------------------------------------------------------------------------


def _apply(groups: Sequence[Group], place: Path | None, *, up_to_max: bool, quiet: bool) -> None:
    """Edit the configuration; a gateway that runs on it takes the change within a second."""
    wanted = dict.fromkeys(group.apply for group in groups if group.applicable)
    waiting = [what for what in wanted if what.endswith("max") and not up_to_max]
    path = place or _new_file()
    before = files.read(path) or ""
    after = before
    for what in wanted:
        if what not in waiting:
            after = switch_on(after, what)
    if after != before:
        _valid(after, path)
        backup = files.write(path, after, now=datetime.now(UTC))
        if not quiet:
            click.echo(f"\n{files.difference(path, before, after)}\n\nWrote {path}. Backup: {backup}.")
            if place is None:
                click.echo("It is a new file: a gateway that runs takes it at its next start.")
    elif not quiet:
        click.echo("\nNothing to switch on" + (" below optimize = max." if waiting else "."))
    if waiting and not quiet:
        _say(
            'Left out: what needs optimize = "max" for the whole gateway, which may change answers. Add --max to do it.'
        )


def _new_file() -> Path:
    return expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "pennyweight" / "pennyweight.toml"


def _valid(text: str, path: Path) -> None:
    """Raises ConfigError unless the gateway would take the text."""
    with TemporaryDirectory(prefix="pennyweight-doctor-") as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        try:
            load(trial, os.environ)
        except ConfigError as error:
            raise ConfigError(f"{path} was left alone; it would not be valid: {error}") from None
