"""A configuration in, a running App out, every lifetime in one stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from ..clock import SystemClock
from ..config import Config
from ..protocols import Clock, Optimizer
from .building import Building
from .running import App

__all__ = ["build"]


@asynccontextmanager
async def build(
    config: Config, *, clock: Clock | None = None, extra: Sequence[Optimizer] = (), gate: bool = True
) -> AsyncIterator[App]:
    """A running App. Raises ConfigError for what cannot be built, StoreError for a data folder that cannot be used.

    extra: optimizers asked after the configured ones, always on: a program's own, or a bench's adversaries.
    gate: False lets changes through that do not pay, to show what the gate is worth.
    """
    async with AsyncExitStack() as stack:
        building = Building(config, clock or SystemClock(), stack, extra=extra, gate=gate)
        await building.open_stores()
        building.read_prices()
        building.open_what_is_learnt()
        await building.open_budgets()
        building.look_around()
        await building.choose_optimizers()
        await building.connect_providers()
        building.wrap_backend()
        building.keep_books()
        building.open_pipeline()
        await building.start_chores()
        app = building.app()
        stack.push_async_callback(building.lanes.aclose)
        yield app
