"""Transports of connections that no network is behind."""

from __future__ import annotations

import asyncio


class Wire(asyncio.Transport):
    """A transport that keeps nothing of what is written."""

    over = False

    def write(self, data: object) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool:
        return self.over

    def close(self) -> None:
        self.over = True

    abort = close
