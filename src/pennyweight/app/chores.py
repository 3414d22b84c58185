"""What an App does beside answering: look through its ledger, forget, learn, compare."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol

from ..adaptive import Adaptive, Tunable
from ..config import Config, Experiments
from ..errors import StoreError
from ..ledger.experiment import Margins
from ..ledger.loop import Loop, LoopSettings
from ..ledger.shadows import Shadows
from ..ledger.signals import Signals, Watch
from ..policy import Flag, Policy
from ..protocols import Clock, Optimizer
from ..stores.changes import SQLiteChanges
from ..stores.flags import SQLiteFlags
from ..stores.sqlite import Database

__all__ = ["adaptive_loop", "check", "experiments_of", "forget", "loop_settings", "shadows_of"]

log = logging.getLogger(__name__)


async def check(database: Database) -> None:
    """Look through the ledger's file at the start and every hour: damage that nobody runs into is found too."""
    while True:
        await database.check()
        await asyncio.sleep(3_600)


def adaptive_loop(
    optimizers: Iterable[tuple[Optimizer, Flag]], database: Database, clock: Clock, config: Config
) -> Adaptive:
    """The loop over what has knobs and acts: one that only watches shall not be learnt from."""
    tunables = [optimizer for optimizer, flag in optimizers if flag.mode == "on" and isinstance(optimizer, Tunable)]
    return Adaptive(tunables, SQLiteChanges(database), clock=clock, settings=config.adaptive)


async def experiments_of(
    config: Config, optimizers: Iterable[tuple[Optimizer, Flag]], database: Database, clock: Clock
) -> tuple[Policy, Loop, Signals, Watch]:
    """Who gets what, the loop that learns what it comes to, and what it hears by."""
    settings = config.experiments
    changes = SQLiteFlags(database, clock)
    policy = Policy({o.name: flag for o, flag in optimizers}, holdout=settings.holdout, changes=changes)
    try:
        await policy.load()
    except StoreError as error:  # the loop tries again; until then what the file says holds
        log.warning("changes of flags cannot be read", extra={"detail": str(error)})
    signals, watch = Signals(database, clock), Watch(sample=settings.tool_sample)
    loop = Loop(
        database.path,
        database,
        policy,
        history=changes.history,
        clock=clock,
        settings=loop_settings(settings),
        drain=watch.drain,
        keep=signals.add,
    )
    return policy, loop, signals, watch


def shadows_of(config: Config, database: Database, policy: Policy, clock: Clock) -> Shadows:
    """The paired tests, by the settings of experiments."""
    settings = config.experiments
    return Shadows(database, policy, clock, alpha=settings.alpha, act=settings.act, every_s=settings.every_s)


def loop_settings(settings: Experiments) -> LoopSettings:
    margins = Margins(settings.error_margin, settings.latency_margin, settings.cost_margin)
    return LoopSettings(settings.every_s, settings.alpha, margins, act=settings.act)


class Forgetful(Protocol):
    """Deletes what it has of before that moment (unix seconds)."""

    async def forget(self, before: float, /) -> object: ...


async def forget(books: Iterable[Forgetful], clock: Clock, keep_days: int) -> None:
    """Once a day, delete what those keep of calls that are older than the operator wants to keep.

    By the time that has passed since the start: a clock that is set a year forward must not empty the ledger.
    """
    began, began_at = clock.monotonic(), clock.now()
    while True:
        now = min(clock.now(), began_at + clock.monotonic() - began + 3_600)
        for book in books:
            with contextlib.suppress(StoreError):  # tomorrow is another day
                await book.forget(now - keep_days * 86_400)
        await asyncio.sleep(86_400)
