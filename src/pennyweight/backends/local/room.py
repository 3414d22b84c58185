"""Room for a local model before it is asked: a Backend around one provider with local models."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ...call import Call, Step, Verdict
from ...errors import NotConnected
from ...protocols import Backend, Clock
from ...request import Operation, Reply
from .books import State
from .machine import Machine

__all__ = ["Room"]


class Room:
    """A Backend. Other models are unloaded where the memory plan needs it, and the answer teaches load time and speed.

    It stands innermost, so that only calls that are sent now take memory, and those that wait for a slot do not.
    """

    def __init__(self, inner: Backend, machine: Machine, clock: Clock) -> None:
        self._inner = inner
        self._machine = machine
        self._clock = clock

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        if call.request.operation not in (Operation.GENERATE, Operation.EMBED):
            return self._inner.open(call)
        state = self._machine.begin(call.target)
        return self._inner.open(call) if state is None else self._opened(call, state)

    async def _opened(self, call: Call, state: State) -> Reply:
        loaded = state.seen.loaded and not state.leaving
        why = await self._machine.room(state)
        asked = self._clock.monotonic()
        try:
            reply = await self._inner.open(call)
        except BaseException as error:
            self._machine.end(state)
            if isinstance(error, NotConnected):
                self._machine.unreachable(call.target.provider)
            raise
        opened_s = self._clock.monotonic() - asked

        def ended(reply: Reply) -> None:
            ended_s = self._clock.monotonic() - asked
            self._machine.answered(state, reply, loaded=loaded, opened_s=opened_s, ended_s=ended_s)
            self._machine.end(state)

        if why:
            reply.notes.append(Step("resources", Verdict.ACCEPTED, why=why))
        if reply.content is not None:
            ended(reply)
        else:
            reply.on_end.append(ended)
        return reply
