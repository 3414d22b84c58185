"""Which stores the response caches use: `[cache]` in the configuration."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

__all__ = [
    "CacheSettings",
    "FilesSettings",
    "MemorySettings",
    "PostgresSettings",
    "RedisSettings",
    "SQLiteSettings",
    "TierName",
    "without_password",
]

TierName = Literal["memory", "sqlite", "redis", "postgres", "files"]


class MemorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """fill_ttl_s: how long what came from a lower tier is kept, at most."""

    entries: int = 20_000
    size_bytes: int = 32 << 20
    fill_ttl_s: float = 300.0


class SQLiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size_bytes: int = 1 << 30


class FilesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """folder: None: `cache` in the data directory. timeout_s: for a read; what takes longer is passed over."""

    folder: str | None = None
    entries: int = 100_000
    size_bytes: int = 4 << 30
    timeout_s: float = 0.05
    ttl_s: float | None = None


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """url: None: from PENNYWEIGHT_REDIS_URL. ttl_s: for entries that name no time of their own."""

    url: str | None = None
    timeout_s: float = 0.02
    ttl_s: float | None = 3600.0

    def __repr__(self) -> str:
        return f"RedisSettings(url={without_password(self.url)!r}, timeout_s={self.timeout_s}, ttl_s={self.ttl_s})"


class PostgresSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """url: None: from PENNYWEIGHT_POSTGRES_URL. keep_prompts: whether `llm_cache.prompt` is filled, in the clear."""

    url: str | None = None
    timeout_s: float = 0.03
    ttl_s: float | None = None
    keep_prompts: bool = False

    def __repr__(self) -> str:
        return f"PostgresSettings(url={without_password(self.url)!r}, timeout_s={self.timeout_s}, ttl_s={self.ttl_s})"


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tiers: fastest first. encrypt: everything but memory; the key is PENNYWEIGHT_CACHE_KEY, here `key` once read, and
    an empty text where there is none. max_value_bytes: larger values stay in no tier but memory.
    """

    tiers: tuple[TierName, ...] = ("memory", "sqlite")
    encrypt: bool = False
    max_value_bytes: int = 16 << 20
    memory: MemorySettings = MemorySettings()
    sqlite: SQLiteSettings = SQLiteSettings()
    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    files: FilesSettings = FilesSettings()


def without_password(url: str | None) -> str | None:
    """The address with "…" for what stands before the @, and for the parameters, in which there may be one too."""
    if url is None:
        return None
    return re.sub(r"\?.*", "?…", re.sub(r"(//)[^/@]*@", r"\1…@", url))
