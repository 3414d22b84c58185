"""Hours, days and months in a time zone: when the one began that a moment is in, and when it ends.

Pure. Every moment is in exactly one window, also where clocks are changed: a day has 23, 24 or 25 hours then, one that
begins at a midnight that there is not begins when the clocks were set, and a date that was skipped has no moment.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from ...errors import ConfigError

__all__ = ["Per", "Window", "window", "zone"]

Per = Literal["hour", "day", "month"]

_HOUR_S = 3_600


class Window(msgspec.Struct, frozen=True):
    """From `begins` (inclusive) to `ends` (exclusive), unix seconds."""

    begins: float
    ends: float

    def holds(self, at: float) -> bool:
        return self.begins <= at < self.ends


def window(per: Per, at: float, where: tzinfo) -> Window:
    """The window of that moment, unix seconds."""
    now = datetime.fromtimestamp(at, UTC).astimezone(where)
    if per == "hour":
        # By the offset of the moment: where clocks go back by half an hour, the hour begins anew.
        offset = now.utcoffset() or timedelta()
        second = math.floor(at)
        begins = second - (second + int(offset.total_seconds())) % _HOUR_S
        return Window(float(begins), float(begins + _HOUR_S))
    today = now.date()
    if per == "day":
        around = [today + timedelta(days=days) for days in (-1, 0, 1, 2)]
    else:
        around = [_month(today, months) for months in (-1, 0, 1, 2)]
    # By when dates begin, not by the date that a clock shows: one that is set back over midnight shows yesterday's.
    starts = [_start(day, where) for day in around]
    return Window(max(s for s in starts if s <= at), min(s for s in starts if s > at))


def zone(name: str) -> tzinfo:
    """Raises ConfigError for a name that is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not known, no name at all, a folder of names
        raise ConfigError(
            f"The time zone {name!r} is not known. Use a name such as Europe/Berlin or UTC; on a system without time "
            "zones install the package tzdata."
        ) from None


def _start(day: date, where: tzinfo) -> float:
    """The first moment of a date. Of a midnight that comes twice the first, and one that there is not is the moment at
    which clocks were set (fold=0: by the offset before)."""
    return datetime(day.year, day.month, day.day, tzinfo=where).timestamp()


def _month(day: date, months: int) -> date:
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)
