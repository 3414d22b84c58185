"""Compression where a budget asks for it: at its share `force`, also for callers who otherwise want nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..call import Call, Outcome, Proposal
from ..protocols import Optimizer

__all__ = ["Pressed"]


class Pressed:
    """Protocol: `Optimizer`. What `inner` offers a call that is forced counts as safe: the other choice is no answer.

    only: calls that are not forced are offered nothing, for an optimizer that the operator has not asked for.
    """

    def __init__(self, inner: Optimizer, forced: Callable[[Call], bool], *, only: bool) -> None:
        self._inner = inner
        self._forced = forced
        self._only = only

    @property
    def name(self) -> str:
        return self._inner.name

    async def propose(self, call: Call) -> Proposal | None:
        if not self._forced(call):
            return None if self._only else await self._inner.propose(call)
        proposal = await self._inner.propose(call)
        if proposal is None:
            return None
        return msgspec.structs.replace(proposal, level="safe")  # its reason stays: the optimizer reads it again

    async def settle(self, outcome: Outcome) -> None:
        await self._inner.settle(outcome)

    def wants_response(self, call: Call) -> bool:
        return self._inner.wants_response(call)
