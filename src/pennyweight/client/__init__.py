"""Pennyweight inside your own process: `AsyncClient`, `Client`, and `wrap` for a provider's own SDK. No socket.

All three go through the same App as the gateway does: optimizers, budgets, receipts. See docs/library.md.
"""

from __future__ import annotations

from .calls import Answer, AsyncClient, Client, Events, SyncEvents
from .choosing import feedback, select
from .inprocess import Body, Entrance, Source, open
from .sdk import wrap

__all__ = [
    "Answer",
    "AsyncClient",
    "Body",
    "Client",
    "Entrance",
    "Events",
    "Source",
    "SyncEvents",
    "feedback",
    "open",
    "select",
    "wrap",
]
