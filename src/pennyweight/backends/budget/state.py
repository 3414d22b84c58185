"""What is told of budgets: an event, a counter as it stands, what a call has taken and what its caller should know."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...call import Call
from ...counters import Counter
from ...request import Edit
from .amounts import Bounds
from .limits import Limit, Line
from .settings import BudgetRule
from .windows import window

__all__ = ["Event", "Hold", "State", "Told", "state_of"]


class Event(msgspec.Struct, frozen=True):
    """A budget has come to a share of what it may spend. level: "warn", "force", "halt", or what a detector found."""

    level: str
    budget: str
    scope: str
    subject: str
    tenant: str
    share: float
    text: str
    at: float


class State(msgspec.Struct, frozen=True):
    """One counter as it stands. Amounts in pico-dollars or thousandths of tokens; begins, ends: unix seconds."""

    budget: str
    scope: str
    unit: str
    tenant: str
    subject: str
    spent: int
    held: int
    amount: int
    share: float
    level: str
    begins: float | None = None
    ends: float | None = None


class Hold:
    """What one attempt of a call has taken. It is settled once. limit: what has to change in the request for that to be
    all that it can come to."""

    __slots__ = ("amounts", "bounds", "call", "limit", "lines", "settled")

    def __init__(
        self,
        call: Call,
        lines: Sequence[Line],
        amounts: Sequence[int],
        bounds: Bounds,
        limit: tuple[Edit, ...] = (),
    ) -> None:
        self.call = call
        self.lines = lines
        self.amounts = amounts
        self.bounds = bounds
        self.limit = limit
        self.settled = False


class Told(msgspec.Struct):
    """What a call's budgets were when it was last looked, and what else its caller should know."""

    lines: dict[str, tuple[Line, Counter]]
    own: dict[str, int]  # by budget: what the call itself came to, retries and rungs included
    warnings: list[str] = []
    refused: tuple[Line, Counter] | None = None  # the budget that refused it


def state_of(limit: Limit, begins: float | None, tenant: str, subject: str, counter: Counter, amount: int) -> State:
    """amount: what that tenant may spend of the budget."""
    share = counter.spent / amount
    rule: BudgetRule = limit.rule
    level = "halt" if share >= rule.halt else "force" if share >= rule.force else "warn" if share >= rule.warn else "ok"
    ends = window(limit.per, begins, limit.where).ends if begins is not None and limit.per is not None else None
    return State(
        limit.id,
        limit.scope,
        limit.unit,
        tenant,
        subject,
        counter.spent,
        counter.held,
        amount,
        share,
        level,
        begins,
        ends,
    )
