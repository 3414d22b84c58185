"""Pennyweight's own captures (see `pennyweight.capture.format`)."""

from __future__ import annotations

from typing import Any

import msgspec

from ..capture.format import Recorded, apply_delta
from ..request import Usage, Wire
from .rows import RowError, Rows

__all__ = ["fits", "load"]


def fits(rows: Rows) -> bool:
    return "pennyweight_capture" in rows[0][1]


def load(rows: Rows, name: str) -> list[Recorded]:
    """The calls. Raises RowError."""
    calls: list[Recorded] = []
    for line, row in rows:
        if row.get("pennyweight_capture") != 1:
            raise RowError(line, f"Capture version {row.get('pennyweight_capture')!r}, this reads 1")
        try:
            calls.append(_call(row, calls))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise RowError(line, f"A capture line that does not fit: {type(error).__name__} {error}") from None
    return calls


def _call(row: dict[str, Any], before: list[Recorded]) -> Recorded:
    body = apply_delta(before[row["base"]].body, row["delta"]) if "delta" in row else row["body"]
    return Recorded(
        session=row["session"],
        wire=Wire(row["wire"]),
        body=body,
        t=row.get("t", 0.0),
        at=row.get("at", 0.0),
        path=row.get("path", ""),
        headers=row.get("headers", {}),
        status=row.get("status", 200),
        answer=row.get("answer"),
        usage=msgspec.convert(row["usage"], Usage) if row.get("usage") else None,
    )
