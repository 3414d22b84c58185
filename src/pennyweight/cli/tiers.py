"""`pennyweight tiers`: which tiers the calls to virtual models went to, beside the goals."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from ..config import Config, find, load
from ..config.tiers import ranked, routed_names
from ..errors import ConfigError
from ..ledger.reading import is_made, reading
from ..ledger.tiers import Share, as_object, shares, taken
from ..money import format_usd
from ..stores.sqlite import FILE
from .report import wide

__all__ = ["command"]


@click.command()
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=7.0, show_default=True)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(days: float, config_path: Path | None, data: Path | None, as_json: bool) -> None:
    """Which tiers the calls to virtual models went to, beside the goals that you set.

    \b
    pennyweight tiers --days 30
    """
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data})
    if not config.tiers:
        raise ConfigError("There are no [[tiers]]. docs/routing.md has recipes.", where=str(config.source or ""))
    rows = _read(config, days)
    goals = {tier.name: tier.share for tier in config.tiers}
    if as_json:
        click.echo(json.dumps({"days": days, **as_object(rows, goals)}))
        return
    total = sum(row.calls for row in rows)
    table = Table("tier", "target", "calls", "share", "goal", "failed", "cost")
    told: set[str] = set()
    for row in rows:
        goal = goals.get(row.tier)
        first = row.tier not in told
        told.add(row.tier)
        share = sum(each.share for each in rows if each.tier == row.tier)
        table.add_row(
            escape(row.tier or "(in no tier)") if first else "",
            escape(row.target),
            f"{row.calls:,}",
            f"{share:.1%}" if first else "",
            "" if goal is None or not first else f"{goal:.1%}",
            f"{row.failed:,}" if row.failed else "",
            "unpriced" if row.cost is None else format_usd(row.cost),
        )
    wide().print(table)
    click.echo(f"{total:,} calls to virtual models in {days:g} days.")


def _read(config: Config, days: float) -> list[Share]:
    path = config.data_dir / FILE
    if not is_made(path):
        return shares({}, ranked(config))
    with reading(path) as connection:
        return shares(taken(connection, routed_names(config), since=time.time() - days * 86_400), ranked(config))
