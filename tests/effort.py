"""Limits of work that hold on any machine, however slow or busy: CPU time, set against a yardstick's at that moment."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

__all__ = ["took_s", "within"]

YARDSTICK_S = 0.002
"""What `_yardstick` took where the limits were set: a Python without optimisations on two busy cores."""


def within(limit_s: float, work: Callable[[], object], *, repeat: int = 1, tries: int = 3) -> bool:
    """Whether `work`, done `repeat` times, takes this thread less than so many seconds of CPU in one of these tries.

    A slower machine gets longer, by as much as it is slower just then at something else; what waits, or is done by
    another thread, does not count.
    """
    return any(took_s(work, repeat) < limit_s for _ in range(tries))


def took_s(work: Callable[[], object], repeat: int = 1) -> float:
    """Seconds of CPU that `work` took this thread, as it would take them where the limits were set."""
    gc.disable()  # a collection goes over all that the tests before have left
    try:
        before = _yardstick()
        began = time.thread_time()
        for _ in range(repeat):
            work()
        spent = time.thread_time() - began
        slower = max(before, _yardstick()) / YARDSTICK_S
    finally:
        gc.enable()
    return spent / max(slower, 1.0)


def _yardstick() -> float:
    """Seconds for a little of what Python code does: calls, texts and tables."""
    began = time.thread_time()
    found: dict[str, int] = {}
    for number in range(6_000):
        word = f"{number % 97}:{number}".upper()
        found[word] = found.get(word, 0) + len(word.split(":"))
    return time.thread_time() - began
