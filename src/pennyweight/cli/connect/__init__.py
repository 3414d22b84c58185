"""`pennyweight connect CLIENT`: show, write or take back what a client needs to use the gateway."""

from __future__ import annotations

import os
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from ...config import files
from ...errors import ConfigError
from ...folders import expanded
from .clients import CLIENTS, Setup, gateway

__all__ = ["command"]


@click.command(
    short_help="Show or write what a client needs to use the gateway.",
    epilog="Try: pennyweight connect claude-code --write, and back: pennyweight connect claude-code --undo",
)
@click.argument("client", type=click.Choice(list(CLIENTS)))
@click.option("--url", default="http://127.0.0.1:8787", show_default=True, help="The gateway's address.")
@click.option("--key", help="A virtual key (pennyweight keys add), or your own provider key.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("gpt-5.5", "claude-sonnet-4-6"),
    show_default=True,
    help="A model to list, the default first; repeatable.",
)
@click.option("--write", is_flag=True, help="Merge the settings into the client's file, after a backup.")
@click.option("--undo", is_flag=True, help="Put the newest backup of that file back.")
@click.option("--path", type=click.Path(path_type=Path, dir_okay=False), help="The file, if not the usual one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    client: str,
    url: str,
    key: str | None,
    models: tuple[str, ...],
    write: bool,
    undo: bool,
    path: Path | None,
    as_json: bool,
) -> None:
    """Show what CLIENT needs to use the gateway: its settings, its environment, and why.

    Nothing is changed without --write or --undo. With --write everything else in the file stays as it is, comments,
    order and indentation included, and a second run changes nothing.
    """
    if write and undo:
        raise click.UsageError("--write and --undo exclude each other.")
    setup = CLIENTS[client](gateway(url, key, models), os.environ, _home())
    if setup.merge is not None:
        setup = msgspec.structs.replace(setup, path=path or setup.path)
    if (write or undo or path) and setup.path is None:
        raise ConfigError(f"{client} has no file: use the code line or the environment variables that it prints.")
    if (write or undo) and setup.path is not None:
        setup = msgspec.structs.replace(setup, path=expanded(setup.path))
    report = _undo(setup) if undo else _write(setup) if write else {}
    if as_json:
        facts: dict[str, object] = {
            "client": client,
            "path": str(setup.path) if setup.path else None,
            "language": setup.language,
        }
        facts |= {"settings": setup.snippet, "env": setup.env, "notes": setup.notes} if not undo else {}
        click.echo(msgspec.json.format(msgspec.json.encode(facts | report), indent=2))
    elif undo or write:
        _tell(report, setup)
    else:
        _show(setup)


def _home() -> Path:
    """The home folder; "~", which can be shown but not written to, for a user that has none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("~")


def _write(setup: Setup) -> dict[str, str | bool | None]:
    assert setup.path is not None
    assert setup.merge is not None
    before = files.read(setup.path)
    try:
        after = setup.merge(before or "")
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{setup.path} was left alone: {error}. Put these settings in by hand:\n\n{setup.snippet}"
        ) from None
    if after == before:
        return {"changed": False, "backup": None, "diff": ""}
    backup = files.write(setup.path, after, now=datetime.now(UTC))
    return {"changed": True, "backup": str(backup), "diff": files.difference(setup.path, before or "", after)}


def _undo(setup: Setup) -> dict[str, str | bool | None]:
    assert setup.path is not None
    before = files.read(setup.path)
    kept = files.undo(setup.path)
    after = files.read(setup.path)
    diff = files.difference(setup.path, before or "", after or "")
    return {"changed": True, "removed": after is None, "kept": str(kept) if kept else None, "diff": diff}


def _tell(report: dict[str, str | bool | None], setup: Setup) -> None:
    if not report["changed"]:
        click.echo(f"{setup.path} says so already; nothing was changed.")
        return
    click.echo(report["diff"])
    click.echo("")
    if "removed" in report:
        click.echo(f"{setup.path} {'was removed: it did not exist before' if report['removed'] else 'is restored'}.")
        if report["kept"]:
            click.echo(f"What it held is kept in {report['kept']}.")
        return
    click.echo(f"Wrote {setup.path}. Backup: {report['backup']}. Take it back with --undo.")
    _show_rest(setup)


def _show(setup: Setup) -> None:
    if setup.path is not None:
        click.echo(f"Put this in {setup.path} (--write does it, after a backup):\n")
    else:
        click.echo("In code:\n")
    click.echo(setup.snippet)
    _show_rest(setup)


def _show_rest(setup: Setup) -> None:
    """Environment and notes. Values that the file already sets are not asked for twice."""
    if setup.env and setup.language != "json":
        click.echo("Environment:\n")
        for name, value in setup.env.items():
            click.echo(f"export {name}={value}")
        click.echo("")
    elif setup.env:
        click.echo("Or, for one shell: " + " ".join(f"{name}={value}" for name, value in setup.env.items()) + "\n")
    for note in setup.notes:
        click.echo("- " + "\n  ".join(textwrap.wrap(note, 98, break_long_words=False, break_on_hyphens=False)))
