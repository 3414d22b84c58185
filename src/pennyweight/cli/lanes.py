"""`pennyweight lanes`: calls that wait for a batch, batches on their way, and answers that wait to be fetched."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..config import find, load
from ..ledger.reading import is_made, reading
from ..stores.database import FILE

__all__ = ["command"]


@click.command("lanes")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(data: Path | None, config_path: Path | None, as_json: bool) -> None:
    """What waits in the cheap lanes: queued calls, batches at providers, answers to fetch.

    Reads the data directory alone; the gateway need not run.
    """
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data})
    told = read(config.data_dir / FILE)
    if as_json:
        click.echo(json.dumps(told))
        return
    queued, batches, calls = told["queued"], told["batches"], told["deferred"]
    click.echo(f"{queued} calls gather for a batch.")
    for batch in batches:
        where = batch["remote"] or "not there yet"
        ended = f", ended {_when(batch['ended_at'])}" if batch["ended_at"] else ""
        counts = ", ".join(f"{count} {state}" for state, count in sorted(batch["items"].items()))
        click.echo(f"{batch['provider']} {where}: {batch['state']}, {batch['count']} calls since {_when(batch['at'])}")
        click.echo(f"    {batch['model']}{ended}{': ' + counts if counts else ''}")
    told_calls = ", ".join(f"{count} {state}" for state, count in sorted(calls.items()))
    click.echo(f"Calls that are answered later: {told_calls or 'none'}.")


def read(path: Path) -> dict[str, Any]:
    """What the tables say; nothing where there is no file, or one of an older version. Raises StoreError."""
    empty: dict[str, Any] = {"queued": 0, "batches": [], "deferred": {}}
    if not is_made(path):
        return empty
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lane_batches'").fetchone()
        if known is None:
            return empty
        items: dict[str, dict[str, int]] = {}
        for row in connection.execute("SELECT batch, state, count(*) AS n FROM lane_items GROUP BY batch, state"):
            items.setdefault(row["batch"], {})[row["state"]] = row["n"]
        columns = "id, provider, model, at, state, remote, count, ended_at"
        rows = connection.execute(f"SELECT {columns} FROM lane_batches ORDER BY at DESC LIMIT 50").fetchall()
        deferred = connection.execute("SELECT state, count(*) FROM lane_calls GROUP BY state").fetchall()
    return {
        "queued": sum(items.pop("", {}).values()),
        "batches": [{**dict(row), "items": items.get(row["id"], {})} for row in rows],
        "deferred": dict(map(tuple, deferred)),
    }


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
