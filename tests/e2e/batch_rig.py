"""A provider of batches in a thread, and the real gateway in front of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.rig import Answered, Process

from pennyweight.testing.batches import BatchProvider

CONFIG = """
[lanes]
marked = true
batch = ["openai", "anthropic"]
window_s = 0.2
poll_s = 0.05
most_poll_s = 0.1
margin_s = 1.0
"""
MARK = {"x-pennyweight-lane": "background"}


class Threaded:
    """The provider's own loop, in a thread."""

    def __init__(self, takes_s: float) -> None:
        self.provider = BatchProvider(takes_s=takes_s)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BatchProvider:
        self._thread.start()
        assert self._ready.wait(10)
        return self.provider

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(60)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with self.provider:
            self._ready.set()
            await self._done.wait()


@contextmanager
def gateway(folder: Path, provider: BatchProvider, config: str = CONFIG, *, secret: str = "") -> Iterator[Process]:
    env = {
        "PENNYWEIGHT_WEBHOOK_SECRET": secret,
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "OPENAI_API_KEY": "sk-gateway-openai",
        "ANTHROPIC_BASE_URL": provider.url,
        "ANTHROPIC_API_KEY": "sk-gateway-anthropic",
    }
    with Process(folder, env, config=config) as process:
        yield process


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **fields}


def messages(text: str, **fields: Any) -> dict[str, Any]:
    body = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    return {**body, **fields}


class Asking(threading.Thread):
    """One call in a thread of its own: batches are waited for."""

    def __init__(
        self, process: Process, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: process.ask(path, body, {**MARK, **(headers or {})})
        self.answered: Answered | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answered = self._ask()
        except OSError:
            self.answered = None  # the gateway was killed

    def result(self) -> Answered:
        self.join(90)
        assert self.answered is not None
        return self.answered


def until(told: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)
