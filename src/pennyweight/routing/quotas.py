"""How many requests a target's quota still gives: by the minute, by the day (which begins at midnight UTC), and by what
the provider says when it refuses.

In memory, for the lookout, which may not wait; whoever asks a target keeps the counts where replicas and a restart find
them (see `pennyweight.backends.quotas`). A minute is any sixty seconds: a bucket that fills evenly would let twice as
many through in one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from ..call import Target
from ..patterns import starred
from .settings import TargetTable
from .virtual import Live

__all__ = ["DAY_S", "Quota", "Quotas", "Where", "day_of"]

DAY_S = 86_400.0
_MINUTE_S = 60.0

Where = tuple[str, str]
"""A provider's name and a model there: one quota, whatever protocol it is asked in."""


class Quota(msgspec.Struct, frozen=True):
    """None: not limited."""

    per_minute: int | None = None
    per_day: int | None = None


class _Left(msgspec.Struct):
    minute: deque[float] = msgspec.field(default_factory=deque)  # when the last requests were made, monotonic seconds
    day: int = -1
    spent: int = 0  # on that day
    shut_until: float = 0.0  # monotonic seconds, as the provider said


def day_of(now: float) -> int:
    """The number of the day, UTC. now: unix seconds."""
    return int(now // DAY_S)


class Quotas:
    """The quotas of one gateway, by provider and model, or by a pattern of models that share one. now: unix seconds;
    at: monotonic seconds.

    A wall clock that is set back does not give a day's requests again: the day only ever goes on.
    """

    def __init__(self, limits: Mapping[Where, Quota]) -> None:
        self.limits = dict(limits)
        self._left: dict[Where, _Left] = {}
        self._groups: dict[Where, Where | None] = {}

    @classmethod
    def of(cls, tables: Iterable[TargetTable]) -> Quotas:
        """The quotas that [[targets]] name."""
        limits: dict[Where, Quota] = {}
        for table in tables:
            if table.per_minute is not None or table.per_day is not None:
                provider, _, model = table.target.partition("/")
                limits[provider, model] = Quota(table.per_minute, table.per_day)
        return cls(limits)

    def group(self, where: Where) -> Where | None:
        """Under which name that model's quota is counted: its own, else the first pattern that fits; None: it has
        none."""
        if where not in self._groups:
            if len(self._groups) >= _REMEMBERED:  # names come from callers
                self._groups.clear()
            self._groups[where] = (
                where
                if where in self.limits
                else next(
                    (
                        limit
                        for limit in self.limits
                        if limit[0] == where[0] and "*" in limit[1] and _fits(limit[1], where[1])
                    ),
                    None,
                )
            )
        return self._groups[where]

    def left(self, where: Where, *, now: float, at: float) -> int | None:
        """Requests that may be made now; None: there is no limit."""
        quota = self.limits.get(where)
        state = self._left.get(where)
        if quota is None:
            return 0 if state is not None and at < state.shut_until else None
        state = self._state(where, now, at)
        if at < state.shut_until:
            return 0
        found = [quota.per_minute - len(state.minute)] if quota.per_minute is not None else []
        if quota.per_day is not None:
            found.append(quota.per_day - state.spent)
        return max(min(found), 0) if found else None

    def opens_in_s(self, where: Where, *, now: float, at: float) -> float:
        """Seconds until there is a request again; 0 where there is one."""
        quota = self.limits.get(where, Quota())
        state = self._state(where, now, at)
        waits = [state.shut_until - at]
        if quota.per_minute is not None and len(state.minute) >= quota.per_minute:
            waits.append(state.minute[len(state.minute) - quota.per_minute] + _MINUTE_S - at)
        if quota.per_day is not None and state.spent >= quota.per_day:
            waits.append((state.day + 1) * DAY_S - now)
        return max(*waits, 0.0)

    def take(self, where: Where, *, now: float, at: float) -> bool:
        """Count one request, if there is one left."""
        quota = self.limits.get(where)
        if quota is None:
            return self.left(where, now=now, at=at) is None
        if self.left(where, now=now, at=at) == 0:
            return False
        state = self._state(where, now, at)
        if quota.per_minute is not None:
            state.minute.append(at)
        state.spent += 1
        return True

    def counted(self, where: Where, *, day: int, spent: int) -> None:
        """What all replicas together have asked on that day: not less than what is known here."""
        state = self._left.get(where)
        if state is not None and state.day == day:
            state.spent = max(state.spent, spent)

    def restored(self, where: Where, *, minute: int, spent: int, now: float, at: float) -> None:
        """What was asked before a restart, in the last minute and on this day."""
        quota = self.limits.get(where)
        if quota is None:
            return
        state = self._state(where, now, at)
        if quota.per_minute is not None:
            state.minute.extend([at] * min(minute, quota.per_minute))
        state.spent = max(state.spent, spent)

    def refused(self, where: Where, *, retry_after_s: float, at: float) -> None:
        """The provider said that it takes no more for so long."""
        state = self._left.get(where)
        if state is None:
            state = self._left[where] = _Left()
        state.shut_until = max(state.shut_until, at + retry_after_s)

    def _state(self, where: Where, now: float, at: float) -> _Left:
        """As it is now: what is more than a minute ago forgotten, a new day begun."""
        state = self._left.get(where)
        if state is None:
            state = self._left[where] = _Left()
        while state.minute and state.minute[0] <= at - _MINUTE_S:
            state.minute.popleft()
        if (day := day_of(now)) > state.day:
            state.day, state.spent = day, 0
        return state

    def live(self, target: Target, *, now: float, at: float) -> Live:
        """For the lookout."""
        where = self.group((target.provider, target.model))
        return _WELL if where is None else Live(quota_left=self.left(where, now=now, at=at))


def _fits(pattern: str, model: str) -> bool:
    return starred(pattern).fullmatch(model) is not None


_WELL = Live()
_REMEMBERED = 4_096
