"""A real gateway with demo traffic in a thread of its own, and what a page in Chromium did that it should not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Page

from pennyweight.call import Receipt
from pennyweight.capture.format import PATHS
from pennyweight.config import load
from pennyweight.gateway.run import Gateway, open_gateway
from pennyweight.hits import Audit
from pennyweight.replay.demo import demo_session
from pennyweight.testing.http import post
from pennyweight.testing.provider import ReplayProvider, provider_keys
from pennyweight.text.tokenizers import BpeTokenizer

T = TypeVar("T")

_KEPT: dict[str, Any] = {"temperature": 0, "tools": []}
NASTY = "<img src=x onerror=alert(1)>"


class Rig:
    """`with Rig(folder) as rig`: the gateway is at `rig.url`; `rig.play()` sends a call, or all of the demo's."""

    def __init__(self, folder: Path, *, config: str = "", data: Path | None = None) -> None:
        self.data = data or folder / "data"
        self._config = folder / "pennyweight.toml"
        self._config.write_text(config)
        self._calls = [call for call in demo_session() if call.answer is not None]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self.gateway: Gateway

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *exc: object) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return self.gateway.url

    @property
    def first(self) -> dict[str, Any]:
        """The body of the demo's first call."""
        return dict(self._calls[0].body)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(60)

    def play(self, count: int | None = None, **changes: Any) -> str:
        """Send calls of the demo session, with their bodies changed; the id of the last."""
        return self.run(self._play(count, changes))

    def play_kept(self) -> str:
        """Send the demo's last call as one whose answer is kept: without tools, at temperature 0."""
        return self.run(self._play(None, _KEPT, since=-1))

    def write(self, *receipts: Receipt) -> None:
        """Put receipts into the ledger that is being shown."""
        self.run(self.gateway.app.ledger.append(receipts))

    def audited(self, audit: Audit) -> None:
        """Report an audit, as a cache does."""
        self._loop.call_soon_threadsafe(self.gateway.app.hits.audited, audit)

    def kept(self) -> int:
        """Answers that caches keep."""
        return len(self.run(self.gateway.app.kv.keys("exact/", limit=100)))

    async def _start(self) -> None:
        answers = [(call.wire, call.body, call.answer) for call in self._calls if call.answer is not None]
        last = self._calls[-1]
        answers += [(last.wire, {**last.body, **_KEPT}, last.answer or {})]
        provider = await self._stack.enter_async_context(
            ReplayProvider(answers, count=BpeTokenizer().count, cost=lambda *_: None)
        )
        config = load(self._config, provider_keys(provider.url), {"port": 0, "data_dir": self.data})
        self.gateway = await self._stack.enter_async_context(open_gateway(lambda: config))

    async def _play(self, count: int | None, changes: dict[str, Any], since: int = 0) -> str:
        call_id = ""
        for call in self._calls[since:count]:
            body = msgspec.json.encode({**call.body, **changes})
            status, headers, answer = await post(self.url, call.path or PATHS[call.wire], call.headers, body)
            assert status == 200, answer
            call_id = headers["x-pennyweight-call"]
        await self.gateway.app.clerk.flush()
        return call_id


class Watch:
    """What went wrong on a page: script errors, console errors, and requests to anybody but the gateway."""

    def __init__(self, page: Page, url: str) -> None:
        self.faults: list[str] = []
        host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on(
            "request",
            lambda request: self.faults.append(request.url) if urlsplit(request.url).netloc != host else None,
        )
