"""The selection that one configuration has, over the store that it names: for the App, the CLI and the library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import SystemClock
from ..config import Config
from ..errors import StoreError
from ..protocols import KV, Clock
from ..selection import Selection
from ..stores.assembly import Servers
from ..stores.memory import MemoryKV
from ..stores.sqlite import FILE, Database, SQLiteKV

__all__ = ["open_selection", "selection_of"]


def selection_of(config: Config, *, database: Database, servers: Servers, clock: Clock) -> Selection:
    """Raises ConfigError for a server without an address, or an extra that is missing."""
    return Selection(_kv(config, database, servers, clock), clock, rule=config.selection)


@asynccontextmanager
async def open_selection(config: Config) -> AsyncIterator[Selection]:
    """Without an App: for a command, or a program that only chooses. Raises ConfigError, StoreError."""
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"The data folder {config.data_dir} cannot be made: {error.strerror}.") from None
    database, servers = Database(config.data_dir / FILE), Servers(config.cache)
    try:
        yield selection_of(config, database=database, servers=servers, clock=SystemClock())
    finally:
        await servers.close()
        await database.close()


def _kv(config: Config, database: Database, servers: Servers, clock: Clock) -> KV:
    match config.selection.store:
        case "memory":
            return MemoryKV(clock=clock)
        case "redis":
            client = servers.redis()
            from ..stores.redis import RedisKV

            return RedisKV(client)
        case "postgres":
            postgres = servers.postgres()
            from ..stores.postgres import PostgresKV

            return PostgresKV(postgres)
        case "sqlite":
            return SQLiteKV(database, clock=clock)
