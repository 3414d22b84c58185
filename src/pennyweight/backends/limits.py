"""At most so many calls at once per provider; the others wait their turn. (A local Ollama takes 2.)"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any

from ..call import Call
from ..errors import Overloaded
from ..protocols import Backend
from ..request import Reply

__all__ = ["Limits"]


class Limits:
    """A Backend that holds calls back while their provider is full, first come, first served.

    at_once: provider name to the number of calls it takes; providers not named are not limited. wait_s bounds the
    wait; after it Overloaded is raised. A slot is given back when the reply is closed, or at once when it came whole.
    """

    def __init__(self, inner: Backend, at_once: Mapping[str, int], *, wait_s: float = 300.0) -> None:
        self._inner = inner
        self._slots = {provider: _Slots(count) for provider, count in at_once.items()}
        self._wait_s = wait_s

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises Overloaded when no slot was free in time."""
        slots = self._slots.get(call.target.provider)
        return self._inner.open(call) if slots is None else self._queued(call, slots)

    async def _queued(self, call: Call, slots: _Slots) -> Reply:
        try:
            async with asyncio.timeout(self._wait_s):
                await slots.take()
        except TimeoutError:
            raise Overloaded(
                f"{call.target.provider} is busy: {slots.count} calls are running, its limit, and none ended within "
                f"{self._wait_s:g} s. Try again, or raise its concurrency limit.",
                retry_after_s=min(self._wait_s, 10.0),
            ) from None
        try:
            reply = await self._inner.open(call)
        except BaseException:
            slots.give()
            raise
        if reply.content is not None:
            slots.give()
        else:
            reply.on_end.append(lambda _reply: slots.give())
        return reply

    def waiting(self, provider: str) -> int:
        """How many calls wait for that provider now."""
        slots = self._slots.get(provider)
        return slots.waiting if slots is not None else 0


class _Slots:
    """A semaphore that hands a freed slot to the first in line, so that nobody overtakes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for turn in self._line)

    async def take(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the slot had come, and we leave in the same moment
            raise

    def give(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
