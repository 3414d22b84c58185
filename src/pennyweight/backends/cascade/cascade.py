"""Asks the target of a call, decides whether its answer is kept, and else asks a stronger one.

What may be asked stands in `call.rungs`, which an accepted Route sets; a call without rungs is handed on. An answer is
held only until it is decided. A share of the calls asks all targets and gives the strongest one's answer: by what they
said the rest is judged (see routing/confidence).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ...call import Call, Step, Target, Verdict
from ...money import PicoUSD
from ...protocols import Backend, Clock
from ...request import Charge, Reply
from ...routing.confidence.comparisons import Comparisons, NoComparisons
from ...routing.confidence.decision import hopeless
from ...routing.confidence.features import Familiar
from ...routing.confidence.said import read_request, unjudgeable
from ...routing.ladder import climb
from ...routing.settings import CascadeTable
from .book import Book, kind_of
from .climbing import Climb
from .comparing import Compared
from .hearing import Charges
from .upward import upward

__all__ = ["Cascade"]


class Cascade:
    """A Backend over `inner`, whose replies are all in the caller's protocol.

    cost: what one bill came to. charges: what a reply that has ended was billed. tell: of a call that asked all
    targets, whether the answer that the cascade would have given, and the strongest target's, are well formed (1.0,
    else 0.0). familiar: how likely prompts are to a model on this machine. uniform: a number drawn from [0, 1), which
    decides the calls that ask all targets.
    """

    def __init__(
        self,
        inner: Backend,
        clock: Clock,
        *,
        settings: CascadeTable | None = None,
        store: Comparisons | None = None,
        cost: Callable[[Charge], PicoUSD | None] = lambda _charge: 0,
        charges: Charges = lambda _call, reply: reply.done.charges if reply.done else (),
        tell: Callable[[Call, float, float], None] = lambda _call, _new, _old: None,
        familiar: Familiar = lambda _call: 0.0,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.inner = inner
        self.clock = clock
        self.settings = settings or CascadeTable()
        self.book = Book(store or NoComparisons(), clock, self.settings)
        self.cost = cost
        self.charges = charges
        self.tell = tell
        self.familiar = familiar
        self._uniform = uniform

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what the last target raised, where none gave an answer."""
        if call.rungs is None or not call.rungs.strong:
            return self.inner.open(call)
        return self._cascade(call)

    async def _cascade(self, call: Call) -> Reply:
        why_not, asked = unjudgeable(call.request), read_request(call.request)
        if asked is None or why_not:
            return await self._straight(call, why_not or "it is no request for an answer, or cannot be read")
        kind = kind_of(call, climb(call)[0])
        standing = await self.book.standing(kind)
        rule = self.settings
        share = rule.compare if standing.learnt else max(rule.compare, rule.compare_first)
        readable = call.sending(_readable(call))
        if rule.mode == "bound" and self._uniform() < share:
            return await Compared(self, readable, asked, standing, kind).open()
        why = hopeless(standing, peer=_peer(call) is not None, mode=rule.mode)
        if why:
            return await self._straight(call, why)
        return await Climb(self, readable, asked, standing).open()

    async def _straight(self, call: Call, why: str) -> Reply:
        """To the strongest target at once. Where it fails, the call's own is still better than nothing."""
        return await upward(self.inner, call, (*climb(call), call.target), self.note(call, why, ()))

    def note(self, call: Call, why: str, dropped: tuple[Charge, ...]) -> Step:
        """The step of a call that a stronger target answers: what its route was to save is not saved, and what the
        dropped answers cost is lost as well."""
        claimed = sum(s.saving for s in call.trail if s.verdict is Verdict.ACCEPTED and s.optimizer == "routing")
        lost = sum(self.cost(charge) or 0 for charge in dropped)
        return Step("escalated", Verdict.ACCEPTED, saving=-claimed - lost, why=why)


def _peer(call: Call) -> Target | None:
    peer = call.rungs.peer if call.rungs is not None else None
    return peer if peer != call.target else None


def _readable(call: Call) -> Any:
    """The request, asking for an answer that is not compressed: it has to be read."""
    request = call.request
    headers = tuple(header for header in request.headers if header[0] != "accept-encoding")
    return request if len(headers) == len(request.headers) else msgspec.structs.replace(request, headers=headers)
