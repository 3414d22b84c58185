"""The embedders of an App, opened when somebody first asks, or the reason why there are none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ...errors import PennyweightError
from ...protocols import Clock, Embedder
from . import Settings, open_embedder
from .folder import absent
from .remembered import Remembered

if TYPE_CHECKING:
    from .static import Static

__all__ = ["Embeddings"]

log = logging.getLogger(__name__)

RETRY_S = 30.0  # before a model that was not there is looked for again

T = TypeVar("T")


class Embeddings:
    """Two embedders: the one that decides, and a static table that finds candidates in 0.05 ms.

    Making one loads no library. The first call of `embedder` or `retriever` opens a model in a thread; a caller whose
    time is up leaves it to finish for the next one.
    """

    def __init__(
        self, settings: Settings, folder: Path, *, clock: Clock, remote: Callable[[], Embedder] | None = None
    ) -> None:
        """folder: of the local model. remote: makes the embedder where settings.kind is not of this machine."""
        self.settings = settings
        self.folder = folder
        self._remote = remote
        self._remembered: Remembered | None = None
        self._main = _Opening(self._open, clock)
        self._static = _Opening(self._open_static, clock)

    async def embedder(self) -> Remembered | None:
        """The embedder that decides; None when there is none: `reason` says why."""
        return await self._main.get()

    async def retriever(self) -> Static | None:
        """The static table; None when there is none."""
        return await self._static.get()

    def reason(self) -> str | None:
        """Why there is no embedder, with the remedy; None when nothing is known to stand in the way.

        Looks at the folder, opens nothing.
        """
        if self._main.made is not None:
            return None
        return self._main.reason or (absent(self.folder) if self._remote is None else None)

    async def close(self) -> None:
        for opening in (self._main, self._static):
            made = await opening.stop()
            if isinstance(made, Remembered):
                await made.close()
            elif made is not None:
                made.close()

    def _open(self) -> Remembered:
        if self.settings.kind == "openai" or self.settings.kind == "ollama":
            if self._remote is None:
                raise ValueError("an embedder elsewhere needs to be told how it is reached")
            inner = self._remote()
        else:
            inner = open_embedder(self.folder, self.settings.kind)
        return Remembered(inner, count=self.settings.remembered)

    def _open_static(self) -> Static:
        made = open_embedder(self.folder, "static")
        from .static import Static

        if not isinstance(made, Static):
            raise TypeError(f"{type(made).__name__} is no static table")
        return made


class _Opening(Generic[T]):
    """Something that takes a while to open: once, in a thread, and again some time after it failed."""

    def __init__(self, open: Callable[[], T], clock: Clock) -> None:
        self.made: T | None = None
        self.reason: str | None = None
        self._open = open
        self._clock = clock
        self._task: asyncio.Task[T | None] | None = None
        self._failed_at = float("-inf")

    async def get(self) -> T | None:
        if self.made is not None:
            return self.made
        if self._task is None:
            if self._clock.monotonic() - self._failed_at < RETRY_S:
                return None
            self._task = asyncio.create_task(self._opened())
        return await asyncio.shield(self._task)

    async def stop(self) -> T | None:
        """What was opened, if anything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return self.made

    async def _opened(self) -> T | None:
        try:
            self.made = await asyncio.to_thread(self._open)
            self.reason = None
        except PennyweightError as error:
            self._failed_at = self._clock.monotonic()
            if self.reason != error.message:
                log.warning("there is no embedder: %s", error.message)
            self.reason = error.message
        finally:
            self._task = None
        return self.made
