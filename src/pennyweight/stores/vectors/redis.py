"""Vectors in the vector sets of Redis 8 (VADD, VSIM; no module is needed). Needs the extra `redis`.

A space is one vector set per length of vector, and lapses as a whole with its last entry. Each element carries the
moment it lapses as an attribute, by which searches filter; what has lapsed is dropped a little at a time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError

from ...errors import StoreError
from ...protocols import Clock
from .check import floats

__all__ = ["PREFIX", "RedisVectors"]

PREFIX = "pennyweight:vectors:"  # before every key of ours: the server may be others' too
_NEVER = 1e15  # unix seconds: a filter knows no element without the attribute
_SWEEP_EVERY = 32  # adds between two looks for what has lapsed, near to what is added
_SWEEP = 64  # elements dropped at a time
_PAGE = 1000

# KEYS: the set. ARGV: vector, id, Q8 or NOQUANT, attributes, milliseconds to live ("" for ever), and for a sweep the
# filter for what has lapsed ("" no sweep) and how many to drop. The set lives as long as its longest-lived element.
_ADD = """
local fresh = redis.call('EXISTS', KEYS[1]) == 0
redis.call('VADD', KEYS[1], 'FP32', ARGV[1], ARGV[2], ARGV[3], 'SETATTR', ARGV[4])
if ARGV[5] == '' then redis.call('PERSIST', KEYS[1])
elseif fresh then redis.call('PEXPIRE', KEYS[1], ARGV[5])
else redis.call('PEXPIRE', KEYS[1], ARGV[5], 'GT') end
if ARGV[6] ~= '' then
  for _, id in ipairs(redis.call('VSIM', KEYS[1], 'FP32', ARGV[1], 'COUNT', ARGV[7], 'FILTER', ARGV[6])) do
    redis.call('VREM', KEYS[1], id)
  end
end
"""


class RedisVectors:
    """Protocol: `pennyweight.stores.vectors.lazy.ListedVectors`. It belongs to the event loop of its client.

    client: of bytes, not of decoded text; it is not closed here. quantized: eight bits a value, a quarter of the room,
    cosines to within about 0.005; otherwise float32. What to evict when memory is short is the server's to say
    (`maxmemory-policy`). Entries lapse by `clock`, whole spaces by the server's.
    """

    def __init__(self, client: Redis, *, clock: Clock, quantized: bool = True, prefix: str = PREFIX) -> None:
        self._client: Any = client
        self._clock = clock
        self._kind = "Q8" if quantized else "NOQUANT"
        self._prefix = prefix
        self._endings: set[bytes] = set()  # that are known to be in the server's list
        self._adds = 0

    async def add(self, space: str, id: str, vector: bytes, *, ttl_s: float | None = None) -> None:
        ending = self._ending(len(floats(space, vector)))
        now = self._clock.now()
        if ttl_s is not None and ttl_s <= 0:
            await self.remove(space, id)
            return
        if ending not in self._endings:
            await self._ask("SADD", self._list, ending)
            self._endings.add(ending)
        self._adds += 1
        attributes = json.dumps({"x": _NEVER if ttl_s is None else now + ttl_s})
        sweep = f".x <= {now!r}" if self._adds % _SWEEP_EVERY == 0 else ""
        ttl_ms = "" if ttl_s is None else math.ceil(min(ttl_s, 1e9) * 1000)
        key = self._key(space) + ending
        await self._ask("EVAL", _ADD, 1, key, vector, _bytes(id), self._kind, attributes, ttl_ms, sweep, _SWEEP)

    async def nearest(self, space: str, vector: bytes, *, limit: int) -> Sequence[tuple[str, float]]:
        key = self._key(space) + self._ending(len(floats(space, vector)))
        if limit < 1:
            return ()
        lives = f".x > {self._clock.now()!r}"
        answer = await self._ask("VSIM", key, "FP32", vector, "WITHSCORES", "COUNT", limit, "FILTER", lives)
        found = [(_text(id), _cosine(score)) for id, score in _pairs(answer)]
        found.sort(key=lambda pair: -pair[1])
        return found

    async def remove(self, space: str, id: str) -> None:
        for ending in await self._ask("SMEMBERS", self._list):
            await self._ask("VREM", self._key(space) + ending, _bytes(id))

    async def delete(self, prefix: str) -> int:
        """Looks through the keys of the whole server, a thousand at a time."""
        gone = 0
        lives = f".x > {self._clock.now()!r}"
        for key in await self._keys(prefix):
            count = int(await self._ask("VCARD", key))
            # Those that live are counted by asking for them all: exact, and only done here.
            pairs = await self._ask(
                "VSIM", key, "ELE", await self._any(key), "COUNT", count, "FILTER", lives, "FILTER-EF", count
            )
            gone += len(pairs)
            await self._ask("UNLINK", key)
        return gone

    async def spaces(self, prefix: str) -> list[str]:
        """Looks through the keys of the whole server, a thousand at a time."""
        start = len(self._prefix.encode())
        return sorted({_text(key[start:].rpartition(b"\0")[0]) for key in await self._keys(prefix)})

    async def ids(self, space: str, *, limit: int) -> list[str]:
        """Up to `limit` ids of that space, in no order; those that have lapsed and are not dropped yet among them."""
        found: dict[str, None] = {}
        for ending in await self._ask("SMEMBERS", self._list):
            ids = await self._ask("VRANDMEMBER", self._key(space) + ending, limit)
            found.update(dict.fromkeys(map(_text, ids or ())))
        return list(found)[:limit]

    async def aclose(self) -> None:
        """The client is its owner's to close."""

    async def _any(self, key: bytes) -> bytes:
        member: bytes = await self._ask("VRANDMEMBER", key)
        return member

    async def _keys(self, prefix: str) -> list[bytes]:
        """Of the vector sets of all spaces whose name begins so."""
        pattern = re.sub(rb"([*?\[\]\\^])", rb"\\\1", self._key(prefix)) + b"*"
        cursor, keys = b"0", set[bytes]()
        while True:
            cursor, found = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE, "TYPE", "vectorset")
            keys.update(found)
            if int(cursor) == 0:
                return sorted(keys)

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            raise _failure(error) from error

    @property
    def _list(self) -> bytes:
        """Of the endings that there are: who removes an id looks under each."""
        return _bytes(self._prefix) + b"\0endings"

    def _key(self, space: str) -> bytes:
        return _bytes(self._prefix + space)

    def _ending(self, dimensions: int) -> bytes:
        """Sets of another length or kind are other sets."""
        return f"\0{self._kind}:{dimensions}".encode()


def _pairs(answer: Any) -> Iterable[tuple[bytes, Any]]:
    """A mapping by the newer protocol and client, a flat list by the older."""
    if isinstance(answer, dict):
        return answer.items()
    return zip(answer[::2], answer[1::2], strict=True)


def _cosine(score: Any) -> float:
    """Redis gives (1 + cosine) / 2."""
    return max(-1.0, min(1.0, 2 * float(score) - 1))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _failure(error: Exception) -> StoreError:
    """Without the server's address, in which there may be a password."""
    if isinstance(error, ConnectionError | OSError):
        return StoreError(f"Redis cannot be reached ({type(error).__name__}).")
    said = str(error)[:200]
    if isinstance(error, ResponseError) and "unknown" in said.lower():
        return StoreError(f"This Redis has no vector sets ({said}): use Redis 8 or newer, or another store of vectors.")
    return StoreError(f"Redis refused ({type(error).__name__}): {said}.")
