"""Where cached functions keep their results: the stores that a configuration names, on a loop in a thread of its own.

Functions call from any thread and any event loop; what is slow happens over there. Nothing is opened before the first
call, and a store that is down makes a miss, never an error.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..clock import SystemClock
from ..config import Config, find, load
from ..errors import ConfigError, StoreError
from ..ledger.functions import FunctionDelta, write_functions
from ..protocols import KV, Clock, Lease, Leases
from ..stores.assembly import Servers, open_tiers
from ..stores.database import FILE, Database
from ..stores.tiered import Tiered

if TYPE_CHECKING:
    from .core import Core

__all__ = ["Cache"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_FLUSH_S = 1.0  # how often counts go to the ledger
_CONNECT_S = 1.0
_UNSAVED = 10_000  # counts held while the ledger is down
_LEASE_S = 15.0  # for a result to be made by one replica; renewed while it is


class Cache:
    """Where functions cached with `cache=` share their stores, and whose results they are.

    config: as for `pennyweight.open`: None for the configuration that `pennyweight serve` would find, a path to a TOML
    file, or a Config; results are kept in its stores and counted in its ledger. tenant: whose results, or a function
    that tells at each call (`some_context_variable.get`). kv, leases: stores of your own in place of configured ones.
    `close` writes what is counted; at the end of the program that happens by itself.
    """

    def __init__(
        self,
        config: str | Path | Config | None = None,
        *,
        tenant: str | Callable[[], str] = "local",
        kv: KV | None = None,
        leases: Leases | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._tenant = tenant
        self._kv = kv
        self._leases = leases
        self.clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._thread: _Thread | None = None
        self._cores: list[Core[Any]] = []

    def tenant(self) -> str:
        """Whose call it is. Raises ConfigError for what is no name."""
        tenant = self._tenant if isinstance(self._tenant, str) else self._tenant()
        if not isinstance(tenant, str) or not tenant:
            raise ConfigError(f"A tenant must be a text that is not empty, not {tenant!r}.")
        return tenant

    def close(self) -> None:
        """Write what is counted, and close the stores. A later call opens them again. Safe to call again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.pid == os.getpid():
            thread.close()
        atexit.unregister(self._at_exit)

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- for cached functions -------------------------------------------------------------------------------

    def adopt(self, core: Core[Any]) -> None:
        """Count what happens to that function."""
        with self._lock:
            self._cores.append(core)

    def submit(self, work: Callable[[Stores], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run it where the stores are. Raises ConfigError, StoreError for stores that cannot be opened at all."""
        return self._started().submit(work)

    def run(self, work: Callable[[Stores], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, for callers that are not async."""
        return self.submit(work).result()

    def _started(self) -> _Thread:
        thread = self._thread
        if thread is not None and thread.pid == os.getpid():
            return thread
        with self._lock:
            if self._thread is None or self._thread.pid != os.getpid():  # a fork has no thread of ours
                self._thread = _Thread(self._open, self._deltas)
                atexit.register(self._at_exit)
            return self._thread

    async def _open(self, stack: AsyncExitStack) -> Stores:
        if self._kv is not None:
            return Stores(self._kv, self._leases, None)
        config = self._config
        if not isinstance(config, Config):
            config = load(Path(config) if config is not None else find(os.environ), os.environ)
        database = Database(config.data_dir / FILE)
        stack.push_async_callback(database.close)
        # Without the memory tier: functions have a memory of their own, which asks every few seconds what others did.
        below = tuple(name for name in config.cache.tiers if name != "memory")
        settings = msgspec.structs.replace(config.cache, tiers=below or config.cache.tiers)
        servers = Servers(settings)
        stack.push_async_callback(servers.close)
        key = "" if config.cache_key is None else config.cache_key.reveal()
        tiers = open_tiers(
            settings, key=key, data_dir=config.data_dir, database=database, servers=servers, clock=self.clock
        )
        stack.push_async_callback(tiers.close)
        tiers.kv.start()
        await _connected(tiers.kv)
        leases = self._leases or (tiers.leases if tiers.shared else None)
        return Stores(tiers.kv, leases, database, flush=tiers.kv.flush)

    def _deltas(self) -> list[FunctionDelta]:
        with self._lock:
            cores = list(self._cores)
        now = self.clock.now()
        return [delta for core in cores for delta in core.take_deltas(now)]

    def _at_exit(self) -> None:
        """Executors are gone by then, so the last counts are written straight."""
        thread = self._thread
        if thread is None or thread.pid != os.getpid() or thread.stores is None or thread.stores.database is None:
            return
        deltas = thread.unsaved + self._deltas()
        if deltas:
            path = thread.stores.database.path
            with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1)) as connection, connection:
                write_functions(connection, deltas)


