"""A daily spending limit per virtual key: the worst case is reserved before asking, the rest returned after.

A reservation is an atomic `add` on the day's counter, so a hundred calls at once cannot each see room for one. Calls
that were under way when the process was killed stay counted at their worst case until midnight UTC: they may have been
billed. In doubt it refuses: when the store is down, and when a price is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from ..call import Call
from ..errors import BackendError, BadRequest, LimitReached, PennyweightError, StoreError, StreamCut, UpstreamTimeout
from ..money import PicoUSD
from ..protocols import KV, Backend, Clock
from ..request import Charge, Operation, Reply

log = logging.getLogger(__name__)

__all__ = ["Budget"]

_KEEP_S = 48 * 3600.0  # a call may end on the day after the one it began on


class Budget:
    """A Backend that holds every tenant to its daily limit.

    limit(tenant): PicoUSD a day, None without a limit. worst_case(call): the most it can cost, None without a price.
    cost(charge): what one bill came to, None without a price. count(call, reply): what an answer came to whose usage
    the provider did not tell, by its text; None when that is not known either: then the worst case counts.
    """

    def __init__(
        self,
        inner: Backend,
        kv: KV,
        clock: Clock,
        *,
        limit: Callable[[str], PicoUSD | None],
        worst_case: Callable[[Call], PicoUSD | None],
        cost: Callable[[Charge], PicoUSD | None],
        count: Callable[[Call, Reply], PicoUSD | None] = lambda _call, _reply: None,
    ) -> None:
        self._inner = inner
        self._kv = kv
        self._clock = clock
        self._limit = limit
        self._worst_case = worst_case
        self._cost = cost
        self._count = count
        self._doors: dict[str, asyncio.Lock] = {}
        self._held: dict[str, PicoUSD] = {}  # by day's key: reserved by calls of this process that still run
        self._settling: set[asyncio.Task[None]] = set()

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises LimitReached, BadRequest for a model without a price, StoreError when the store is down."""
        limit = self._limit(call.identity.tenant)
        return self._inner.open(call) if limit is None else self._limited(call, limit)

    async def _limited(self, call: Call, limit: PicoUSD) -> Reply:
        tenant = call.identity.tenant
        worst = self._worst_case(call)
        if worst is None:
            raise BadRequest(
                f"Key {tenant} has a daily limit, and {call.target.provider}/{call.target.model} has no known price, "
                "so the limit cannot be kept. Add its price to pennyweight.toml or use a model with a price."
            )
        day = self._day(tenant)
        await self._reserve(day, tenant, worst, limit)
        try:
            reply = await self._inner.open(call)
        except (UpstreamTimeout, StreamCut):
            await self._settle(day, worst, worst)  # it may have answered, and billed
            raise
        except PennyweightError as error:
            billed = 0 if isinstance(error, BackendError) else worst
            await self._settle(day, worst, billed)
            raise
        except BaseException:
            self._release(day, worst)  # the caller left: what it cost is not known, so it counts in full
            raise
        reply.on_end.append(lambda ended: self._ended(day, worst, call, ended))
        return reply

    async def spent(self, tenant: str) -> PicoUSD:
        """What this tenant has spent today, calls under way not counted. Raises StoreError."""
        day = self._day(tenant)
        return await self._total(day) - self._held.get(day, 0)

    async def aclose(self) -> None:
        """Wait until every ended call is settled."""
        while self._settling:
            await asyncio.gather(*self._settling)

    async def _reserve(self, day: str, tenant: str, worst: PicoUSD, limit: PicoUSD) -> None:
        # One at a time per tenant: a reservation that is about to be taken back must not refuse the next caller.
        async with self._doors.setdefault(tenant, asyncio.Lock()):
            if self._settling:
                await self.aclose()
            total = await self._add(day, worst)
            if total <= limit:
                self._held[day] = self._held.get(day, 0) + worst
                return
            total = await self._add(day, -worst)
            spent = total - self._held.get(day, 0)
        # Without retry-after: Codex 0.169 would sleep until midnight, and OpenClaw would not show the text.
        raise LimitReached(
            f"Daily limit reached for key {tenant}: {_dollars(spent)} of {_dollars(limit)} spent, "
            "resets tomorrow 00:00 UTC."
        )

    def _ended(self, day: str, worst: PicoUSD, call: Call, reply: Reply) -> None:
        task = asyncio.ensure_future(self._settle(day, worst, self._billed(call, reply, worst)))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _billed(self, call: Call, reply: Reply, worst: PicoUSD) -> PicoUSD:
        """What a finished call comes to; the worst case where that is not known."""
        done = reply.done
        if done is not None and done.charges:
            costs = [self._cost(charge) for charge in done.charges]
            if None in costs:
                return worst
            told = sum(cost for cost in costs if cost is not None)
            # A stream that its caller left tells what it came to at its start; what was streamed since is billed too.
            # And usage that contradicts itself is not taken at its word if the texts come to more.
            sure = done.complete and not any(charge.usage.suspect for charge in done.charges)
            return told if sure else max(told, self._count(call, reply) or 0)
        shared = done is not None and done.usage is not None  # and no charges: it was shared or replayed
        if shared or not reply.ok or call.request.operation not in (Operation.GENERATE, Operation.EMBED):
            return 0
        counted = self._count(call, reply)
        return worst if counted is None else counted

    async def _settle(self, day: str, worst: PicoUSD, billed: PicoUSD) -> None:
        self._release(day, worst)
        try:
            if billed != worst:
                await self._add(day, billed - worst)
        except StoreError as error:  # the reservation stays: too much counted rather than too little
            log.warning("budget could not be settled", extra={"error": type(error).__name__})

    def _release(self, day: str, worst: PicoUSD) -> None:
        left = self._held.get(day, 0) - worst
        if left:
            self._held[day] = left
        else:
            self._held.pop(day, None)

    async def _total(self, day: str) -> PicoUSD:
        return await self._add(day, 0)

    async def _add(self, day: str, amount: PicoUSD) -> PicoUSD:
        return await self._kv.add(day, amount, ttl_s=_KEEP_S)

    def _day(self, tenant: str) -> str:
        return f"budget/{datetime.fromtimestamp(self._clock.now(), UTC):%Y-%m-%d}/{tenant}"


def _dollars(amount: PicoUSD) -> str:
    """Rounded down to the cent, as the caller has not spent more."""
    return f"${max(amount, 0) // 10**10 / 100:.2f}"
