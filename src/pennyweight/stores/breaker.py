"""Whether to ask a store that may be down: a circuit breaker, as a pure rule over times and results."""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """Opens after `failures` in a row. Then nobody asks for `rest_s`, after which one may try: if that works, all may;
    if not, the rest doubles, up to `longest_s`. Times are monotonic seconds.
    """

    def __init__(self, *, failures: int = 3, rest_s: float = 0.25, longest_s: float = 30.0) -> None:
        self._failures = failures
        self._first_rest_s = rest_s
        self._longest_s = longest_s
        self._rest_s = rest_s
        self._in_a_row = 0
        self._until = 0.0
        self._trying = False
        self.open = False
        self.opened = 0  # how often

    def allows(self, now: float) -> bool:
        """Whether to ask now. Who is told so while it is open makes the one trial, and must report how it went."""
        if not self.open:
            return True
        if self._trying or now < self._until:
            return False
        self._trying = True
        return True

    def worked(self) -> bool:
        """True when that closes an open one."""
        closes, self.open = self.open, False
        self._trying = False
        self._in_a_row = 0
        self._rest_s = self._first_rest_s
        return closes

    def failed(self, now: float) -> bool:
        """True when that opens it."""
        self._in_a_row += 1
        if self.open:
            if self._trying:
                self._trying = False
                self._rest_s = min(self._rest_s * 2, self._longest_s)
                self._until = now + self._rest_s
            return False
        if self._in_a_row < self._failures:
            return False
        self.open = True
        self.opened += 1
        self._until = now + self._rest_s
        return True

    def let_go(self) -> None:
        """A trial that was given up without a result: another may try."""
        self._trying = False
