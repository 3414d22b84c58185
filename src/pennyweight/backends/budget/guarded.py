"""The backend at the top: stops sessions that go round in circles, and says at a refusal what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ...call import Call
from ...errors import LimitReached
from ...protocols import Backend
from ...request import Operation, Reply
from ..direct import beneath
from .budgets import Budgets
from .halted import Halted
from .repeats import Repeats, Seen
from .settings import Budgeting
from .state import Event

__all__ = ["Guarded"]


class Guarded:
    """A Backend. halted None: refusals say no more than their sentence."""

    def __init__(
        self,
        inner: Backend,
        budgets: Budgets,
        repeats: Repeats,
        settings: Budgeting,
        *,
        halted: Halted | None,
        now: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._budgets = budgets
        self._repeats = repeats
        self._settings = settings
        self._halted = halted
        self._now = now
        self._watching = settings.loops != "off" or settings.heartbeats != "off"

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises LimitReached."""
        if call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        if not self._watching and self._budgets.spares(call.identity.tenant):  # nobody can refuse it
            return self._inner.open(call)
        return self._guarded(call)

    def beneath(self, call: Call) -> Backend:
        return self if self._watching else beneath(self._inner, call)

    async def _guarded(self, call: Call) -> Reply:
        fingerprint = self._check(call) if self._watching else b""
        try:
            reply = await self._inner.open(call)
        except LimitReached as error:
            more = await self._halted.explain(call) if self._halted is not None else ""
            if more:
                raise LimitReached(error.message + more) from None
            raise
        if fingerprint and reply.ok:
            self._repeats.answered(call, fingerprint)
        return reply

    def _check(self, call: Call) -> bytes:
        seen, fingerprint = self._repeats.look(call)
        if seen is None:
            return fingerprint
        settings = self._settings
        beats = seen.kind == "heartbeat"
        act, most = (settings.heartbeats, settings.idle) if beats else (settings.loops, settings.repeats)
        if act == "off" or seen.times < most:
            return fingerprint
        what = _what(seen)
        identity = call.identity
        kind = "idle" if beats else "loop"
        told = f"{kind}; session {identity.session} {what}"
        event = Event(kind, kind, "session", identity.session, identity.tenant, seen.times / most, told, self._now())
        self._budgets.warn(call, event, again=seen.times > most)
        if act == "halt" and seen.times > most:
            raise LimitReached(
                f"Usage limit reached for session {identity.session}: it {what}. Try again with something else, or in "
                "a new session."
            )
        return fingerprint


def _what(seen: Seen) -> str:
    if seen.kind == "heartbeat":
        return f"has sent {seen.times} heartbeats in a row and nothing else"
    if seen.kind == "call":
        return f"has called the same tool with the same arguments {seen.times} times in a row"
    return f"has asked the same {seen.times} times in a row"
