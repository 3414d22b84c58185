"""Tells people that a budget is nearly spent: a line in the log, a webhook, a program of the operator's.

An alert says whose budget and how much of it, never a word of a prompt. What cannot be told is counted and logged; no
call waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ...errors import PennyweightError
from ...protocols import Clock
from ..transport import Transport, origin
from .settings import Alerting
from .state import Event

__all__ = ["Alerts"]

log = logging.getLogger(__name__)

_KEPT = 200
_AT_ONCE = 8


class Alerts:
    """Owns the tasks that tell; `aclose` gives them a moment. `events`: the newest, for the pages."""

    def __init__(self, settings: Alerting, clock: Clock, *, transport: Transport | None) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport
        self._times: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.events: deque[Event] = deque(maxlen=_KEPT)
        self.dropped = self.failed = 0

    def tell(self, event: Event) -> None:
        """Never raises, never waits."""
        self.events.append(event)
        now = self._clock.monotonic()
        while self._times and self._times[0] <= now - 60:
            self._times.popleft()
        if len(self._times) >= self._settings.per_minute:
            self.dropped += 1
            return
        self._times.append(now)
        if self._settings.stderr:
            log.warning("budget: %s", event.text, extra={"budget": event.budget, "level": event.level})
        if self._settings.webhook and self._transport is not None:
            self._begin(self._post(self._transport, self._settings.webhook, event))
        if self._settings.command:
            self._begin(self._run(event))

    async def aclose(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        for task in tuple(self._tasks):
            task.cancel()
        if self._transport is not None:
            await self._transport.aclose()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= _AT_ONCE:
            self.dropped += 1
            work.close()
            return
        task = asyncio.ensure_future(self._bounded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await work
        except (PennyweightError, OSError, TimeoutError, ValueError) as error:
            self.failed += 1
            log.warning("an alert could not be delivered", extra={"error": type(error).__name__})

    async def _post(self, transport: Transport, url: str, event: Event) -> None:
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        body = msgspec.json.encode({"text": event.text, **msgspec.to_builtins(event)})
        where = origin(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        headers = (("content-type", "application/json"), ("user-agent", "pennyweight"))
        opened = await transport.send(where, "POST", path, headers, body)
        if opened.close is not None:
            await opened.close()
        if not 200 <= opened.status < 300:
            raise OSError(f"The webhook answered {opened.status}.")

    async def _run(self, event: Event) -> None:
        """The program gets the alert on its input, and no shell reads any of it."""
        process = await asyncio.create_subprocess_exec(
            *self._settings.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await process.communicate(msgspec.json.encode(event) + b"\n")
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        if process.returncode:
            raise OSError(f"The alert command ended with {process.returncode}.")
