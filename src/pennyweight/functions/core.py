"""What is known and decided about one cached function, without waiting for anything: keys, memory, flights, counts."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar

import msgspec

from ..kept import REST_BYTES, digest_start, tenant_of, tenant_prefix
from ..ledger.functions import FunctionDelta
from .flights import Flight, Flights, copied
from .key import Files, Unkeyable, encode
from .settings import FunctionStats, Settings
from .shelf import Begun, Cache, Stores
from .source import named, source_of
from .values import Entry, Unstorable, codec, seal, unseal

__all__ = ["Core", "Held"]

log = logging.getLogger(__name__)

R = TypeVar("R")

_MEMORY_BYTES = 32 << 20  # of the results that one function holds in this process
_SURE_S = 5.0  # how long memory is taken at its word; then the store is asked whether somebody invalidated
_WAIT_S = 60.0  # for a result that another replica makes


class Held(msgspec.Struct, frozen=True):
    """A result that may be served; stale: while a new one is made."""

    entry: Entry
    stale: bool


class _Failure(msgspec.Struct, frozen=True):
    error: Exception
    until: float  # monotonic seconds


class _Kept(msgspec.Struct, frozen=True):
    entry: Entry
    size_bytes: int
    seen: float  # monotonic seconds: when the store said so


class _Run:
    took_s = 0.0


class Core(Generic[R]):
    """The state of one cached function. Safe in threads."""

    def __init__(self, function: Callable[..., Any], settings: Settings, cache: Cache) -> None:
        self.function = _checked(function, settings)
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.cache = cache
        self.flights = Flights()
        self._settings = settings
        self._signature = inspect.signature(function)
        self._codec = codec(function)
        self._files = Files()
        told = source_of(self.function) if settings.version is None else f"version {settings.version}"
        self._identity = encode((named(self.function), told), "the function", self._files)
        self._begins = digest_start(named(self.function))
        self._captures = settings.version is None and bool(self.function.__closure__)
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, _Kept | _Failure] = OrderedDict()
        self._memory_bytes = 0
        self._counts: dict[str, FunctionStats] = {}
        self._told: dict[str, FunctionStats] = {}
        self._warned = False
        cache.adopt(self)

    # --- keys -----------------------------------------------------------------------------------------------

    def prefix(self) -> str:
        """Of all keys of this function, for the current tenant."""
        return tenant_prefix("functions", self.cache.tenant()) + self._begins

    def key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Raises TypeError for arguments that do not fit, or that cannot be part of a key."""
        hashed = blake2b(self._identity, digest_size=REST_BYTES)
        try:
            if self._captures:
                hashed.update(encode(self.function, "what the function has captured", self._files))
            if self._settings.key is not None:
                hashed.update(b"k" + encode(self._settings.key(*args, **kwargs), "what key= gave", self._files))
            else:
                bound = self._signature.bind(*args, **kwargs)
                bound.apply_defaults()
                for name, value in bound.arguments.items():
                    if name not in self._settings.ignore:
                        hashed.update(encode(name, name, self._files) + encode(value, name, self._files))
        except Unkeyable as error:
            raise TypeError(self._remedy(error)) from None
        return f"{self.prefix()}{hashed.hexdigest()}/{self.name}"

    def reads_files(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether making the key may take long."""
        return any(isinstance(value, Path) for value in (*args, *kwargs.values()))

    def _remedy(self, error: Unkeyable) -> str:
        function = self.function.__qualname__
        names = ", ".join(self._signature.parameters)
        if error.where.startswith("what "):
            remedy = f"Give key=lambda {names}: … with what the result depends on, or version=… for what is captured."
        else:
            name = error.where.partition("[")[0].partition(".")[0].rpartition(" ")[2]
            remedy = f"If no result depends on it, say ignore=({name!r},); or say with key=lambda {names}: … on what."
        return f"{function}() cannot be cached by its argument {error.where!r}: it {error.what}. {remedy}"

    # --- results --------------------------------------------------------------------------------------------

    def look(self, key: str) -> Held | None:
        """What memory has and is sure of. Raises the exception that is kept."""
        with self._lock:
            kept = self._memory.get(key)
            if kept is None:
                return None
            self._memory.move_to_end(key)
        now = self.cache.clock.monotonic()
        if isinstance(kept, _Failure):
            if kept.until <= now:
                self._drop(key)
                return None
            self._count(key, hits=1)
            raise copied(kept.error)
        return None if now - kept.seen > _SURE_S else self._judged(kept.entry)

    def begin(self, key: str, refresh: bool) -> Callable[[Stores], Coroutine[Any, Any, Begun]]:
        """Ask the store. refresh: only what is fresh will do."""

        def usable(data: bytes) -> bool:
            held = self._read(key, data)
            return held is not None and not (refresh and held.stale)

        return lambda stores: stores.begin(key, usable, _WAIT_S)

    def found(self, key: str, begun: Begun, *, refresh: bool = False) -> Held | None:
        """What the store had; or, if it could not be asked, what memory has. refresh: what is stale is looked for
        anew, and goes on being served meanwhile."""
        if begun.data is not None:
            held = self._read(key, begun.data)
            if held is not None:
                self._remember(key, held.entry)
            return held
        with self._lock:
            kept = self._memory.get(key)
        if begun.answered:
            if not refresh:
                self._drop(key)  # invalidated elsewhere, or lapsed
            return None
        return self._judged(kept.entry) if isinstance(kept, _Kept) else None

    @contextmanager
    def running(self, key: str) -> Iterator[_Run]:
        """Around a run of the function: timed and counted, and its own calls for the same result run through."""
        run, began = _Run(), time.perf_counter()
        token = self.flights.inside.set(self.flights.inside.get() | {key})
        try:
            yield run
        except Exception as error:
            self._count(key, misses=1, failures=1)
            if self._settings.negative_ttl_s:
                until = self.cache.clock.monotonic() + self._settings.negative_ttl_s
                with self._lock:
                    self._pop(key)
                    self._memory[key] = _Failure(copied(error), until)
                    self._trim()
            raise
        finally:
            self.flights.inside.reset(token)
            run.took_s = time.perf_counter() - began
        self._count(key, misses=1)

    def made(self, key: str, flight: Flight, value: Any, took_s: float) -> bytes | None:
        """Tell those who wait; what to store, None for what cannot or shall not be."""
        entry = None
        try:
            cost = self._settings.cost(value)
            entry = Entry(self.cache.clock.now(), took_s, cost, self._codec.encode(value))
        except Unstorable as error:
            self._count(key, unstorable=1)
            if not self._warned:
                self._warned = True
                extra = {"function": self.name, "detail": str(error)}
                log.warning("a result of a cached function cannot be kept", extra=extra)
        forgotten = flight.forgotten
        if entry is not None and not forgotten:
            self._remember(key, entry)
        flight.land(entry, value)
        return None if entry is None or forgotten else seal(key, entry)

    def finish(self, key: str, sealed: bytes | None, lease: Any) -> Callable[[Stores], Coroutine[Any, Any, None]]:
        ttl_s = None if self._settings.ttl_s is None else self._settings.ttl_s + self._settings.stale_s
        return lambda stores: stores.finish(key, sealed, ttl_s, lease)

    def serve(self, key: str, held: Held) -> R:
        """A copy of its own for the caller."""
        entry = held.entry
        self._count(key, hits=1, stale=int(held.stale), saved_s=entry.took_s, saved=entry.cost)
        result: R = self._codec.decode(entry.body)
        return result

    def share(self, key: str, made: tuple[Entry | None, Any]) -> R:
        """For one who waited."""
        entry, value = made
        if entry is None:
            self._count(key, shared=1)
            shared: R = value
            return shared
        self._count(key, shared=1, saved_s=entry.took_s, saved=entry.cost)
        result: R = self._codec.decode(entry.body)
        return result

    def forget(self, prefix: str) -> str:
        """Drop from memory, and keep nothing that is being made now; the prefix."""
        self.flights.forget(prefix)
        with self._lock:
            for key in [key for key in self._memory if key.startswith(prefix)]:
                self._pop(key)
        return prefix

    def _read(self, key: str, data: bytes) -> Held | None:
        """None for what is torn, too old, or of another type than the function gives now."""
        entry = unseal(key, data)
        held = None if entry is None else self._judged(entry)
        if held is None:
            return None
        try:
            self._codec.decode(held.entry.body)
        except (ValueError, TypeError, NotImplementedError, msgspec.MsgspecError):
            return None
        return held

    def _judged(self, entry: Entry) -> Held | None:
        """By its age; a clock that was set back makes it new."""
        ttl_s = self._settings.ttl_s
        age_s = max(0.0, self.cache.clock.now() - entry.made)
        if ttl_s is None or age_s < ttl_s:
            return Held(entry, False)
        return Held(entry, True) if age_s < ttl_s + self._settings.stale_s else None

    # --- memory ---------------------------------------------------------------------------------------------

    def _remember(self, key: str, entry: Entry) -> None:
        size_bytes = len(entry.body) + 300
        if not self._settings.memory or size_bytes > _MEMORY_BYTES // 4:
            return
        kept = _Kept(entry, size_bytes, self.cache.clock.monotonic())
        with self._lock:
            self._pop(key)
            self._memory[key] = kept
            self._memory_bytes += size_bytes
            self._trim()

    def _drop(self, key: str) -> None:
        with self._lock:
            self._pop(key)

    def _trim(self) -> None:
        while len(self._memory) > max(self._settings.memory, 1) or self._memory_bytes > _MEMORY_BYTES:
            self._pop(next(iter(self._memory)))

    def _pop(self, key: str) -> None:
        kept = self._memory.pop(key, None)
        if isinstance(kept, _Kept):
            self._memory_bytes -= kept.size_bytes

    # --- counts ---------------------------------------------------------------------------------------------

    def stats(self, tenant: str | None) -> FunctionStats:
        with self._lock:
            if tenant is not None:
                return self._counts.get(tenant, FunctionStats())
            return _sum(self._counts.values())

    def take_deltas(self, at: float) -> list[FunctionDelta]:
        """What came to be counted since this was last asked."""
        with self._lock:
            counts, told = dict(self._counts), self._told
            self._told = counts
        return [
            FunctionDelta(at, tenant, self.name, **_since(now, told.get(tenant, FunctionStats())))
            for tenant, now in counts.items()
            if now != told.get(tenant)
        ]

    def _count(self, key: str, **more: Any) -> None:
        tenant = tenant_of(key)
        with self._lock:
            counts = self._counts.get(tenant, FunctionStats())
            added = {name: getattr(counts, name) + count for name, count in more.items()}
            self._counts[tenant] = msgspec.structs.replace(counts, **added)


def _checked(function: Callable[..., Any], settings: Settings) -> FunctionType:
    """Raises TypeError for what cannot be cached, ValueError for names in `ignore` that are no arguments."""
    if isinstance(function, staticmethod | classmethod):
        raise TypeError("Put @cached below @staticmethod or @classmethod, next to the function.")
    if not isinstance(function, FunctionType):
        raise TypeError(f"@cached is for functions, not for a {type(function).__qualname__}: wrap it in a def.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__}() yields: what it yields cannot be kept. Return a list.")
    names = inspect.signature(function).parameters
    unknown = [name for name in settings.ignore if name not in names]
    if unknown:
        raise ValueError(
            f"cached: ignore={unknown[0]!r} is no argument of {function.__qualname__}({', '.join(names)})."
        )
    return function


def _sum(all: Any) -> FunctionStats:
    total = FunctionStats()
    for one in all:
        total = FunctionStats(*(getattr(total, n) + getattr(one, n) for n in FunctionStats.__struct_fields__))
    return total


def _since(now: FunctionStats, before: FunctionStats) -> dict[str, Any]:
    names = [name for name in FunctionStats.__struct_fields__ if name != "unstorable"]
    return {name: getattr(now, name) - getattr(before, name) for name in names}
