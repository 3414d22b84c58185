"""The recordings that ship with Pennyweight, so that a demo needs no key, no network and nobody's prompts."""

from __future__ import annotations

from importlib.resources import as_file, files

import msgspec

from ..capture.format import Recorded
from .readers import read

__all__ = ["DemoSession", "demo_session", "demo_sessions"]


class DemoSession(msgspec.Struct, frozen=True):
    """A redacted recording. `name`: how the ledger calls it; `about`: what there is to see."""

    name: str
    about: str
    calls: tuple[Recorded, ...]


def demo_sessions() -> list[DemoSession]:
    """An SDK that sets no cache marks, an agent that is woken between its user's messages, one that is healthy."""
    return [DemoSession(name, about, tuple(_read(file))) for name, about, file in _SESSIONS]


def demo_session() -> list[Recorded]:
    """The healthy one: an OpenClaw coding session, 21 calls."""
    return _read("openclaw_debug20.jsonl.gz")


_SESSIONS = (
    ("unmarked", "a coding loop on the Anthropic SDK, which marks nothing for the cache", "anthropic_sdk_debug20"),
    ("heartbeat", "an OpenClaw assistant whose heartbeats wake it with another prompt", "openclaw_heartbeat"),
    ("healthy", "an OpenClaw coding session that caches well", "openclaw_debug20"),
)


def _read(name: str) -> list[Recorded]:
    with as_file(files(__package__) / "data" / f"{name.removesuffix('.jsonl.gz')}.jsonl.gz") as path:
        return read(path)
