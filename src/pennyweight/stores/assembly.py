"""From `[cache]` to the stores it names: which tiers, over which servers, sealed how, and whose leases."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..folders import expanded
from ..protocols import Clock, Leases, Tier
from .database import Database
from .files import FilesKV
from .leases import MemoryLeases
from .memory import MemoryKV
from .sealed import KEY_VARIABLE, Codec, Sealed, read_keys
from .settings import CacheSettings, TierName
from .sqlite import SQLiteKV
from .tiered import Level, LevelSettings, Tiered

if TYPE_CHECKING:
    from .postgres import Postgres
    from .redis import Client

__all__ = ["Servers", "Tiers", "open_tiers", "wrong"]


class Servers:
    """One client for each server that the configuration names, made when first asked for and shared by all who use it.

    Raises ConfigError for one whose extra is not installed, or whose address is missing or not valid.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._redis: Client | None = None
        self._postgres: Postgres | None = None

    def redis(self) -> Client:
        if self._redis is None:
            module = _module("redis")
            self._redis = module.connect(_address(self._settings.redis.url, "redis"))
        return self._redis

    def postgres(self) -> Postgres:
        if self._postgres is None:
            module = _module("postgres")
            self._postgres = module.Postgres(_address(self._settings.postgres.url, "postgres"))
        return self._postgres

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()
        if self._postgres is not None:
            await self._postgres.close()


class Tiers:
    """What `open_tiers` made."""

    def __init__(self, kv: Tiered, leases: Leases, *, files: FilesKV | None, memory: MemoryKV | None) -> None:
        self.kv = kv
        self.memory = memory  # this process's own tier, where there is one
        self.leases = leases
        self._files = files

    @property
    def shared(self) -> bool:
        """Whether other processes see the same leases."""
        return not isinstance(self.leases, MemoryLeases)

    async def close(self) -> None:
        """Make queued writes, for a short while. Servers and the database are closed by their owners, afterwards."""
        await self.kv.close()
        if self._files is not None:
            await self._files.close()


def open_tiers(
    settings: CacheSettings, *, key: str, data_dir: Path, database: Database, servers: Servers, clock: Clock
) -> Tiers:
    """The tiers in their order, not connected yet: `kv.start()` does that. key: as in PENNYWEIGHT_CACHE_KEY, or "".

    Raises ConfigError for what is missing.
    """
    codec = Codec(_keys(settings, key), limit_bytes=max(settings.max_value_bytes, 1))
    files: FilesKV | None = None
    memory: MemoryKV | None = None
    levels = []
    for name in settings.tiers:
        store, level = _tier(name, settings, data_dir, database, servers, clock)
        files = store if isinstance(store, FilesKV) else files
        memory = store if isinstance(store, MemoryKV) else memory
        sealed = store if name == "memory" else Sealed(store, codec)
        levels.append(Level(name, sealed, clock=clock, settings=level))
    return Tiers(Tiered(levels), _leases(settings, servers, clock), files=files, memory=memory)


def wrong(settings: CacheSettings, key: str) -> list[tuple[str, str, str]]:
    """What is wrong with it that types and ranges do not tell, as (setting, message, remedy)."""
    servers = Servers(settings)
    needed: list[tuple[str, Callable[[], object]]] = [("encrypt", lambda: Codec(_keys(settings, key)))]
    if "redis" in settings.tiers:
        needed.append(("redis", servers.redis))
    if "postgres" in settings.tiers:
        needed.append(("postgres", servers.postgres))
    found = []
    for setting, make in needed:
        try:
            make()
        except ConfigError as error:
            message, _, remedy = error.message.partition(". ")
            found.append((setting, f"{message}.", remedy))
    return found


def _tier(
    name: TierName, settings: CacheSettings, data_dir: Path, database: Database, servers: Servers, clock: Clock
) -> tuple[Tier, LevelSettings]:
    most = settings.max_value_bytes
    match name:
        case "memory":
            memory = settings.memory
            store: Tier = MemoryKV(clock=clock, count=memory.entries, size_bytes=memory.size_bytes)
            return store, LevelSettings(fill_ttl_s=memory.fill_ttl_s)
        case "sqlite":
            store = SQLiteKV(database, clock=clock, size_bytes=settings.sqlite.size_bytes)
            return store, LevelSettings(behind=True, max_value_bytes=most)
        case "files":
            files = settings.files
            folder = expanded(files.folder) if files.folder else data_dir / "cache"
            store = FilesKV(folder, clock=clock, count=files.entries, size_bytes=files.size_bytes)
            return store, _remote(files.timeout_s, files.ttl_s, most, untried=False)
        case "redis":
            store = _module("redis").RedisKV(servers.redis())
            return store, _remote(settings.redis.timeout_s, settings.redis.ttl_s, most)
        case "postgres":
            postgres = settings.postgres
            store = _module("postgres").PostgresKV(servers.postgres(), keep_prompts=postgres.keep_prompts)
            return store, _remote(postgres.timeout_s, postgres.ttl_s, most)


def _remote(timeout_s: float, ttl_s: float | None, max_value_bytes: int, *, untried: bool = True) -> LevelSettings:
    return LevelSettings(
        timeout_s=timeout_s,
        write_timeout_s=max(1.0, 10 * timeout_s),
        delete_timeout_s=30.0,
        untried=untried,
        behind=True,
        ttl_s=ttl_s,
        fill_ttl_s=ttl_s or 3600.0,
        max_value_bytes=max_value_bytes,
    )


def _leases(settings: CacheSettings, servers: Servers, clock: Clock) -> Leases:
    """Among all replicas where they share a tier. Redis before Postgres: who asks for a lease has a caller waiting."""
    leases: Leases = MemoryLeases(clock)
    if "redis" in settings.tiers:
        leases = _module("redis").RedisLeases(servers.redis())
    elif "postgres" in settings.tiers:
        leases = _module("postgres").PostgresLeases(servers.postgres())
    return leases


def _keys(settings: CacheSettings, key: str) -> tuple[bytes, ...]:
    if key.strip():
        return read_keys(key)
    if settings.encrypt:
        raise ConfigError(f"cache.encrypt is set, but {KEY_VARIABLE} is not. Make a key: openssl rand -base64 32")
    return ()


def _module(name: str) -> Any:
    """Loaded only where it is used: what stands on others' libraries must not be paid for by those who need none."""
    try:
        return importlib.import_module(f"{__package__}.{name}")
    except ImportError as error:
        raise ConfigError(f"The cache tier {name!r} needs the package {error.name}. {_install(name)}") from None


def _install(name: str) -> str:
    return f"Install it: pip install 'pennyweight[{name}]'"


def _address(url: str | None, name: str) -> str:
    if url:
        return url
    raise ConfigError(f"cache.{name} has no url. Set cache.{name}.url, or PENNYWEIGHT_{name.upper()}_URL.")
