"""What `[cache]` takes from the environment, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..stores.settings import CacheSettings, without_password
from .providers import is_loopback

__all__ = ["problems", "with_addresses"]

_SCHEMES = {
    "redis": ("redis", "rediss", "unix"),
    "postgres": ("postgresql", "postgres"),
}


def with_addresses(settings: CacheSettings | None, env: Mapping[str, str]) -> CacheSettings | None:
    """The addresses of servers from PENNYWEIGHT_REDIS_URL and PENNYWEIGHT_POSTGRES_URL, where the file has none."""
    if settings is None:
        return None
    redis, postgres = settings.redis, settings.postgres
    redis = msgspec.structs.replace(redis, url=redis.url or env.get("PENNYWEIGHT_REDIS_URL", "").strip() or None)
    found = env.get("PENNYWEIGHT_POSTGRES_URL", "").strip()
    postgres = msgspec.structs.replace(postgres, url=postgres.url or found or None)
    return msgspec.structs.replace(settings, redis=redis, postgres=postgres)


def problems(settings: CacheSettings, *, encrypted: bool) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    """(setting, message, remedy, severity) of what types cannot say. What is not installed is for `check` to say."""
    tiers = settings.tiers
    if not tiers:
        yield ("tiers",), "cache.tiers is empty.", 'Leave it out for ["memory", "sqlite"].', "error"
    for name in sorted({name for name in tiers if tiers.count(name) > 1}):
        yield ("tiers",), f"cache.tiers names {name!r} twice.", "Keep one of them.", "error"
    if "memory" in tiers[1:] and tiers[0] != "memory":
        yield ("tiers",), "cache.tiers has 'memory' below others.", "Name it first: it is the fastest.", "error"
    yield from _ranges(settings)
    for name, url in (("redis", settings.redis.url), ("postgres", settings.postgres.url)):
        if name in tiers:
            yield from _address(name, url, encrypted=encrypted)


def _ranges(settings: CacheSettings) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    for section in ("", "memory", "sqlite", "redis", "postgres", "files"):
        table = getattr(settings, section) if section else settings
        for field in table.__struct_fields__:
            value = getattr(table, field)
            if field.endswith(("_s", "_bytes", "entries")) and value is not None and value <= 0:
                path = (section, field) if section else (field,)
                message = f"cache.{'.'.join(path)} {value!r} must be above 0."
                yield path, message, "Leave it out for the default.", "error"


def _address(name: str, url: str | None, *, encrypted: bool) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    if url is None:
        remedy = f"Set cache.{name}.url, or PENNYWEIGHT_{name.upper()}_URL."
        yield ("tiers",), f"cache.tiers names {name!r}, but there is no address for it.", remedy, "error"
        return
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES[name] or not (parts.hostname or parts.path) or not _has_port(parts):
        example = "redis://host:6379/0" if name == "redis" else "postgresql://user:password@host:5432/database"
        yield (name, "url"), f"cache.{name}.url {without_password(url)!r} is no address.", f"Use {example}.", "error"
    elif parts.scheme == "redis" and not is_loopback(parts.hostname or "") and not encrypted:
        message = f"cache.redis is reached without encryption at {without_password(url)}: others may read answers."
        yield (name, "url"), message, "Use rediss://, or set PENNYWEIGHT_CACHE_KEY.", "warning"


def _has_port(parts: SplitResult) -> bool:
    """Or none, which means the usual one."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False
