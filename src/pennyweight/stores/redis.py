"""Bytes and counters in Redis, Valkey or whatever else speaks their protocol. Needs the extra `redis`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

from ..errors import ConfigError, StoreError
from ..protocols import Lease
from .breaker import Refused
from .leases import REMEMBER_S, polled

__all__ = ["LEASES_PREFIX", "PREFIX", "RedisKV", "RedisLeases", "connect"]

PREFIX = "pennyweight:kv:"  # before every key of ours: the server may be others' too
LEASES_PREFIX = "pennyweight:lease:"
_LONGEST_MS = 100 * 365 * 86_400_000
_CONNECTIONS = 16

Client = Redis

# KEYS: the counter. ARGV: what was seen of it ("" nothing), the amount, the total of both, milliseconds to live. Gives
# {1, total} or {0, what is there}. Lua counts in doubles, exact to 15 digits; beyond that the caller adds, and writes
# what it got if nobody was faster.
_ADD = """
local held = redis.call('GET', KEYS[1])
if #ARGV[2] < 15 and (not held or (#held < 15 and string.match(held, '^%-?%d+$'))) then
  local total = redis.call('INCRBY', KEYS[1], ARGV[2])
  if not held and ARGV[4] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
  return {1, string.format('%.0f', total)}
end
if (held or '') ~= ARGV[1] then return {0, held or ''} end
if held then redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
elseif ARGV[4] ~= '' then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
else redis.call('SET', KEYS[1], ARGV[3]) end
return {1, ARGV[3]}
"""


def connect(url: str, *, connections: int = _CONNECTIONS) -> Client:
    """A client that has not connected yet, and connects anew after every failure. It belongs to one event loop.

    Waiting is bounded here only so that nothing is stuck for ever; who asks bounds it as tightly as it must. Nothing is
    tried again: a tier that fails is passed over. Raises ConfigError for an address that is none.
    """
    try:
        pool: Any = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=2,
            socket_connect_timeout=2,
            socket_timeout=5,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ConfigError(f"The address of Redis is not valid: {error} Use redis://host:6379/0.") from None
    return Redis.from_pool(pool)  # which closes the pool with the client


class RedisKV:
    """A Tier in Redis. Entries lapse by the server's clock; what to evict when memory is short is the server's to say
    (`maxmemory-policy`). Values are kept as they are given.
    """

    def __init__(self, client: Client, *, prefix: str = PREFIX) -> None:
        self._client: Any = client
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._ask("GET", self._key(key))
        return value

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        name = self._key(key)
        try:
            async with self._client.pipeline(transaction=False) as both:
                value, left_ms = await both.execute_command("GET", name).execute_command("PTTL", name).execute()
        except (RedisError, OSError) as error:
            raise failure(error) from error
        if value is None or left_ms == -2:
            return None
        return value, None if left_ms < 0 else left_ms / 1000

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        name = self._key(key)
        if ttl_s is None:
            await self._ask("SET", name, value)
        elif (ttl_ms := _milliseconds(ttl_s)) > 0:
            await self._ask("SET", name, value, "PX", ttl_ms)
        else:
            await self._ask("UNLINK", name)

    async def remove(self, key: str) -> None:
        await self._ask("UNLINK", self._key(key))

    async def delete(self, prefix: str) -> int:
        """Looks through all keys of the server, a thousand at a time, which does not hold up others."""
        pattern = self._pattern(prefix)
        cursor, dropped = b"0", 0
        while True:
            cursor, found = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            if found:
                dropped += int(await self._ask("UNLINK", *found))
            if int(cursor) == 0:
                return dropped

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        found: set[bytes] = set()  # a scan may come by a key twice
        cursor = b"0"
        while len(found) < limit:
            cursor, some = await self._ask("SCAN", cursor, "MATCH", self._pattern(prefix), "COUNT", 1000)
            found.update(some)
            if int(cursor) == 0:
                break
        ours = len(self._prefix.encode())
        return [key[ours:].decode("utf-8", "surrogatepass") for key in list(found)[:limit]]

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        name, held = self._key(key), b""
        ttl_ms: int | str = "" if ttl_s is None else max(_milliseconds(ttl_s), 1)
        while True:
            total = _number(key, held) + amount
            done, held = await self._ask("EVAL", _ADD, 1, name, held, str(amount), str(total), ttl_ms)
            if done:
                return int(held)

    def _pattern(self, prefix: str) -> bytes:
        return re.sub(rb"([*?\[\]\\])", rb"\\\1", self._key(prefix)) + b"*"

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            raise failure(error) from error

    def _key(self, key: str) -> bytes:
        return (self._prefix + key).encode("utf-8", "surrogatepass")


# KEYS: the lease, its last word. ARGV: the token, the word, milliseconds to keep that.
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return redis.call('DEL', KEYS[1])
"""
_RENEW = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
# Taken, and the last holder's word forgotten, in one step: or a waiter could hear an old word.
_ACQUIRE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
return 1
"""


class RedisLeases:
    """Leases among all that use one Redis; its clock decides when one lapses."""

    def __init__(self, client: Client, *, prefix: str = LEASES_PREFIX) -> None:
        self._client: Any = client
        self._prefix = prefix

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        token = uuid.uuid4().bytes
        ttl_ms = max(_milliseconds(ttl_s), 1)
        taken = await self._ask("EVAL", _ACQUIRE, 2, *self._keys(key), token, ttl_ms)
        return _Lease(self, key, token, ttl_ms) if taken else None

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        async def look() -> tuple[bool, bytes]:
            held, word = await self._ask("MGET", *self._keys(key))
            return held is not None, word or b""

        return await polled(look, timeout_s)

    async def renew(self, key: str, token: bytes, ttl_ms: int) -> bool:
        return bool(await self._ask("EVAL", _RENEW, 1, self._keys(key)[0], token, ttl_ms))

    async def release(self, key: str, token: bytes, word: bytes) -> None:
        await self._ask("EVAL", _RELEASE, 2, *self._keys(key), token, word, int(REMEMBER_S * 1000))

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            raise failure(error) from error

    def _keys(self, key: str) -> tuple[bytes, bytes]:
        """The lease's and its word's; in braces what a cluster keeps on one server."""
        name = f"{self._prefix}{{{key}}}"
        return f"{name}:lease".encode("utf-8", "surrogatepass"), f"{name}:word".encode("utf-8", "surrogatepass")


class _Lease:
    def __init__(self, leases: RedisLeases, key: str, token: bytes, ttl_ms: int) -> None:
        self._leases = leases
        self._key = key
        self._token = token
        self._ttl_ms = ttl_ms

    async def renew(self) -> bool:
        return await self._leases.renew(self._key, self._token, self._ttl_ms)

    async def release(self, word: bytes = b"") -> None:
        try:
            await self._leases.release(self._key, self._token, word)
        except StoreError:
            return  # it lapses


def _milliseconds(ttl_s: float) -> int:
    return int(min(ttl_s * 1000, _LONGEST_MS))


def _number(key: str, value: bytes) -> int:
    try:
        return int(value) if value else 0
    except ValueError:
        raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None


def failure(error: Exception) -> StoreError:
    """Without the server's address, in which there may be a password."""
    if isinstance(error, ConnectionError | OSError):
        return StoreError(f"Redis cannot be reached ({type(error).__name__}).")
    return Refused(f"Redis refused ({type(error).__name__}): {str(error)[:200]}.")