class Begun(msgspec.Struct, frozen=True):
    """What the store had, what it let us do, and whether it could be asked."""

    data: bytes | None = None
    lease: Lease | None = None
    answered: bool = True


class Stores:
    """What is open, on its loop. Nothing here raises but for a bug: what fails is a miss and a warning."""

    def __init__(
        self,
        kv: KV,
        leases: Leases | None,
        database: Database | None,
        *,
        flush: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.kv = kv
        self._flush = flush  # until others can read what was put
        self.leases = leases
        self.database = database

    async def begin(self, key: str, usable: Callable[[bytes], bool], wait_s: float) -> Begun:
        """What is stored, if that is usable; otherwise the right to make it, renewed until `finish`.

        While another replica makes it, this waits for that up to `wait_s`. Without leases, or when they fail, it may be
        made twice.
        """
        try:
            data = await self.kv.get(key)
        except StoreError as error:
            _warn("read", error)
            return Begun(answered=False)
        if data is not None and usable(data):
            return Begun(data)
        if self.leases is None:
            return Begun()
        try:
            lease = await self.leases.acquire(key, ttl_s=_LEASE_S)
            if lease is None:
                await self.leases.wait(key, timeout_s=wait_s)
                data = await self.kv.get(key)
                return Begun(data if data is not None and usable(data) else None)
        except StoreError as error:
            _warn("lease", error)
            return Begun()
        return Begun(lease=_Renewed(lease))

    async def finish(self, key: str, sealed: bytes | None, ttl_s: float | None, lease: Lease | None) -> None:
        """Store the result, if there is one, and give up the right to make it."""
        try:
            if sealed is not None:
                await self.kv.put(key, sealed, ttl_s=ttl_s)
                if self._flush is not None:
                    await self._flush()
        except (StoreError, ValueError) as error:
            _warn("write", error)
        finally:
            if lease is not None:
                await lease.release()

    async def drop(self, prefix: str) -> int:
        """Raises StoreError: who invalidates must know that it did not happen."""
        return await self.kv.delete(prefix)


class _Renewed:
    """A lease that is renewed until it is released, or lost."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def renew(self) -> bool:
        return await self._lease.renew()

    async def release(self, word: bytes = b"") -> None:
        self._renewing.cancel()
        await self._lease.release(word)

    async def _renew(self) -> None:
        with suppress(StoreError):
            while True:
                await asyncio.sleep(_LEASE_S / 3)
                if not await self._lease.renew():
                    return


class _Thread:
    """A loop in a thread, with stores that are opened before the first piece of work and closed after the last."""

    def __init__(
        self, open: Callable[[AsyncExitStack], Coroutine[Any, Any, Stores]], deltas: Callable[[], list[FunctionDelta]]
    ) -> None:
        self.pid = os.getpid()
        self.stores: Stores | None = None
        self.unsaved: list[FunctionDelta] = []
        self._open = open
        self._deltas = deltas
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._ready: Future[Stores] = Future()
        self._thread = threading.Thread(target=self._main, name="pennyweight-functions", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Stores], Coroutine[Any, Any, T]]) -> Future[T]:
        """Raises what opening raised."""
        return asyncio.run_coroutine_threadsafe(work(self._ready.result()), self._loop)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
            self._thread.join()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._own())
        finally:
            self._loop.close()

    async def _own(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                self.stores = await self._open(stack)
            except Exception as error:  # noqa: BLE001 - told to whoever asks
                self._ready.set_exception(error)
                return
            self._ready.set_result(self.stores)
            while not self._leave.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH_S):
                        await self._leave.wait()
                await self._flush(self.stores)

    async def _flush(self, stores: Stores) -> None:
        if stores.database is None:
            return
        self.unsaved = (self.unsaved + self._deltas())[-_UNSAVED:]
        deltas = self.unsaved
        if deltas:
            try:
                await stores.database.write(lambda connection: write_functions(connection, deltas))
                self.unsaved = []
            except StoreError as error:
                _warn("count", error)


async def _connected(kv: Tiered) -> None:
    """Wait a moment until servers are connected to: the first call's result may be there. Not for one that is down."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CONNECT_S):
            while any(tier.down for tier in kv.stats()):  # noqa: ASYNC110 - a tier wakes nobody when it is well
                await asyncio.sleep(0.005)


def _warn(what: str, error: Exception) -> None:
    log.warning("the store of cached functions failed", extra={"doing": what, "detail": str(error)})
