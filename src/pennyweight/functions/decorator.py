"""`cached`: a function whose results are kept by its arguments. `Cached` for plain functions, `AsyncCached` for async.

What both share, and all their state, is in a `Core`; the two only differ in how they wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from .core import Core, Held
from .flights import Flight, Left
from .settings import FunctionStats, Settings
from .shelf import Begun, Cache

__all__ = ["AsyncCached", "Cached", "FunctionStats", "cached", "days", "hours", "minutes"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


def minutes(count: float) -> float:
    """So many minutes, in seconds."""
    return count * 60.0


def hours(count: float) -> float:
    """So many hours, in seconds."""
    return count * 3_600.0


def days(count: float) -> float:
    """So many days, in seconds."""
    return count * 86_400.0


class Decorator(Protocol):
    """What `cached(ttl=…)` gives."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCached[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...


@overload
def cached(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCached[P, R]: ...  # type: ignore[overload-overlap]
@overload
def cached(function: Callable[P, R], /) -> Cached[P, R]: ...
@overload
def cached(
    *,
    ttl: float | None = ...,
    stale: float = ...,
    negative_ttl: float = ...,
    key: Callable[..., object] | None = ...,
    ignore: Sequence[str] = ...,
    version: str | int | None = ...,
    cost_usd: float | Callable[[Any], float] = ...,
    memory: int = ...,
    cache: Cache | None = ...,
) -> Decorator: ...


def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float | None = days(1),
    stale: float = 0.0,
    negative_ttl: float = 0.0,
    key: Callable[..., object] | None = None,
    ignore: Sequence[str] = (),
    version: str | int | None = None,
    cost_usd: float | Callable[[Any], float] = 0.0,
    memory: int = 1_024,
    cache: Cache | None = None,
) -> Any:
    """Keep the results of a function by its arguments: `@cached` or `@cached(ttl=hours(24))`.

    ttl: seconds for which a result is served; None: until evicted. stale: seconds after that for which it is still
    served, at once, while a new one is made in the background. negative_ttl: seconds for which an exception is raised
    again without another try, in this process; 0: exceptions are never kept.
    key: a function of the same arguments, in place of all of them. ignore: names of arguments that no result depends
    on. version: tells results of this function from those of its earlier selves; None: a hash of its source does.
    cost_usd: what a run costs, or a function of the result that tells: the statistics add it up as saved. memory: how
    many results to hold in this process, beside the stores. cache: where results are kept, and whose they are; None:
    the stores of the usual configuration, for the tenant "local".

    Equal calls at once, of any threads and tasks, run the function once. Results are stored as MessagePack and come
    back as the type in the return annotation, so a caller may change what it got. What would not come back as it was is
    not stored, and a warning says why. Raises TypeError for a function that cannot be cached, and, when it is called,
    for an argument whose content cannot be told.
    """
    settings = Settings.of(ttl, stale, negative_ttl, key, ignore, version, cost_usd, memory)

    def decorate(function: Callable[..., Any]) -> Any:
        core: Core[Any] = Core(function, settings, cache or Cache())
        return AsyncCached(core) if inspect.iscoroutinefunction(function) else Cached(core)

    return decorate if function is None else decorate(function)


