"""Counts the requests that targets with a quota are asked, and asks no more than that: a free tier is free up to it.

What is beyond a quota is refused before anybody is asked, so that the next target takes it. An answer that has begun
goes on, whatever happens to the quota meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

from ..call import Call
from ..errors import QuotaSpent, StoreError
from ..protocols import KV, Backend, Clock
from ..request import Headers, Operation, Reply, get_header
from ..routing.quotas import DAY_S, Quotas, Where, day_of
from .direct import beneath
from .refusals import retry_after_s

__all__ = ["Metered", "restore"]

log = logging.getLogger(__name__)

_PREFIX = "quota"
_LEAST_REFUSED_S = 1.0


class Metered:
    """A Backend over `inner`. `kv`: where counts outlast a restart, and are shared by those who share it."""

    def __init__(self, inner: Backend, quotas: Quotas, kv: KV, clock: Clock) -> None:
        self._inner = inner
        self._quotas = quotas
        self._kv = kv
        self._clock = clock

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises QuotaSpent where there is nothing left."""
        where = self._quotas.group((call.target.provider, call.target.model))
        if where is None or call.request.operation is Operation.OTHER:
            return self._inner.open(call)
        return self._counted(call, where)

    def beneath(self, call: Call) -> Backend:
        where = self._quotas.group((call.target.provider, call.target.model))
        return beneath(self._inner, call) if where is None else self

    async def _counted(self, call: Call, where: Where) -> Reply:
        now, at = self._clock.now(), self._clock.monotonic()
        if not self._quotas.take(where, now=now, at=at):
            wait_s = self._quotas.opens_in_s(where, now=now, at=at)
            raise QuotaSpent(
                f"The quota of {where[0]}/{where[1]} is used up for {wait_s:,.0f} s. Wait, raise per_minute or "
                "per_day of its [[targets]], or let a virtual model choose another target.",
                retry_after_s=wait_s,
            )
        await self._keep(where, now)
        reply = await self._inner.open(call)
        if reply.status == 429:
            at_s = self._clock.now()
            asked_s = retry_after_s(reply.headers, at_s) or _resets_in_s(reply.headers, at_s)
            self._quotas.refused(where, retry_after_s=max(asked_s, _LEAST_REFUSED_S), at=self._clock.monotonic())
        return reply

    async def _keep(self, where: Where, now: float) -> None:
        day = day_of(now)
        try:
            spent = await self._kv.add(_key(where, f"d{day}"), 1, ttl_s=2 * DAY_S)
            if self._quotas.limits[where].per_minute is not None:
                await self._kv.add(_key(where, f"m{int(now // 60)}"), 1, ttl_s=180.0)
        except StoreError as error:  # what cannot be kept is counted here all the same
            log.warning("a quota could not be kept", extra={"error": type(error).__name__})
            return
        self._quotas.counted(where, day=day, spent=spent)


def _resets_in_s(headers: Headers, now: float) -> float:
    """Seconds until the moment in `x-ratelimit-reset`, as OpenRouter sends it: unix milliseconds. 0 for anything else,
    and never more than a day."""
    value = get_header(headers, "x-ratelimit-reset") or ""
    return min(max(int(value) / 1000 - now, 0.0), DAY_S) if value.isdecimal() and len(value) == 13 else 0.0


async def restore(quotas: Quotas, kv: KV, clock: Clock) -> None:
    """Take up what was counted before. A store that is down is no reason not to start: then it is counted anew."""
    now = clock.now()
    for where in quotas.limits:
        try:
            spent = await kv.add(_key(where, f"d{day_of(now)}"), 0, ttl_s=2 * DAY_S)
            minute = await kv.add(_key(where, f"m{int(now // 60)}"), 0, ttl_s=180.0)
            minute += await kv.add(_key(where, f"m{int(now // 60) - 1}"), 0, ttl_s=180.0)
        except StoreError as error:
            log.warning("quotas could not be read", extra={"error": type(error).__name__})
            return
        quotas.restored(where, minute=minute, spent=spent, now=now, at=clock.monotonic())


def _key(where: Where, window: str) -> str:
    return f"{_PREFIX}:{where[0]}/{where[1]}:{window}"
