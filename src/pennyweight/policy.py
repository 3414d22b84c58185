"""Flags: who an optimizer works for, and whether it acts, only watches, or is off. Data, not code paths."""

from __future__ import annotations

import zlib
from typing import Literal

import msgspec

__all__ = ["Flag", "Level", "Mode"]

Mode = Literal["off", "shadow", "on"]
Level = Literal["safe", "max"]


class Flag(msgspec.Struct, frozen=True):
    """`share` in [0, 1] of tenants gets `mode`; the others are the holdout and get "off"."""

    mode: Mode = "on"
    share: float = 1.0
    level: Level | None = None  # what the operator takes its proposals for; None: as each says

    def mode_for(self, tenant: str, call_id: str) -> Mode:
        """The mode for this call. The same tenant always falls on the same side."""
        if self.share >= 1.0 or self.mode == "off":
            return self.mode
        return self.mode if zlib.crc32(tenant.encode()) < self.share * 2**32 else "off"