class Cached(Generic[P, R]):
    """A plain function with a cache before it. Calls from any threads are fine."""

    def __init__(self, core: Core[R]) -> None:
        self._core = core
        functools.update_wrapper(self, core.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        core = self._core
        key = core.key(args, kwargs)
        while True:
            held = core.look(key)
            if held is not None:
                if held.stale:
                    self._refresh(key, args, kwargs)
                return core.serve(key, held)
            flight = core.flights.join(key)
            if flight is None:  # it was called by itself, for the same result
                within: R = core.function(*args, **kwargs)
                return within
            if flight.leads:
                return self._lead(flight, key, args, kwargs)
            try:
                return core.share(key, flight.made.result())
            except Left:
                continue

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result for these arguments, for the current tenant. Raises StoreError where that fails."""
        prefix = self._core.forget(self._core.key(args, kwargs))
        self._core.cache.run(lambda stores: stores.drop(prefix))

    def invalidate_all(self) -> None:
        """Forget all results of this function, for the current tenant. Raises StoreError where that fails."""
        prefix = self._core.forget(self._core.prefix())
        self._core.cache.run(lambda stores: stores.drop(prefix))

    def stats(self, *, tenant: str | None = None) -> FunctionStats:
        """What happened in this process; None: for all tenants. The ledger has the sums of all processes."""
        return self._core.stats(tenant)

    def _lead(self, flight: Flight, key: str, args: Any, kwargs: Any, *, refresh: bool = False) -> R:
        """Find the result or make it, for all who wait for this flight."""
        core, begun = self._core, Begun()
        with flight:
            begun = core.cache.run(core.begin(key, refresh))
            held = core.found(key, begun, refresh=refresh)
            if held is not None and not (refresh and held.stale):
                flight.land(held.entry, None)
            else:
                sealed = None
                try:
                    with core.running(key) as run:
                        value: R = core.function(*args, **kwargs)
                    sealed = core.made(key, flight, value, run.took_s)
                    return value
                finally:
                    core.cache.run(core.finish(key, sealed, begun.lease))
        if held.stale:
            self._refresh(key, args, kwargs)
        return core.serve(key, held)

    def _refresh(self, key: str, args: Any, kwargs: Any) -> None:
        """Make the result anew in a thread, unless that is being done."""
        flight = self._core.flights.join(key)
        if flight is None or not flight.leads:
            return

        def work() -> None:
            try:
                self._lead(flight, key, args, kwargs, refresh=True)
            except Exception as error:  # noqa: BLE001 - the stale result goes on being served
                _not_refreshed(self._core.name, error)

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name="pennyweight-refresh", daemon=True).start()

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Cached[P, R]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> Callable[Q, R]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


class AsyncCached(Generic[P, R]):
    """An async function with a cache before it. Calls from tasks of any event loops are fine."""

    def __init__(self, core: Core[Any]) -> None:
        self._core = core
        self._refreshing: set[asyncio.Task[None]] = set()
        functools.update_wrapper(self, core.function)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        core = self._core
        key = (
            await asyncio.to_thread(core.key, args, kwargs)
            if core.reads_files(args, kwargs)
            else core.key(args, kwargs)
        )
        while True:
            held = core.look(key)
            if held is not None:
                if held.stale:
                    self._refresh(key, args, kwargs)
                return self._served(key, held)
            flight = core.flights.join(key)
            if flight is None:  # it was called by itself, for the same result
                return self._returned(await core.function(*args, **kwargs))
            if flight.leads:
                return await self._lead(flight, key, args, kwargs)
            try:
                return self._returned(core.share(key, await asyncio.shield(asyncio.wrap_future(flight.made))))
            except Left:
                continue

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result for these arguments, for the current tenant. Raises StoreError where that fails."""
        prefix = self._core.forget(self._core.key(args, kwargs))
        await asyncio.wrap_future(self._core.cache.submit(lambda stores: stores.drop(prefix)))

    async def invalidate_all(self) -> None:
        """Forget all results of this function, for the current tenant. Raises StoreError where that fails."""
        prefix = self._core.forget(self._core.prefix())
        await asyncio.wrap_future(self._core.cache.submit(lambda stores: stores.drop(prefix)))

    def stats(self, *, tenant: str | None = None) -> FunctionStats:
        """What happened in this process; None: for all tenants. The ledger has the sums of all processes."""
        return self._core.stats(tenant)

    async def _lead(self, flight: Flight, key: str, args: Any, kwargs: Any, *, refresh: bool = False) -> R:
        """Find the result or make it, for all who wait for this flight."""
        core, begun = self._core, Begun()
        with flight:
            begun = await asyncio.shield(asyncio.wrap_future(core.cache.submit(core.begin(key, refresh))))
            held = core.found(key, begun, refresh=refresh)
            if held is not None and not (refresh and held.stale):
                flight.land(held.entry, None)
            else:
                sealed = None
                try:
                    with core.running(key) as run:
                        value = self._returned(await core.function(*args, **kwargs))
                    sealed = core.made(key, flight, value, run.took_s)
                    return value
                finally:
                    stored = core.cache.submit(core.finish(key, sealed, begun.lease))
                    await asyncio.shield(asyncio.wrap_future(stored))
        if held.stale:
            self._refresh(key, args, kwargs)
        return self._served(key, held)

    def _refresh(self, key: str, args: Any, kwargs: Any) -> None:
        """Make the result anew in a task, unless that is being done."""
        flight = self._core.flights.join(key)
        if flight is None or not flight.leads:
            return

        async def work() -> None:
            try:
                await self._lead(flight, key, args, kwargs, refresh=True)
            except Exception as error:  # noqa: BLE001 - the stale result goes on being served
                _not_refreshed(self._core.name, error)

        task = asyncio.get_running_loop().create_task(work())
        self._refreshing.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._refreshing.discard)

    def _served(self, key: str, held: Held) -> R:
        return self._returned(self._core.serve(key, held))

    def _returned(self, value: Any) -> R:
        result: R = value
        return result

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> AsyncCached[P, R]: ...
    @overload
    def __get__(
        self: AsyncCached[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> Callable[Q, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


def _not_refreshed(name: str, error: Exception) -> None:
    extra = {"function": name, "error": type(error).__name__}
    log.warning("a cached function failed while its result was made anew", extra=extra)
