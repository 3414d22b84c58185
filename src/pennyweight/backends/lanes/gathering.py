"""Calls that come together, sent together: the first goes at once, those that come while it is under way gather.

So a call that is alone waits for nobody, and a crowd goes in few pieces (as J. Nagle has it for TCP, RFC 896). What has
gathered goes when the one before it is back, when the window is over, or when it is full, whichever comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ...call import Call
from ...errors import StreamCut
from ...request import Reply

__all__ = ["Gatherer", "Member"]


class Member:
    """One caller: its call, and what it will be answered. `size`: of its prompt, in any unit."""

    __slots__ = ("answer", "call", "left", "size")

    def __init__(self, call: Call, size: int) -> None:
        self.call = call
        self.size = size
        self.left = False
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def give(self, reply: Reply) -> None:
        """One who has left meanwhile takes nothing, and what was opened for it is closed."""
        if self.answer.done():
            await reply.aclose()
        else:
            self.answer.set_result(reply)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Gatherer:
    """send(members): answers all of them, at least one. What it raises, those who have no answer yet get."""

    def __init__(
        self, send: Callable[[Sequence[Member]], Awaitable[None]], *, window_s: float, size: int, eager: bool = True
    ) -> None:
        """eager: the first goes at once; else all wait for the window."""
        self._send = send
        self._window_s = window_s
        self._size = size
        self._eager = eager
        self._waiting: dict[bytes, list[Member]] = {}
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._flying: dict[bytes, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: bytes, member: Member) -> Reply:
        """The member's answer. Raises what sending raised."""
        if self._eager and key not in self._flying:
            self._fly(key, [member])
        else:
            self._wait(key, member)
        try:
            return await member.answer
        except asyncio.CancelledError:
            member.left = True
            waiting = self._waiting.get(key, [])
            if member in waiting:
                waiting.remove(member)
            raise

    async def aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wait(self, key: bytes, member: Member) -> None:
        waiting = self._waiting.setdefault(key, [])
        waiting.append(member)
        if len(waiting) >= self._size:
            self._flush(key)
        elif key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(self._window_s, self._flush, key)

    def _flush(self, key: bytes) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        members = self._waiting.pop(key, [])
        if members:
            self._fly(key, members)

    def _fly(self, key: bytes, members: list[Member]) -> None:
        self._flying[key] = self._flying.get(key, 0) + 1
        task = asyncio.create_task(self._flight(key, members))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def left(_answer: asyncio.Future[Reply]) -> None:
            if all(member.answer.cancelled() for member in members):
                task.cancel()  # nobody is there any more: the upstream is stopped

        for member in members:
            member.answer.add_done_callback(left)

    async def _flight(self, key: bytes, members: list[Member]) -> None:
        try:
            await self._send([member for member in members if not member.left])
        except Exception as error:  # noqa: BLE001 - whatever it was, everybody gets it
            for member in members:
                member.fail(error)
        finally:
            for member in members:
                member.fail(StreamCut("The answer was stopped before its end."))
            self._flying[key] -= 1
            if not self._flying[key]:
                del self._flying[key]
            if self._eager:
                self._flush(key)
