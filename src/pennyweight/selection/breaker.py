"""Leaves those alone that fail again and again, and tries them once in a while. Counted in tasks, not by a clock."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .choosing import Candidate

__all__ = ["Breaker", "Broken"]


class Broken(msgspec.Struct):
    """`failures` in a row, and the task until which it rests."""

    failures: int = 0
    until: int = 0


class Breaker(msgspec.Struct):
    """`failures` in a row, of whatever type, and it rests for `rest` tasks; then it may try one, and rests half as long
    again if that fails. `tasks`: how many were told of."""

    failures: int = 6
    rest: int = 50
    tasks: int = 0
    broken: dict[str, Broken] = {}
    rested: int = 0  # the task until which any of them rests

    def admitted(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Those that do not rest; all of them where nobody else is left: the least bad is better than none."""
        if self.rested <= self.tasks:
            return candidates
        return [one for one in candidates if not self.resting(one.name)] or candidates

    def resting(self, name: str) -> bool:
        found = self.broken.get(name)
        return found is not None and found.until > self.tasks

    def may_try(self, name: str) -> bool:
        """Whether it failed so often that it rested, and has not been tried since."""
        found = self.broken.get(name)
        return found is not None and found.failures >= self.failures and found.until <= self.tasks

    def tell(self, name: str, success: float) -> None:
        """A success below one half is a failure."""
        self.tasks += 1
        if success >= 0.5:
            self.broken.pop(name, None)
            return
        found = self.broken.setdefault(name, Broken())
        found.failures += 1
        if found.failures >= self.failures:
            again = min(found.failures - self.failures, _LONGEST)
            found.until = self.tasks + int(self.rest * 1.5**again)
            self.rested = max(self.rested, found.until)


_LONGEST = 6  # times that a rest grows: to eleven times the first
