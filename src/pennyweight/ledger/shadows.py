"""Pairs of outcomes that optimizers are judged by, and what follows: who is found to do harm goes back to shadow.

Whoever has a task done both ways tells so: as the optimizer would have it, and without. A pair counts for the stage
(the change of the flag) in which it was told; another stage begins a new test. What the tests come to is a function of
the rows, in their order, so that every process that shares the ledger comes to the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import NotFound, StoreError
from ..policy import Policy
from ..protocols import Clock
from .paired import PairedTest
from .signals import Rows

__all__ = ["ShadowPair", "Shadows"]

log = logging.getLogger(__name__)

_QUEUE = 10_000  # pairs that wait to be written; past it the oldest are forgotten
_READ = 5_000  # rows per look
_KEPT = 100_000  # newest rows of all
_ROUTES = 200  # told apart, of one optimizer


class ShadowPair(msgspec.Struct, frozen=True):
    """`new`: how good the task was done as the optimizer has it, in [0, 1]; `old`: without it. `route`: which of its
    ways, for people; never a prompt."""

    optimizer: str
    new: float
    old: float
    route: str = ""
    change: int = 0
    at: float = 0.0


class _Stage(msgspec.Struct):
    """One optimizer since its flag changed."""

    change: int
    test: PairedTest
    routes: dict[str, list[int]] = {}  # pairs, worse, better
    noticed: bool = False


class Shadows:
    """`tell` from anywhere; `start` it, `close` it. alpha: probability that a stage of one optimizer is ever taken back
    though nothing is wrong. act: False only measures."""

    def __init__(
        self, rows: Rows, policy: Policy, clock: Clock, *, alpha: float = 0.05, act: bool = True, every_s: float = 2.0
    ) -> None:
        self._rows = rows
        self._policy = policy
        self._clock = clock
        self._alpha = alpha
        self._act = act
        self._every_s = every_s
        self._told: deque[ShadowPair] = deque(maxlen=_QUEUE)
        self._stages: dict[str, _Stage] = {}
        self._row = 0
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def tell(self, optimizer: str, *, new: float, old: float, route: str = "") -> None:
        """One task done both ways. Never waits. Raises ValueError for outcomes outside [0, 1], NotFound for an
        optimizer that is not configured."""
        if not (0.0 <= new <= 1.0 and 0.0 <= old <= 1.0):
            raise ValueError(f"outcomes {new!r} and {old!r} are not within 0 and 1")
        change = self._policy.in_force(optimizer).change
        self._told.append(ShadowPair(optimizer, float(new), float(old), route[:200], change, self._clock.now()))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="shadows")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        with contextlib.suppress(StoreError):
            await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                more = True
                while more:
                    more = await self.step()
                    await asyncio.sleep(0.05)  # behind: calls go first
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 - tests may stand still, the gateway may not
                trouble = str(error) if isinstance(error, StoreError) else type(error).__name__
                if trouble != self._trouble:
                    log.warning("shadow tests stand still", extra={"error": type(error).__name__, "detail": trouble})
                self._trouble = trouble

    async def step(self) -> bool:
        """Write what was told, read what is new, and do what follows; whether there is more. Raises StoreError."""
        async with self._turn:
            await self._write()
            await self._policy.load()
            found = await self._rows.read(lambda connection: _read(connection, self._row))
            for row, pair in found:
                self._row = row
                self._take(pair)
            if self._act:
                await self._judge()
            return len(found) == _READ

    async def report(self) -> list[dict[str, Any]]:
        """How each test stands, as plain JSON values. Raises StoreError."""
        while await self.step():
            pass
        return [self._told_of(name, stage) for name, stage in self._stages.items()]

    async def _write(self) -> None:
        waiting = [self._told.popleft() for _ in range(len(self._told))]
        if not waiting:
            return
        try:
            await self._rows.write(lambda connection: _keep(connection, waiting))
        except StoreError:
            self._told.extendleft(reversed(waiting[-(_QUEUE - len(self._told)) :]))
            raise

    def _take(self, pair: ShadowPair) -> None:
        stage = self._stages.get(pair.optimizer)
        if stage is None or stage.change < pair.change:
            stage = self._stages[pair.optimizer] = _Stage(pair.change, PairedTest(goal=1 / self._alpha))
        if stage.change != pair.change:
            return  # told before the flag was changed, written after
        stage.test.add(pair.new, pair.old)
        route = pair.route if pair.route in stage.routes or len(stage.routes) < _ROUTES else "others"
        counts = stage.routes.setdefault(route, [0, 0, 0])
        counts[0] += 1
        counts[1] += pair.new < pair.old
        counts[2] += pair.new > pair.old

    async def _judge(self) -> None:
        for name, stage in self._stages.items():
            if stage.noticed or not stage.test.alarm(self._alpha):
                continue
            try:
                now = self._policy.in_force(name)
            except NotFound:  # it was configured once
                continue
            if now.change != stage.change or now.mode != "on":
                continue
            held = now.by == "operator"
            reason, figures = _reason(stage, self._alpha), _figures(stage, self._alpha)
            stage.noticed = True
            if held:
                await self._policy.set(name, by="loop", kind="notice", reason=reason, figures=figures)
                said = "an optimizer does harm and stays on: the operator set it by hand"
            else:
                await self._policy.set(name, by="loop", mode="shadow", reason=reason, figures=figures)
                said = "optimizer switched to shadow"
            log.warning(said, extra={"optimizer": name, "reason": reason, **figures})

    def _told_of(self, name: str, stage: _Stage) -> dict[str, Any]:
        test = stage.test
        effect = test.interval(self._alpha)
        return {
            "optimizer": name,
            "stage": stage.change,
            "pairs": test.count,
            "worse": test.worse,
            "better": test.better,
            "effect": None if effect is None else effect.estimate,
            "low": None if effect is None else effect.low,
            "high": None if effect is None else effect.high,
            "harm_odds": test.odds,
            "alarm_at": 1 / self._alpha,
            "alarm": test.alarm(self._alpha),
            "routes": {
                route: {"pairs": pairs, "worse": worse, "better": better}
                for route, (pairs, worse, better) in stage.routes.items()
            },
        }


def _reason(stage: _Stage, alpha: float) -> str:
    test = stage.test
    return (
        f"of {test.count:,} tasks done both ways {test.worse:,} came out worse with it and {test.better:,} better: "
        f"odds {test.odds:,.0f} to 1, alarm at {1 / alpha:,.0f}"
    )


def _figures(stage: _Stage, alpha: float) -> dict[str, float]:
    test = stage.test
    return {
        "odds": test.odds,
        "limit": 1 / alpha,
        "pairs": float(test.count),
        "worse": float(test.worse),
        "better": float(test.better),
        "effect": -test.total / max(test.count, 1),
    }


def _keep(connection: sqlite3.Connection, pairs: Sequence[ShadowPair]) -> None:
    connection.executemany(
        "INSERT INTO shadow_pairs (at, optimizer, change, route, new, old) VALUES (?, ?, ?, ?, ?, ?)",
        [(one.at, one.optimizer, one.change, one.route, one.new, one.old) for one in pairs],
    )
    connection.execute("DELETE FROM shadow_pairs WHERE id <= (SELECT max(id) FROM shadow_pairs) - ?", (_KEPT,))


def _read(connection: sqlite3.Connection, after: int) -> list[tuple[int, ShadowPair]]:
    sql = "SELECT id, optimizer, new, old, route, change, at FROM shadow_pairs WHERE id > ? ORDER BY id LIMIT ?"
    return [(row[0], ShadowPair(*row[1:])) for row in connection.execute(sql, (after, _READ))]
