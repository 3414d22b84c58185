"""What is known of local servers and their models at this moment. One `Machine` writes it."""

from __future__ import annotations

import msgspec

from ...routing.resources import Key
from .asking import Asker
from .figures import Figures
from .servers import Seen, Server

__all__ = ["Place", "State"]


class Place(msgspec.Struct):
    """One provider with local models, and how it answered last."""

    name: str
    ask: Asker
    ollama: bool = False
    slots: int | None = None  # calls it is sent at once
    server: Server | None = None  # None: not yet asked, or of a kind that we do not know
    asked: bool = False
    silent: bool = False
    complete: bool = False
    ask_at: float = float("-inf")  # monotonic, not before


class State(msgspec.Struct):
    """One model."""

    key: Key
    seen: Seen
    size_bytes: int | None = None
    known: str = ""  # how the size is known: set, told, process, file, parameters
    running: int = 0
    used_at: float = float("-inf")
    changed_at: float = float("-inf")  # monotonic: a call has shown that it is loaded, or it was unloaded
    leaving: bool = False  # it is being unloaded
    stuck_until: float = float("-inf")  # monotonic: its server did not unload it, and is not asked again before
    figures: Figures = Figures()

    @property
    def loaded(self) -> bool:
        """Whether memory is taken by it, or will be in a moment."""
        return self.seen.loaded or self.running > 0
