"""Budgets over a scripted provider whose tokens cost a cent each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.budget.amounts import Bounds
from pennyweight.backends.budget.budgeted import Budgeted
from pennyweight.backends.budget.budgets import Budgets
from pennyweight.backends.budget.limits import Limit, Lines, compiled
from pennyweight.backends.budget.settings import BudgetRule, SessionType
from pennyweight.backends.budget.state import Event
from pennyweight.call import Call
from pennyweight.counters import Counter, Counters, Move, Take, Taken
from pennyweight.errors import StoreError
from pennyweight.money import PicoUSD, Price, Rates
from pennyweight.request import Charge, Reply, Usage
from pennyweight.stores.counters.memory import MemoryCounters
from pennyweight.testing.backend import Script, ScriptedBackend

DOLLAR = 10**12
CENT = DOLLAR // 100
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp()
PRICE = Price(Rates(CENT, CENT, CENT // 10, CENT * 5 // 4, CENT * 2))


class Fragile:
    """Counters that can break."""

    def __init__(self, inner: Counters) -> None:
        self.inner = inner
        self.down = False

    async def take(self, wanted: Sequence[Take]) -> Taken:
        self._check()
        return await self.inner.take(wanted)

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        self._check()
        return await self.inner.move(moves)

    async def read(self, prefix: str, *, limit: int = 1_000) -> Any:
        self._check()
        return await self.inner.read(prefix, limit=limit)

    async def reset(self, key: str) -> bool:
        self._check()
        return await self.inner.reset(key)

    def _check(self) -> None:
        if self.down:
            raise StoreError("The store is down.")


def cost(charge: Charge) -> PicoUSD | None:
    return charge.usage.total_tokens * CENT if charge.model != "free-lunch" else None


class House:
    """`worst`, `least`: tokens that the next call can come to."""

    def __init__(
        self,
        *scripts: Script,
        rules: Sequence[BudgetRule] = (),
        daily: PicoUSD | None = None,
        counters: Counters | None = None,
        clock: FakeClock | None = None,
        worst: int | None = 50,
        least: int = 1,
        type_of: Callable[[Call], SessionType] = lambda _call: "direct",
        own: Callable[[str], Sequence[Limit]] = lambda _agent: (),
        **more: Any,
    ) -> None:
        self.worst, self.least = worst, least
        self.clock = clock or FakeClock(NOON)
        self.provider = ScriptedBackend(*scripts)
        self.counters = Fragile(counters or MemoryCounters(now=self.clock.now))
        self.events: list[Event] = []
        lines = Lines(
            compiled(rules), type_of=type_of, daily=lambda tenant: None if tenant == "free" else daily, own=own
        )
        self.budgets = Budgets(
            self.counters,
            self.clock,
            lines,
            bounds=self._bounds,
            cost=cost,
            price=lambda _charge: PRICE,
            event=self.events.append,
            **more,
        )
        self.backend = Budgeted(self.provider, self.budgets)

    def _bounds(self, call: Call) -> Bounds:
        worst, least = Usage(output_tokens=self.worst or 0), Usage(output_tokens=self.least)
        unpriced = self.worst is None or call.target.model == "free-lunch"
        usd = (None, None) if unpriced else (worst.total_tokens * CENT, least.total_tokens * CENT)
        return Bounds(worst, least, *usd, price=PRICE)

    async def spend(self, call: Call) -> Reply:
        reply = await self.backend.open(call)
        await reply.read()
        await reply.aclose()
        await self.budgets.aclose()
        return reply

    async def counted(self) -> dict[str, tuple[int, int]]:
        """Spent and held, in cents, by the budget's and the subject's name."""
        found = {}
        for key, counter in (await self.counters.inner.read("")).items():
            with contextlib.suppress(IndexError):
                parts = key.split("\n")
                found[f"{parts[0]}/{parts[3]}"] = (counter.spent // CENT, counter.held // CENT)
        return found


def costing(cents: int, **more: Any) -> Script:
    return Script(usage=Usage(input_tokens=cents, output_tokens=0), **more)
