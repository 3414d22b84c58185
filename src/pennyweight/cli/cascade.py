"""`pennyweight cascade`: how often cheap answers may be kept, and training what tells them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from ..config import Config, find, load
from ..errors import ConfigError
from ..routing.confidence.acceptor import by_hand
from ..routing.confidence.comparisons import Comparison, Kind, kept_share, learn, standing
from ..routing.confidence.decision import LEAST_PAIRS, Standing
from ..stores.comparisons import SQLiteComparisons
from ..stores.database import FILE
from ..stores.sqlite import Database

__all__ = ["command"]

T = TypeVar("T")


@click.group("cascade")
def command() -> None:
    """What cascades keep of cheap models' answers, and what they have learnt."""


def _options(function: Callable[..., None]) -> Callable[..., None]:
    function = click.option(
        "--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use."
    )(function)
    return click.option("--data", type=click.Path(path_type=Path), help="Data directory.")(function)


@command.command("show")
@_options
def show(data: Path | None, config_path: Path | None) -> None:
    """For each pair of targets: how many answers were compared, and how many of them would be kept."""
    config = _config(data, config_path)
    for line in asyncio.run(_with(config, lambda store: _shown(store, config))):
        click.echo(line)


@command.command("train")
@_options
def train(data: Path | None, config_path: Path | None) -> None:
    """Learn from compared answers which signs tell a good one.

    The older half of the comparisons of each pair of targets is learnt from, and the newer half sets the bar. What was
    learnt is used where it keeps more than the weights set by hand, within five minutes, or at the next start.
    """
    config = _config(data, config_path)
    for line in asyncio.run(_with(config, lambda store: _trained(store, config))):
        click.echo(line)


async def _shown(store: SQLiteComparisons, config: Config) -> list[str]:
    rule = config.cascade
    lines: list[str] = []
    for kind, _count in await store.kinds():
        found = await store.of(kind)
        trained = await store.acceptor(kind)
        lines.append(_title(kind))
        for task in ("", *sorted({c.kind.task for c in found} - {""})):
            own = [c for c in found if not task or c.kind.task == task]
            now = standing(found, task, epsilon=rule.epsilon, delta=rule.delta, trained=trained)
            same = sum(c.same for c in own) / len(own)
            lines.append(f"  {task or 'all tasks'}: {len(own)} compared, {same:.0%} said the same; {_kept(now, own)}")
    return lines or ["Nothing was compared yet. Cascades compare a share of their calls: see [cascade] compare."]


def _kept(now: Standing, own: Sequence[Comparison]) -> str:
    if not now.learnt:
        return f"{LEAST_PAIRS - now.pairs} more until a bar can be set: till then two models must agree"
    if now.threshold is None:
        return "none can be kept within the bound"
    if now.price and now.kept <= now.price:
        return (
            f"{now.kept:.0%} of them could be kept, and asking first costs {now.price:.0%} of the strongest: not asked"
        )
    kept = [c for c in own if c.keepable and now.acceptor.score(c.features) > now.threshold]
    by = "trained weights" if now.acceptor.rows else "weights set by hand"
    return f"{len(kept) / len(own):.0%} of them above the bar of {max(now.threshold, 0.0):.3f}, by {by}"


async def _trained(store: SQLiteComparisons, config: Config) -> list[str]:
    rule = config.cascade
    lines: list[str] = []
    for kind, _count in await store.kinds():
        found = await store.of(kind)
        try:
            learnt = learn(found, epsilon=rule.epsilon, delta=rule.delta)
        except ValueError as error:
            lines.append(f"{_title(kind)}: {error}.")
            continue
        if learnt is None:
            lines.append(f"{_title(kind)}: the weights set by hand keep as much; nothing was changed.")
            continue
        acceptor, until = learnt
        await store.keep(kind, acceptor, until)
        newer = [c for c in found if c.id > until]
        shares = [kept_share(a, newer, epsilon=rule.epsilon, delta=rule.delta) for a in (by_hand(), acceptor)]
        lines.append(
            f"{_title(kind)}: learnt from {acceptor.rows}; of the {len(newer)} newer ones {shares[1]:.0%} are kept, "
            f"where weights set by hand keep {shares[0]:.0%}."
        )
    return lines or ["Nothing was compared yet."]


def _title(kind: Kind) -> str:
    peer = f" with {kind.peer}" if kind.peer else ""
    whose = "" if kind.tenant == "local" else f" ({kind.tenant})"
    return f"{kind.cheap}{peer} before {kind.strong}{whose}"


def _config(data: Path | None, config_path: Path | None) -> Config:
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data})
    if not (config.data_dir / FILE).exists():
        raise ConfigError(f"There is no ledger in {config.data_dir}. Name the gateway's data folder with --data.")
    return config


async def _with(config: Config, work: Callable[[SQLiteComparisons], Awaitable[T]]) -> T:
    database = Database(config.data_dir / FILE)
    try:
        return await work(SQLiteComparisons(database))
    finally:
        await database.close()
