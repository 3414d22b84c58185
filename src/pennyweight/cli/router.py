"""`pennyweight router`: what the learned router knows, and teaching it from outcome data or from the ledger."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..classes import class_of
from ..clock import SystemClock
from ..config import Config, find, load
from ..errors import ConfigError, StoreError
from ..ledger.route_signals import signals_of
from ..routing.learning.outcomes import WEIGHTS, Source, Told
from ..routing.learning.priors import prior
from ..routing.learning.state import State
from ..routing.learning.texts import shortenings
from ..routing.learning.training import WEAK_STRONG, Held, Row, advice, as_told, brier, read_rows, split_off
from ..stores.route_outcomes import SQLiteOutcomes
from ..stores.sqlite import FILE, Database
from ..text.embedders import folder_of, open_embedder
from ..text.embedders.folder import absent

__all__ = ["command"]

_CONFIG = click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
_HOME = click.option("--data-dir", "home", type=click.Path(path_type=Path), help="The data directory.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_TENANT = click.option("--tenant", default="local", show_default=True, help="Whose outcomes: a virtual key's name.")

_MOST = 50_000


@click.group()
def command() -> None:
    """The learned router: which model is good at what.

    \b
    pennyweight router train --data outcomes.jsonl   learn from a file of outcomes
    pennyweight router train --from-ledger           learn from feedback, judges and tool calls so far
    pennyweight router show                          chances by task type and model, with bounds
    pennyweight router forget                        begin anew
    """


@command.command()
@click.option("--data", "files", multiple=True, type=click.Path(path_type=Path), help="Outcomes; may be repeated.")
@click.option("--from-ledger", is_flag=True, help="Signals on calls in the ledger.")
@click.option("--weak", default=WEAK_STRONG[0], show_default=True, help='What "weak" of a RouteLLM file is called.')
@click.option("--strong", default=WEAK_STRONG[1], show_default=True, help='What "strong" of a RouteLLM file is called.')
@click.option("--dry-run", is_flag=True, help="Say what it would come to; keep nothing.")
@_TENANT
@_JSON
@_CONFIG
@_HOME
def train(
    files: Sequence[Path],
    from_ledger: bool,
    weak: str,
    strong: str,
    dry_run: bool,
    tenant: str,
    as_json: bool,
    config_path: Path | None,
    home: Path | None,
) -> None:
    """Teach the router from outcomes, and say how well what it learnt holds on a fifth that it was not shown.

    The same file twice counts once. A gateway that is running learns it when it starts again.
    """
    if not files and not from_ledger:
        raise ConfigError("There is nothing to learn from: name --data FILE, or --from-ledger.")
    config = _loaded(config_path, home)
    notes: list[str] = []
    held: Held | None = None
    told: list[Told] = []
    with _bars() as progress:
        if files:
            rows = [row for path in files for row in read_rows(path, weak=weak, strong=strong)]
            vectors = _vectors(config, rows, progress, notes)
            told = [_once(one) for one in as_told(rows, vectors, tenant=tenant, at=time.time())]
            if not told:
                raise ConfigError("The data holds texts but no outcome: every line's success is unknown.")
            held = _held(rows, vectors, progress)
        if from_ledger:
            found = _from_ledger(config, None if tenant == "local" else tenant)
            if not found:
                notes.append("The ledger holds no word on any call. Send feedback to POST /v1/feedback.")
            told += found
    notes += advice(told)
    if not dry_run and told:
        asyncio.run(_keep(config, told))
    _tell(told, held, notes, as_json=as_json, kept=not dry_run and bool(told))


@command.command()
@_TENANT
@_JSON
@_CONFIG
@_HOME
def show(tenant: str, as_json: bool, config_path: Path | None, home: Path | None) -> None:
    """What is known: by task type and model, how likely an answer is good, and from how many outcomes."""
    config = _loaded(config_path, home)
    told = asyncio.run(_kept(config, tenant))
    state = State()
    state.learn(told)
    lines = []
    for task, model, _ in state.table.rows():
        found = state.estimate(task, model)
        before = prior(task, class_of(model))
        lines.append(
            {
                "task": task,
                "model": model,
                "class": class_of(model),
                "chance": round(found.mean, 4),
                "low": round(found.low, 4),
                "high": round(found.high, 4),
                "outcomes": round(found.seen, 2),
                "prior": round(before.mean, 4) if before.mass else None,
            }
        )
    agents = [
        {"agent": agent, "model": model, "outcomes": round(seen, 2), "differs_by": round(by, 4)}
        for agent, model, seen, by in state.table.agents()
    ]
    if as_json:
        whole = {"tenant": tenant, "outcomes": len(told), "texts": state.texts, "table": lines, "agents": agents}
        click.echo(json.dumps(whole, indent=2))
        return
    if not lines:
        click.echo(f"No outcomes of {tenant} yet: shipped priors decide. See `pennyweight router train --help`.")
        return
    table = Table("task", "model", "chance", "80% bounds", "outcomes", "prior")
    for line in lines:
        table.add_row(
            str(line["task"]),
            escape(str(line["model"])),
            f"{line['chance']:.2f}",
            f"{line['low']:.2f} to {line['high']:.2f}",
            f"{line['outcomes']:g}",
            f"{line['prior']:.2f}" if line["prior"] is not None else "none",
        )
    console = Console()
    console.print(table)
    similar = f"{state.texts} texts are known; " + ("similar ones count" if state.fittable else "too few to compare")
    console.print(f"{len(told)} outcomes. {similar}.")


# --- its parts ---------------------------------------------------------------------------------------------------


def _vectors(
    config: Config, rows: Sequence[Row], progress: Callable[[str, float], None], notes: list[str]
) -> dict[str, bytes]:
    """Embeddings by row id; {} and a note where there is no model on this machine."""
    folder = folder_of(config.embeddings, config.data_dir)
    if config.embeddings.elsewhere:
        notes.append("Similar texts are compared by an embedder on this machine alone: only the table learns.")
        return {}
    if (reason := absent(folder)) is not None:
        notes.append(f"Only the table learns, not from similar texts: {reason}")
        return {}
    try:
        import numpy as np

        embedder = open_embedder(folder)
    except (ImportError, ConfigError):
        notes.append("Only the table learns: install pennyweight[semantic] for similar texts.")
        return {}
    found: dict[str, bytes] = {}
    newest = rows[-4_000:]  # as many as are ever compared with
    for place, row in enumerate(newest):
        for text in shortenings(row.prompt):
            try:
                found[row.id] = np.asarray(embedder.embed_now(text)).astype("<f2").tobytes()
                break
            except StoreError:
                continue  # more tokens than it reads: a shorter one
        progress("reading texts", (place + 1) / len(newest))
    embedder.close()
    return found


def _held(rows: Sequence[Row], vectors: dict[str, bytes], progress: Callable[[str, float], None]) -> Held | None:
    """How what is learnt of four fifths holds on the fifth; None for too little to tell."""
    shown, hidden = split_off(rows, 0.2, seed=0)
    if len(hidden) < 10:
        return None
    state = State()
    state.learn(as_told(shown, vectors, at=0.0))
    if state.fittable:
        state.take(state.fitted(progress=lambda share: progress("trying it on a fifth", share)))
    return brier(state, as_told(hidden, vectors, at=0.0))


def _from_ledger(config: Config, tenant: str | None) -> list[Told]:
    """Signals on calls. Of calls that were never routed the type is not known, so they count for "general"."""
    try:
        signals = signals_of(config.data_dir / FILE)
    except sqlite3.Error as error:
        raise StoreError(f"The ledger in {config.data_dir} cannot be read: {error}.") from None
    told = []
    for one in signals:
        if tenant is not None and one.tenant != tenant:
            continue
        source: Source = "judge" if one.kind == "judge" else "validity" if one.kind == "tools" else "feedback"
        success = (one.value + 1) / 2 if one.kind == "feedback" else one.value
        told.append(
            Told(
                one.at,
                one.tenant,
                "side" if one.housekeeping else "tools" if one.kind == "tools" else "general",
                f"{one.provider}/{one.model}",
                min(max(success, 0.0), 1.0),
                source,
                WEIGHTS[source],
                one.agent,
                one.call_id,
            )
        )
    return told


def _once(told: Told) -> Told:
    """With a name of its own, so that a file that is learnt twice counts once."""
    return msgspec.structs.replace(told, call_id=f"file/{told.tenant}/{told.text}/{told.model}")


@command.command()
@_TENANT
@_JSON
@_CONFIG
@_HOME
def forget(tenant: str, as_json: bool, config_path: Path | None, home: Path | None) -> None:
    """Drop what was learnt of a tenant, files included. A gateway that is running forgets it when it starts again."""
    count = asyncio.run(_forgotten(_loaded(config_path, home), tenant))
    click.echo(json.dumps({"forgotten": count}) if as_json else f"{count:,} outcomes of {tenant} forgotten.")


async def _keep(config: Config, told: Sequence[Told]) -> None:
    clock = SystemClock()
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"The data folder {config.data_dir} cannot be made: {error.strerror}.") from None
    database = Database(config.data_dir / FILE, now=clock.now)
    try:
        keeper = SQLiteOutcomes(database)
        for start in range(0, len(told), 2_000):
            await keeper.add(told[start : start + 2_000])
    finally:
        await database.close()


async def _forgotten(config: Config, tenant: str) -> int:
    if not (config.data_dir / FILE).is_file():
        return 0
    database = Database(config.data_dir / FILE, now=SystemClock().now)
    try:
        return await SQLiteOutcomes(database).forget(tenant=tenant)
    finally:
        await database.close()


async def _kept(config: Config, tenant: str) -> Sequence[Told]:
    if not (config.data_dir / FILE).is_file():
        return ()
    database = Database(config.data_dir / FILE, now=SystemClock().now)
    try:
        return await SQLiteOutcomes(database).newest(limit=_MOST, tenant=tenant)
    finally:
        await database.close()


def _tell(told: Sequence[Told], held: Held | None, notes: Sequence[str], *, as_json: bool, kept: bool) -> None:
    models = sorted({one.model for one in told})
    if as_json:
        whole = {
            "outcomes": len(told),
            "texts": len({one.text for one in told if one.text}),
            "models": models,
            "kept": kept,
            "held_out": msgspec.to_builtins(held) if held is not None else None,
            "notes": list(notes),
        }
        click.echo(json.dumps(whole, indent=2))
        return
    click.echo(f"{len(told)} outcomes of {len(models)} models are {'learnt' if kept else 'read, and not kept'}.")
    if held is not None:
        similar = f", with similar texts {held.similar:.4f}" if held.similar is not None else ""
        click.echo(
            f"On {held.outcomes} outcomes that were held out, the mean squared error of chances is {held.prior:.4f} "
            f"before, {held.table:.4f} with the table{similar}."
        )
    for note in notes:
        click.echo(note)


def _loaded(config_path: Path | None, home: Path | None) -> Config:
    return load(config_path or find(os.environ), os.environ, {"data_dir": home})


@contextmanager
def _bars() -> Iterator[Callable[[str, float], None]]:
    """Progress bars on stderr, one for each thing that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)

        yield progress
