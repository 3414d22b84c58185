"""Ids of calls."""

from __future__ import annotations

from random import getrandbits

__all__ = ["call_id"]


def call_id(now: float) -> str:
    """Ids sort by time, so that the ledger's index grows at its end. now: unix seconds."""
    return f"call_{int(now * 1000):011x}{getrandbits(64):016x}"
