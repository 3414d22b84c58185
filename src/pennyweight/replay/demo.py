"""The recording that ships with Pennyweight, so that a demo needs no key, no network and nobody's prompts."""

from __future__ import annotations

from importlib.resources import as_file, files

from ..capture.format import Recorded
from .readers import read

__all__ = ["demo_session"]


def demo_session() -> list[Recorded]:
    """One redacted OpenClaw coding session, 21 calls."""
    with as_file(files(__package__) / "data" / "openclaw_debug20.jsonl.gz") as path:
        return read(path)
