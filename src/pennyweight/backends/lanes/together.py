"""Calls to one model of a local server, let go at the same moment, so that it reads their prompts in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ...call import Call
from ...protocols import Backend
from ...request import Operation, Reply
from ...routing.background import LaneSettings

__all__ = ["Together"]


class Together:
    """A Backend that holds a call of the providers named in `together` until others come, for a window at most."""

    def __init__(self, inner: Backend, settings: LaneSettings) -> None:
        self._inner = inner
        self._providers = frozenset(settings.together)
        self._window_s = settings.micro_window_ms / 1000
        self._size = settings.micro_size
        self._gates: dict[tuple[str, str], _Gate] = {}

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        held = call.target.provider in self._providers and call.request.operation is Operation.GENERATE
        return self._held(call) if held else self._inner.open(call)

    async def _held(self, call: Call) -> Reply:
        queue = (call.target.provider, call.target.model)
        gate = self._gates.get(queue)
        if gate is None:
            gate = self._gates[queue] = _Gate()
        gate.waiting += 1
        try:
            if gate.waiting >= self._size:
                gate.opened.set()
            else:
                async with asyncio.timeout(self._window_s):
                    await gate.opened.wait()
        except TimeoutError:
            gate.opened.set()
        except asyncio.CancelledError:
            gate.waiting -= 1
            raise
        if self._gates.get(queue) is gate:
            del self._gates[queue]
        return await self._inner.open(call)


class _Gate:
    """Those who wait for each other."""

    def __init__(self) -> None:
        self.waiting = 0
        self.opened = asyncio.Event()
