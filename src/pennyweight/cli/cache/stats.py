"""`pennyweight cache stats`: how often caches answered, how often rightly, and what that saved."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...config import find, load
from ...ledger.functions import FunctionLine, function_lines
from ...ledger.hits import HitLine, hit_lines, summed, told
from ...money import format_usd
from ..report import FILE, moment

__all__ = ["stats"]

_BY = ("cache", "route", "tier", "tenant")
_EMPTY = "No cache has looked at a call yet. What caches need: docs/exact-cache.md."


@click.command()
@click.option("--by", type=click.Choice(_BY), default="route", show_default=True, help="What a line stands for.")
@click.option("--since", help="Whole UTC days from this one on: 2026-11-01, or 7d, 4w ago. Default: all.")
@click.option("--tenant", help="Only calls of this virtual key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every line there is.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
def stats(
    by: str, since: str | None, tenant: str | None, as_json: bool, config_path: Path | None, data: Path | None
) -> None:
    """How often caches answered, how often rightly, and what that saved.

    A hit rate is of the calls that the cache could have answered. A hit is valid when a fresh answer says the same: a
    random sample of hits is asked anew where an audit is switched on, and callers can say so (POST /v1/feedback). "at
    least" and "at most" hold with 95% confidence.
    """
    path = load(config_path or find(os.environ), os.environ, {"data_dir": data}).data_dir / FILE
    from_day = moment(since, time.time())
    lines = hit_lines(path, since=from_day, tenant=tenant)
    functions = function_lines(path, since=from_day or 0.0, tenant=tenant)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if as_json:
        click.echo(json.dumps(told(lines, functions), indent=2))
        return
    if functions:
        console.print(_functions(functions))
    if not lines:
        click.echo("" if functions else _EMPTY)
        return
    fields = ("cache",) if by == "cache" else ("cache", by)
    shown = [line for line in summed(lines, fields) if by != "tier" or line.tier]
    console.print(_table(shown, by))
    for note in _notes(summed(lines, ("cache",))):
        click.echo(note)


def _table(lines: list[HitLine], by: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cache", no_wrap=True)
    if by != "cache":
        table.add_column(by, overflow="fold")
    for name in ("looks", "hits", "hit rate", "valid", "at least", "wrong at most", "saved (computed)"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        named = (escape(line.cache),) if by == "cache" else (escape(line.cache), escape(getattr(line, by)))
        table.add_row(
            *named,
            f"{line.looks:,}",
            f"{line.hits:,}",
            _percent(line.hit_rate),
            _percent(line.valid_hit_rate),
            _percent(line.valid_at_least),
            _percent(line.wrong_at_most if line.audited else None),
            format_usd(line.saved),
        )
    return table


def _functions(lines: Sequence[FunctionLine]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("function or tool", overflow="fold")
    table.add_column("tenant", overflow="fold")
    for name in ("calls", "hits", "shared", "hit rate", "failed", "time saved", "saved (estimated)"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            escape(line.function),
            escape(line.tenant),
            f"{line.hits + line.shared + line.misses:,}",
            f"{line.hits:,}",
            f"{line.shared:,}",
            _percent(line.hit_share),
            f"{line.failures:,}",
            f"{line.saved_s:,.1f} s",
            format_usd(line.saved),
        )
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _notes(lines: list[HitLine]) -> list[str]:
    """By cache: what the rates rest on."""
    notes = []
    for line in lines:
        if line.shadowed:
            notes.append(f"{line.cache} only watched {line.shadowed:,} calls that it would have answered.")
        parts = []
        if line.audited:
            parts.append(f"{line.audited:,} hits audited, {line.wrong:,} of them wrong")
        if line.compared:
            parts.append(f"{line.compared:,} expired answers compared, {line.changed:,} had changed")
        if line.rated:
            parts.append(f"{line.rated:,} rated by callers, {line.reported:,} as wrong")
        if parts:
            notes.append(f"{line.cache}: {'; '.join(parts)}.")
        elif line.hits:
            notes.append(f"{line.cache}: no hit was audited or rated, so nothing is known of how many are right.")
    return notes
