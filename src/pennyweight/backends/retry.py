"""Asks the same upstream once more, when that can be done within two seconds and cannot bill twice.

Clients retry on their own, so a gateway that retries too turns one 429 into three bills and 20 s of silence. Hence at
most one more try, never after a byte of an answer, and none at all where a fallback stands behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from copy import copy

from ..call import Call, Step, Verdict
from ..errors import NotConnected
from ..protocols import Backend, Clock
from ..request import Reply
from .direct import beneath
from .refusals import BUSY, add_charges, retry_after_s, says_no_retry

__all__ = ["Retry"]


class Retry:
    """A Backend that repeats a call once after a connection that was not made, or after 429, 500, 502, 503, 529.

    within_s: the second try starts at most so long after the first did. fallback_behind: another target is configured
    for when this one fails, so a failure goes there at once. A connection that broke after the request was sent is not
    retried: the provider may have answered, and billed, it.
    """

    def __init__(
        self,
        inner: Backend,
        clock: Clock,
        *,
        within_s: float = 2.0,
        fallback_behind: Callable[[Call], bool] = lambda _call: False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._within_s = within_s
        self._fallback_behind = fallback_behind
        self._sleep = sleep
        self._uniform = uniform

    async def open(self, call: Call) -> Reply:
        started = self._clock.monotonic()
        try:
            reply = await self._inner.open(call)
        except NotConnected:
            wait_s = self._wait_s(call, started, None)
            if wait_s is None:
                raise
            await self._sleep(wait_s)
            return _noted(await self._inner.open(call), "could not connect")
        if reply.status not in BUSY or says_no_retry(reply.headers):
            return reply
        wait_s = self._wait_s(call, started, retry_after_s(reply.headers, self._clock.now()))
        if wait_s is None:
            return reply
        await reply.aclose()
        await self._sleep(wait_s)
        second = await self._inner.open(call)
        add_charges(second, reply.done.charges if reply.done else ())
        return _noted(second, f"status {reply.status}")

    def beneath(self, call: Call) -> Backend:
        shorter = copy(self)
        shorter._inner = beneath(self._inner, call)
        return shorter

    def _wait_s(self, call: Call, started: float, asked_s: float | None) -> float | None:
        """How long to wait before the second try, or None when there must not be one."""
        if self._fallback_behind(call):
            return None
        left_s = self._within_s - (self._clock.monotonic() - started)
        least_s = asked_s if asked_s is not None else 0.1
        if least_s > left_s:
            return None
        # Jitter spreads the callers that one overload has refused at the same moment.
        return self._uniform(least_s, min(least_s + 0.5, left_s))


def _noted(reply: Reply, why: str) -> Reply:
    reply.notes.append(Step("retry", Verdict.ACCEPTED, why=f"asked again after: {why}"))
    return reply
