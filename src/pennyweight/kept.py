"""How caches name and wrap what they keep, so that entries of all of them are found by tenant, model and age.

A key is `CACHE/TENANT/DIGEST/MODEL`. A value begins with the version of the layout, a checksum over the key and the
rest, and the time of making; what follows is the cache's own. So an entry that was damaged, cut, copied to another key
or made by another release is told before anybody reads it, and counts as a miss. Pure.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

import msgspec
from xxhash import xxh3_64_digest

__all__ = [
    "CACHES",
    "CLOCK_SLACK_S",
    "REST_BYTES",
    "Named",
    "Wrapped",
    "digest_start",
    "entry_key",
    "named",
    "tenant_of",
    "tenant_prefix",
    "unwrapped",
    "wrapped",
]

CACHES = ("exact", "semantic", "fusing", "tools", "functions", "references", "responses")
"""The first words of keys that are entries of a cache, and may be dropped whenever somebody wants the room."""

CLOCK_SLACK_S = 60.0
"""Two machines that share a store may differ by so much: the age of an entry from further ahead is not known."""

_VERSION = b"\x02"
_CREATED = struct.Struct(">d")
_SUM_AT, _CREATED_AT, _PAYLOAD_AT = 1, 9, 17
_DIGEST_CHARACTERS = 64
_MODEL_CHARACTERS = 100  # of a model's name that a key shows


class Named(msgspec.Struct, frozen=True):
    """What a key tells. `model`: as sent to the provider, or the name of a tool or function."""

    cache: str
    tenant: str
    digest: str
    model: str


class Wrapped(msgspec.Struct, frozen=True):
    """`created_at` in unix seconds; `payload` a view of the cache's own bytes."""

    created_at: float
    payload: memoryview


def entry_key(cache: str, tenant: str, digest: str, model: str) -> str:
    """digest: 64 hexadecimal characters, which must cover the tenant and the whole of the model's name too."""
    return f"{cache}/{tenant}/{digest}/{model[:_MODEL_CHARACTERS]}"


REST_BYTES = 24
"""Of a digest, behind what `digest_start` gives."""


def digest_start(name: str) -> str:
    """The first 16 characters of the digests of everything that a tool or function of that name gave: by them, all of
    it is dropped at once."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def tenant_prefix(cache: str, tenant: str) -> str:
    """Of the keys of that tenant and of no other, where tenants are named by programs: no slash is left in it."""
    return f"{cache}/{tenant.replace('%', '%25').replace('/', '%2F')}/"


def tenant_of(key: str) -> str:
    """Whose key it is, of those that `tenant_prefix` began."""
    return key.split("/", 2)[1].replace("%2F", "/").replace("%25", "%")


def named(key: str) -> Named | None:
    """None for a key that is no cache's. A tenant's name may hold slashes, and so may a model's."""
    cache, _, rest = key.partition("/")
    if cache not in CACHES:
        return None
    parts = rest.split("/")
    at = next((n for n, part in enumerate(parts) if n and _is_digest(part)), 0)
    return Named(cache, "/".join(parts[:at]), parts[at], "/".join(parts[at + 1 :])) if at else None


def wrapped(key: str, created_at: float, payload: bytes) -> bytes:
    dated = _CREATED.pack(created_at) + payload
    return b"".join((_VERSION, _sum(key, dated), dated))


def unwrapped(key: str, value: bytes) -> Wrapped | None:
    """None for a value of another layout or key, or a damaged one."""
    view = memoryview(value)
    if (
        len(value) < _PAYLOAD_AT
        or value[:_SUM_AT] != _VERSION
        or value[_SUM_AT:_CREATED_AT] != _sum(key, view[_CREATED_AT:])
    ):
        return None
    return Wrapped(_CREATED.unpack_from(value, _CREATED_AT)[0], view[_PAYLOAD_AT:])


def _is_digest(part: str) -> bool:
    return len(part) == _DIGEST_CHARACTERS and not part.strip("0123456789abcdef")


def _sum(key: str, dated: bytes | memoryview) -> bytes:
    """Against damage, not against forgers: those are kept out by the store's password, or by sealing."""
    seed = int.from_bytes(xxh3_64_digest(key.encode("utf-8", "surrogatepass")), "big")
    return xxh3_64_digest(dated, seed=seed)
