"""Which tiers the last calls of each virtual model went to: what the goals of tiers are steered by.

In memory, and forgetting: a goal is for the calls of these days. The report counts them all (see the ledger).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Shares"]

_KEEP = 0.995  # the newest 200 calls or so
_MOST_NAMES = 256


class Shares:
    def __init__(self) -> None:
        self._tiers: dict[str, dict[str, float]] = {}

    def took(self, virtual: str, tier: str) -> None:
        """A call of that virtual model was answered by that tier."""
        tiers = self._tiers.get(virtual)
        if tiers is None:
            if len(self._tiers) >= _MOST_NAMES:
                self._tiers.clear()
            tiers = self._tiers[virtual] = {}
        for name in tiers:
            tiers[name] *= _KEEP
        tiers[tier] = tiers.get(tier, 0.0) + 1.0

    def of(self, virtual: str) -> Mapping[str, float]:
        """The share that each tier got of the recent calls, in [0, 1]; {} before the first."""
        tiers = self._tiers.get(virtual, {})
        total = sum(tiers.values())
        return {name: weight / total for name, weight in tiers.items()} if total else {}
