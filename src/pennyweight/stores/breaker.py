"""Whether to ask a store that may be down: a circuit breaker, as a pure rule over times and results."""

from __future__ import annotations

from ..errors import StoreError

__all__ = ["Breaker", "Refused"]


class Refused(StoreError):
    """A server answers, and will not: its memory is full, it only takes reads, we may not do that. It is not down."""


class Breaker:
    """Opens after `failures` in a row. Then nobody asks; after a rest of `rest_s` one trial is due, and if that works,
    all may ask again. If not, the rest doubles, up to `longest_s`. Times are monotonic seconds.

    untried: begin open, with a trial due at once.
    """

    def __init__(
        self, *, failures: int = 3, rest_s: float = 0.25, longest_s: float = 30.0, untried: bool = False
    ) -> None:
        self._failures = failures
        self._first_rest_s = rest_s
        self._longest_s = longest_s
        self._rest_s = rest_s / 2 if untried else rest_s
        self._in_a_row = 0
        self._until = 0.0
        self._trying = False
        self.open = untried
        self.trips = 0

    def trial_is_due(self, now: float) -> bool:
        """True once per trial: who is told so makes it, and must report how it went."""
        if not self.open or self._trying or now < self._until:
            return False
        self._trying = True
        return True

    def worked(self) -> bool:
        """True when that closes an open one."""
        closes, self.open = self.open, False
        self._in_a_row = 0
        self._rest_s = self._first_rest_s
        return closes

    def failed(self, now: float) -> bool:
        """True when that opens it."""
        self._in_a_row += 1
        if self.open or self._in_a_row < self._failures:
            return False
        self.open = True
        self.trips += 1
        self._until = now + self._rest_s
        return True

    def tried(self, worked: bool, now: float) -> bool:
        """How the trial went. True when it closes the breaker."""
        self._trying = False
        if worked:
            return self.worked()
        self._rest_s = min(self._rest_s * 2, self._longest_s)
        self._until = now + self._rest_s
        return False
