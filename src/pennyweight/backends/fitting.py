"""Takes out of a request what the model refuses that was chosen for it: a caller of `auto` cannot know which it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ..call import Call, Step, Verdict
from ..protocols import Backend
from ..request import Operation, Reply
from ..routing.parameters import fitting
from .direct import beneath

__all__ = ["Fitting"]


class Fitting:
    """A Backend. chosen: whether the target of a call is another than its caller named; only those are changed.

    It stands where requests are in the target's own protocol, and below all that may choose a target.
    """

    def __init__(self, inner: Backend, chosen: Callable[[Call], bool]) -> None:
        self._inner = inner
        self._chosen = chosen

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        if call.request.operation is not Operation.GENERATE or not self._chosen(call):
            return self._inner.open(call)
        edits, told = fitting(call.request, call.target)
        if not edits:
            return self._inner.open(call)
        step = Step("fitting", Verdict.LOST, why=f"{call.target.model} refuses {', '.join(told)}")
        return self._fitted(call.sending(call.request.edit(edits)), step)

    def beneath(self, call: Call) -> Backend:
        return self if self._chosen(call) else beneath(self._inner, call)

    async def _fitted(self, call: Call, step: Step) -> Reply:
        reply = await self._inner.open(call)
        reply.notes.append(step)
        return reply
