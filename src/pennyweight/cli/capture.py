"""`pennyweight capture`: record the traffic of chosen sessions, off by default; `redact` takes the prose out."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import click

from ..capture import Rule, read_rule, write, write_rule
from ..capture.filler import Filler
from ..capture.redact import redact
from ..config import find, load
from ..errors import ConfigError
from ..replay.readers import read

_data = click.option("--data", type=click.Path(path_type=Path), help="Data folder of the gateway.")


@click.group(epilog="Try: pennyweight capture on --session 'agent:main:*' --redact")
def command() -> None:
    """Record the traffic of chosen sessions to files, for `pennyweight replay`. Off until you turn it on."""


@command.command(epilog="Try: pennyweight capture on --session 'agent:main:*' --redact")
@click.option("--session", "sessions", multiple=True, metavar="ID", help="A session; * stands for any characters.")
@click.option("--agent", "agents", multiple=True, metavar="NAME", help="All sessions of an agent.")
@click.option("--all", "everything", is_flag=True, help="Every session.")
@click.option("--redact", "redacted", is_flag=True, help="Write filler instead of text.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the captures.")
@_data
def on(
    sessions: tuple[str, ...],
    agents: tuple[str, ...],
    everything: bool,
    redacted: bool,
    out: Path | None,
    data: Path | None,
) -> None:
    """Start recording. A running gateway notices within a second."""
    if not (sessions or agents or everything):
        raise click.UsageError("Say what to record: --session ID, --agent NAME or --all.")
    folder = _data_dir(data)
    rule = Rule(
        sessions=("*",) if everything else sessions,
        agents=agents,
        redact=redacted,
        out=str(out.resolve()) if out else "",
        since=time.time(),
    )
    write_rule(folder, rule)
    click.echo(f"Recording {_said(rule)} to {rule.folder(folder)}.")
    if not redacted:
        click.echo("Prompts and answers are written as they are. Use --redact for files that others may see.")


@command.command()
@_data
def off(data: Path | None) -> None:
    """Stop recording. Files that were written stay."""
    write_rule(_data_dir(data), None)
    click.echo("Recording is off.")


@command.command()
@_data
def status(data: Path | None) -> None:
    """Say what is being recorded, and what there is."""
    folder = _data_dir(data)
    rule = read_rule(folder) or Rule()
    click.echo(f"Recording {_said(rule)} to {rule.folder(folder)}." if rule.on else "Recording is off.")
    for path in sorted(rule.folder(folder).glob("*.jsonl")):
        with path.open("rb") as file:
            calls = sum(1 for _ in file)
        click.echo(f"  {path.name}  {calls} calls, {path.stat().st_size:,} bytes")


@command.command("redact", epilog="Try: pennyweight capture redact session.jsonl redacted.jsonl")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--salt", help="Same salt, same filler: to redact several files of one session alike. Default: random.")
def redact_file(source: Path, target: Path, salt: str | None) -> None:
    """Write SOURCE to TARGET with filler in place of every text: same tokens, prefixes and prices, no prose.

    SOURCE may be anything that `pennyweight replay` reads.
    """
    if target.exists() and target.samefile(source):
        raise ConfigError("TARGET is SOURCE itself. Give another name.", where=str(target))
    calls = read(source)
    filler = Filler(salt.encode() if salt is not None else secrets.token_bytes(32))
    try:
        count = write(target, [redact(call, filler) for call in calls])
    except OSError as error:
        raise ConfigError(f"Cannot be written: {error.strerror}.", where=str(target)) from None
    click.echo(f"{count} calls written to {target}.")


def _data_dir(data: Path | None) -> Path:
    return data or load(find(os.environ), os.environ).data_dir


def _said(rule: Rule) -> str:
    if "*" in rule.sessions:
        what = "every session"
    else:
        named = [f"session {name}" for name in rule.sessions] + [f"agent {name}" for name in rule.agents]
        what = ", ".join(named)
    return f"{what}, redacted," if rule.redact else what
