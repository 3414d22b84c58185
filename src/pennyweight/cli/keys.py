"""`pennyweight keys add | list | revoke`: virtual keys, each a tenant with a limit of its own."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..config import find, load
from ..errors import ConfigError
from ..stores.virtual_keys import KeyStore, VirtualKey

__all__ = ["command"]

_DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def command() -> None:
    """Virtual keys: who may use the gateway, and for how much a day.

    \b
    pennyweight keys add alice --daily-usd 5
    """


def _store(data: Path | None) -> KeyStore:
    return KeyStore(load(find(os.environ), os.environ, {"data_dir": data}).data_dir)


@command.command(epilog="Try: pennyweight keys add alice --daily-usd 5")
@click.argument("name")
@click.option("--daily-usd", help="Refuse calls once this many dollars are spent in a UTC day.")
@click.option("--expires", help="A date or time (2027-01-31, 2027-01-31T12:00), in UTC.")
@_DATA
@_JSON
def add(name: str, daily_usd: str | None, expires: str | None, data: Path | None, as_json: bool) -> None:
    """Make a key for NAME and print it, this once."""
    key = _store(data).add(name, daily_usd=daily_usd, expires_at=_time(expires))
    if as_json:
        click.echo(json.dumps({"name": name, "key": key}))
        return
    click.echo(key)
    click.echo(f"This is the key of {name}. It is shown only now: only its hash is kept.", err=True)


@command.command("list")
@_DATA
@_JSON
def list_keys(data: Path | None, as_json: bool) -> None:
    """All keys, with their limits and expiry."""
    keys = _store(data).list()
    if as_json:
        click.echo(json.dumps([_row(key) for key in keys]))
        return
    if not keys:
        click.echo("There are no keys. Only this machine may use the gateway. Make one: pennyweight keys add NAME")
    for key in keys:
        row = _row(key)
        limit = f"${row['daily_usd']} a day" if row["daily_usd"] else "no limit"
        expires = f"expires {row['expires']}" if row["expires"] else "does not expire"
        click.echo(f"{key.name}  {limit}  {expires}  made {row['created']}")


@command.command()
@click.argument("name")
@_DATA
@_JSON
def revoke(name: str, data: Path | None, as_json: bool) -> None:
    """Take the key of NAME away; a running gateway refuses it within a second."""
    _store(data).revoke(name)
    click.echo(json.dumps({"name": name, "revoked": True}) if as_json else f"The key of {name} is revoked.")


def _row(key: VirtualKey) -> dict[str, Any]:
    usd = None if key.daily_limit is None else f"{key.daily_limit / 10**12:.6f}".rstrip("0").rstrip(".")
    return {
        "name": key.name,
        "daily_usd": usd,
        "created": _iso(key.created_at),
        "expires": None if key.expires_at is None else _iso(key.expires_at),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _time(text: str | None) -> float | None:
    """Unix seconds of an ISO date or time, UTC unless it says otherwise. Raises ConfigError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--expires {text!r} is no date. Write it as 2027-01-31 or 2027-01-31T12:00.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
