"""What all readers share: the rows of a file, and how a row is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

__all__ = ["RowError", "Rows", "seconds"]

Rows = Sequence[tuple[int, dict[str, Any]]]
"""Line numbers (from 1) and the JSON objects on them."""


class RowError(ValueError):
    """A row that does not fit its format; `line` is its number in the file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def seconds(stamp: Any) -> float:
    """Unix seconds of an ISO time, or of unix milliseconds; 0.0 where it is neither."""
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        return stamp / 1_000 if stamp > 1e11 else float(stamp)
    if not isinstance(stamp, str):
        return 0.0
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0
