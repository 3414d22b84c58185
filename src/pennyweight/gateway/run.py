"""Running the gateway: build an App, listen, swap in a new App for a changed configuration, drain when told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..app import App, Watcher, build
from ..config import Config
from ..errors import BadRequest, ConfigError, HeadersTooLarge, RequestError, RequestTimeout, StoreError, TooLarge
from ..front.auth import Gate, refuse_bind
from ..front.endpoints import wire_of
from ..front.front import Front
from ..front.http import HttpRequest, HttpResponse
from ..wire import codec
from .memory import HUGE_BYTES, LARGE_BYTES, give_back, stock_up
from .metrics import Metrics
from .pages import Pages
from .server import Limits, Server

if TYPE_CHECKING:
    from .traces import Traces

__all__ = ["Gateway", "open_gateway", "run"]

log = logging.getLogger(__name__)

Load = Callable[[], Config]

_UNREAD: Mapping[int, type[RequestError]] = {
    error.status: error for error in (BadRequest, RequestTimeout, TooLarge, HeadersTooLarge)
}


class _Generation:
    """One App with its front, and how many of its answers are still being sent."""

    def __init__(self, app: App, front: Front, stack: AsyncExitStack) -> None:
        self.app = app
        self.front = front
        self.stack = stack
        self.active = 0
        self._left: asyncio.Event | None = None  # made when somebody waits for the last answer

    def leave(self) -> None:
        self.active -= 1
        if self._left is not None and self.active == 0:
            self._left.set()

    async def idle(self) -> None:
        """Wait until no answer is being sent."""
        while self.active:
            self._left = asyncio.Event()
            await self._left.wait()


class Gateway:
    """A listening server over the current App. Made by `open_gateway`."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._metrics = Metrics()
        self._now: _Generation | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self._gives_back: asyncio.TimerHandle | None = None
        self._stocks_up: asyncio.TimerHandle | None = None
        self.gives_back = False  # memory to the system, after huge bodies: for a process that does nothing else
        self.port = 0

    @property
    def app(self) -> App:
        assert self._now is not None
        return self._now.app

    @property
    def url(self) -> str:
        host = self.app.config.server.host
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self.port}"

    async def start(self) -> None:
        """Raises ConfigError, StoreError, or OSError when the address is taken."""
        config = self._load()
        self._now = await self._generation(config)
        refuse_bind(config.server.host, keys_exist=self._now.app.keys.any())
        limits = Limits(
            max_body_bytes=config.server.max_body_bytes,
            max_header_bytes=config.server.max_header_bytes,
            read_timeout_s=config.server.body_timeout_s,
            idle_timeout_s=config.server.idle_timeout_s,
            max_connections=config.server.max_connections,
            request_timeout_s=config.server.request_timeout_s,
        )
        self._server = Server(self.respond, self._refuse, limits=limits, known=self._now.front.repeated)
        self.port = await self._server.start(config.server.host, config.server.port)

    def cut(self) -> None:
        """Do not wait for the streams that a stop is draining."""
        if self._server is not None:
            self._server.cut()

    async def stop(self) -> None:
        for timer in (self._gives_back, self._stocks_up):
            if timer is not None:
                timer.cancel()
        if self._server is not None:
            await self._server.stop(drain_s=self.app.config.server.drain_s)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._now is not None:
            await self._now.stack.aclose()

    def respond(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        generation = self._now
        assert generation is not None
        generation.active += 1
        if self.gives_back and len(request.body) >= LARGE_BYTES:
            return generation.front.respond(request, partial(self._left_large, generation, len(request.body)))
        return generation.front.respond(request, generation.leave)

    def _left_large(self, generation: _Generation, size_bytes: int) -> None:
        generation.leave()
        loop = asyncio.get_running_loop()
        if size_bytes >= HUGE_BYTES:
            if self._gives_back is not None:
                self._gives_back.cancel()
            self._gives_back = loop.call_later(_SETTLED_S, give_back)
            return
        if self._stocks_up is not None:
            self._stocks_up.cancel()
        self._stocks_up = loop.call_later(_QUIET_S, stock_up, 2 * size_bytes)

    def _refuse(self, request: HttpRequest, status: int, kind: str, message: str) -> HttpResponse:
        """What could not even be read. The calls behind other refusals of the server leave their own receipts."""
        unread = _UNREAD.get(status)
        if unread is not None and self._now is not None:
            return self._now.front.refused(request, unread(message))
        body = codec(wire_of(request.path)).error(status, kind, message)
        return HttpResponse(status, (("content-type", "application/json"),), body)

    async def reload(self) -> bool:
        """Swap in an App built from the configuration as it is now; an invalid one changes nothing."""
        try:
            fresh = await self._generation(self._load())
        except (ConfigError, StoreError) as error:
            log.error("configuration not taken: %s", error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, what runs goes on
            log.error("configuration not taken: %s", type(error).__name__)
            return False
        old, self._now = self._now, fresh
        assert old is not None
        if self._server is not None:
            self._server.known = fresh.front.repeated
        if (old.app.config.server.host, old.app.config.server.port) != (
            fresh.app.config.server.host,
            fresh.app.config.server.port,
        ):
            log.warning("the new address is taken at the next start")
        task = asyncio.create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        log.info("configuration taken")
        return True

    async def _retire(self, old: _Generation) -> None:
        try:
            await old.idle()
        finally:
            await old.stack.aclose()

    async def _generation(self, config: Config) -> _Generation:
        stack = AsyncExitStack()
        try:
            watchers: list[Watcher] = []
            if config.otel.enabled:
                watchers.append(
                    (await stack.enter_async_context(_traces(config))).watch
                )  # ends after the App's last calls
            app = await stack.enter_async_context(build(config))
            app.watchers.extend(watchers)
            app.batch_watchers.append(lambda receipts, _outcomes: self._metrics.watch(receipts))
            await app.lanes.start()
            gate = Gate(config, app.keys)
            front = Front(app, gate, Pages(app, gate, self._metrics).find)
        except BaseException:
            await stack.aclose()
            raise
        return _Generation(app, front, stack)


def _traces(config: Config) -> AbstractAsyncContextManager[Traces]:
    """Raises ConfigError when OpenTelemetry is not installed."""
    try:
        from .traces import open_traces
    except ImportError as error:
        raise ConfigError(
            f"otel.enabled needs OpenTelemetry ({error.name} is missing). Run: pip install 'pennyweight[otel]'"
        ) from None
    return open_traces(config.otel)


@asynccontextmanager
async def open_gateway(load: Load) -> AsyncIterator[Gateway]:
    """A gateway that listens, until the block ends."""
    gateway = Gateway(load)
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


async def run(load: Load, *, ready: Callable[[Gateway], None], watch: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a second one cuts the streams that the first lets end. SIGHUP or a changed
    `watch` file swaps in a new App."""
    stop, changed = asyncio.Event(), asyncio.Event()
    running: list[Gateway] = []

    def end() -> None:
        if stop.is_set():
            for gateway in running:
                gateway.cut()
        stop.set()

    loop = asyncio.get_running_loop()
    for name, act in (("SIGTERM", end), ("SIGINT", end), ("SIGHUP", changed.set)):
        if hasattr(signal, name):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(getattr(signal, name), act)
    async with open_gateway(load) as gateway, asyncio.TaskGroup() as tasks:
        running.append(gateway)
        collect_seldom()
        gateway.gives_back = True
        ready(gateway)
        reloading = tasks.create_task(_reload_on(gateway, changed))
        watching = tasks.create_task(_watch(watch, changed))
        await stop.wait()
        reloading.cancel()
        watching.cancel()


def collect_seldom() -> None:
    """Spare the garbage collector what can be no garbage: all that was made at the start, and calls that wait to be
    written. Finished calls are kept for a tenth of a second, and it went over them again and again, a twentieth of all
    work. For a process that does nothing else: a program that embeds a gateway keeps its own settings.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)


_SETTLED_S = 1.0  # after an answer, when its call is settled and its body is freed
_QUIET_S = 0.2  # after the last large answer: a model takes longer to the next one, and under load memory is used again
_NEW_OBJECTS = 10_000  # some 300 waiting calls; looked over in about a millisecond


async def _reload_on(gateway: Gateway, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        if await gateway.reload():
            gc.unfreeze()  # what the App before was made of is garbage soon


async def _watch(path: Path | None, changed: asyncio.Event, every_s: float = 1.0) -> None:
    """Sets `changed` when the file does. A look a second is enough, and needs no library."""
    if path is None:
        return
    seen = _stamp(path)
    while True:
        await asyncio.sleep(every_s)
        now = _stamp(path)
        if now != seen:
            seen = now
            changed.set()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
