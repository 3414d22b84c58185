"""The backend next to the providers: every request that leaves for one has taken its budget first.

It stands below retries, fallbacks, cascades and whatever else asks more than once, so that each request counts, and
below what shares answers, so that an answer is paid for once.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from ...call import Call, Step, Verdict
from ...errors import AuthFailed, ContextTooLong, NotConnected, Overloaded, RateLimited
from ...protocols import Backend
from ...request import Operation, Reply
from ..direct import beneath
from .budgets import Budgets
from .limits import Line

__all__ = ["Budgeted"]

_FREE = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Budgeted:
    """A Backend. Raises LimitReached, BadRequest for a model without a price, StoreError when the store is down."""

    def __init__(self, inner: Backend, budgets: Budgets) -> None:
        self._inner = inner
        self._budgets = budgets

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        request = call.request
        if request.operation is Operation.COUNT or (request.operation is Operation.OTHER and request.method in _FREE):
            return self._inner.open(call)
        if self._budgets.spares(call.identity.tenant):
            return self._inner.open(call)
        lines = self._budgets.lines(call)
        return self._budgeted(call, lines) if lines else self._inner.open(call)

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call)  # nothing is to be reserved

    async def _budgeted(self, call: Call, lines: Sequence[Line]) -> Reply:
        hold = await self._budgets.reserve(call, lines)
        if hold.limit:
            call = call.sending(call.request.edit(hold.limit))
        try:
            reply = await self._inner.open(call)
        except (NotConnected, AuthFailed, RateLimited, Overloaded, ContextTooLong):
            await self._budgets.unsent(hold)
            raise
        except Exception:
            await self._budgets.lost(hold)  # it was sent: it may have been answered, and billed
            raise
        except BaseException:
            # The caller left: what it cost is not known. Not awaited, as this task is being stopped.
            self._budgets.left(hold)
            raise
        if hold.limit:
            most = hold.bounds.worst.output_tokens
            reply.notes.append(
                Step("budget", Verdict.ACCEPTED, why=f"no more than {most:,} tokens of answer were left")
            )
        reply.on_end.append(lambda ended: self._budgets.ended(hold, ended))
        return reply
