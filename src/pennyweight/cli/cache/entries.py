"""`pennyweight cache inspect | purge`: what the stores keep of caches."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...app import build
from ...config import Config, find, load
from ...errors import NotFound
from ...kept import CACHES
from ...optimizers.exact_cache import entry_of
from ...stores.purge import Found, Wanted, entries

__all__ = ["inspect_entries", "purge_entries"]

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def _span(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Seconds of "90s", "15m", "12h", "7d" or "4w"."""
    if value is None:
        return None
    number, unit = value[:-1], value[-1:]
    try:
        return float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise click.BadParameter(f"{value!r} is no span of time. Use 90s, 15m, 12h, 7d or 4w.") from None


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which entries."""
    for option in (
        click.option("--data", type=click.Path(path_type=Path), help="Data directory."),
        click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--cache", type=click.Choice(CACHES), help="Only entries of this cache."),
        click.option(
            "--older-than", "older_than_s", callback=_span, help="Only entries so old: 90s, 15m, 12h, 7d, 4w."
        ),
        click.option("--model", help="Only answers of this model, as it was sent; * stands for any characters."),
        click.option("--tenant", help='Only of this virtual key; "local" for calls without one.'),
    ):
        command = option(command)
    return command


@click.command("inspect")
@click.argument("key", required=False)
@_chosen
@click.option("--answer", is_flag=True, help="With KEY: print the answer itself.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show so many at most.")
def inspect_entries(
    key: str | None,
    answer: bool,
    limit: int,
    tenant: str | None,
    model: str | None,
    older_than_s: float | None,
    cache: str | None,
    as_json: bool,
    config_path: Path | None,
    data: Path | None,
) -> None:
    """What caches keep: whose, of which model, how old, how large.

    KEY: one entry, by its key or eight characters of it.

    \b
    pennyweight cache inspect --tenant alice
    pennyweight cache inspect 9f86d081 --answer
    """
    if answer and key is None:
        raise click.UsageError("--answer needs a KEY: say which answer.")
    config = _config(config_path, data)
    wanted = Wanted(tenant, model, older_than_s, key, cache)
    found = asyncio.run(_found(config, wanted, limit))
    if key is not None and not found:
        raise NotFound(f"No entry {key[:80]!r} is kept. List what is with `pennyweight cache inspect`.")
    if answer:
        _print_answer(found)
    elif as_json:
        click.echo(json.dumps({"entries": [_object(one, value) for one, value in found]}, indent=2))
    elif not found:
        click.echo("Nothing of that is kept.")
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(found))


@click.command("purge")
@_chosen
@click.option("--key", help="Only this entry, by its key or eight characters of it.")
@click.option("--all", "everything", is_flag=True, help="Everything that caches keep.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge_entries(
    key: str | None,
    everything: bool,
    yes: bool,
    tenant: str | None,
    model: str | None,
    older_than_s: float | None,
    cache: str | None,
    as_json: bool,
    config_path: Path | None,
    data: Path | None,
) -> None:
    """Drop what caches keep, from every store. Running gateways that share the stores follow within a second.

    \b
    pennyweight cache purge --model 'gpt-5*' --older-than 1d
    pennyweight cache purge --all --yes
    """
    wanted = Wanted(tenant, model, older_than_s, key, cache)
    if wanted.everything and not everything:
        raise click.UsageError("Name a --tenant, --model, --older-than, --key or --cache; --all drops everything.")
    config = _config(config_path, data)
    if not yes:
        count = asyncio.run(_count(config, wanted))
        if not count:
            click.echo(json.dumps({"purged": 0}) if as_json else "Nothing of that is kept.")
            return
        click.confirm(f"Drop {count:,} {'entry' if count == 1 else 'entries'}?", abort=True, err=True)
    purged = asyncio.run(_purge(config, wanted))
    click.echo(json.dumps({"purged": purged}) if as_json else f"Dropped {purged:,}.")


def _config(config_path: Path | None, data: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": data})


async def _found(config: Config, wanted: Wanted, limit: int) -> list[tuple[Found, bytes]]:
    async with build(config) as app:
        found = [
            (one, await app.kv.get(one.key) or b"")
            async for one in entries(app.kv, wanted, now=app.clock.now(), limit=limit)
        ]
        return sorted(found, key=lambda pair: pair[0].age_s if pair[0].age_s is not None else float("inf"))


async def _count(config: Config, wanted: Wanted) -> int:
    async with build(config) as app:
        return sum([1 async for _ in entries(app.kv, wanted, now=app.clock.now())])


async def _purge(config: Config, wanted: Wanted) -> int:
    async with build(config) as app:
        return await app.purge(wanted)


def _object(found: Found, value: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {
        "key": found.key,
        "cache": found.named.cache,
        "tenant": found.named.tenant,
        "model": found.named.model,
        "size_bytes": found.size_bytes,
        "age_s": found.age_s,
    }
    entry = entry_of(found.key, value) if found.named.cache == "exact" else None
    if entry is not None:
        told |= {
            "asked_model": entry.asked_model,
            "provider": entry.provider,
            "wire": entry.wire.value,
            "call_id": entry.call_id,
            "finish_reason": entry.finish_reason,
            "usage": None if entry.usage is None else msgspec.to_builtins(entry.usage),
        }
    return told


def _table(found: list[tuple[Found, bytes]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("key", "cache", "tenant", "model"):
        table.add_column(name, overflow="fold")
    for name in ("age", "bytes", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for one, value in found:
        usage = _object(one, value).get("usage")
        tokens = f"{usage['output_tokens']:,}" if usage else ""
        age = "damaged" if one.age_s is None else _ago(one.age_s)
        named = one.named
        table.add_row(
            named.digest[:12],
            named.cache,
            escape(named.tenant),
            escape(named.model),
            age,
            f"{one.size_bytes:,}",
            tokens,
        )
    return table


def _ago(seconds: float) -> str:
    for unit, size in reversed(_UNITS.items()):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _print_answer(found: list[tuple[Found, bytes]]) -> None:
    if len(found) > 1:
        raise click.UsageError(f"{len(found)} entries begin so; give more of the key.")
    one, value = found[0]
    entry = entry_of(one.key, value) if one.named.cache == "exact" else None
    if entry is None:
        raise click.UsageError("Only whole entries of the exact cache hold an answer that can be printed.")
    click.echo(entry.raw.decode("utf-8", "replace"))
