"""What is wrong with [cascade] that types cannot say."""

from __future__ import annotations

from collections.abc import Iterator

from ..routing.confidence.decision import LEAST_PAIRS
from ..routing.settings import CascadeTable

__all__ = ["wrong"]


def wrong(table: CascadeTable) -> Iterator[tuple[str, str, str]]:
    """(key, what is wrong, the remedy) of each."""
    for name in ("epsilon", "delta"):
        value = getattr(table, name)
        if not 0.0 < value < 1.0:
            yield name, f"cascade.{name} {value!r} is not between 0 and 1.", "Use 0.02 for 2 of 100, for instance."
    for name in ("compare", "compare_first"):
        value = getattr(table, name)
        if not 0.0 <= value <= 1.0:
            yield name, f"cascade.{name} {value!r} is no share.", "Use a number from 0 to 1."
    if table.window < LEAST_PAIRS:
        remedy = f"Use {LEAST_PAIRS} or more: a threshold needs as many comparisons."
        yield "window", f"cascade.window {table.window!r} is too small.", remedy
    for name in ("peer_wait_s", "hold_bytes", "pulse_s"):
        if not getattr(table, name) > 0:  # nor nan
            yield name, f"cascade.{name} {getattr(table, name)!r} must be above 0.", "Leave it out for the default."
