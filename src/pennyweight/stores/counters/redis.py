"""Counters in Redis or Valkey, shared by all replicas: a change of several is one script. Needs the extra `redis`.

The server must not evict or forget them: `maxmemory-policy noeviction` or a database of its own, and `appendonly yes`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from ...counters import KEEP_S, MOST, Counter, Move, Take, Taken, bounded
from ..redis import Client, failure

__all__ = ["RedisCounters"]

PREFIX = "{pennyweight:budget}:"  # in braces what a cluster keeps on one server: a script may only touch that
_AT_ONCE = 8  # of the client's connections: a thousand calls at once wait here, and not for a connection until it fails
_LONGEST_MS = 100 * 365 * 86_400_000

# A counter is a hash: t the total, s what of it is spent. Numbers are compared as texts: Lua's are doubles, exact to 15
# digits only, and HINCRBY counts in 64 bits. ARGV for each key: amount, limit, milliseconds to live.
_TAKE = """
local function above(a, b)
  if string.sub(a, 1, 1) == '-' then return false end
  if string.sub(b, 1, 1) == '-' then return true end
  return #a > #b or (#a == #b and a > b)
end
local refused, out = {}, {}
for i, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 't', ARGV[3 * i - 2])
  if above(redis.call('HGET', key, 't'), ARGV[3 * i - 1]) then refused[#refused + 1] = i - 1 end
end
for i, key in ipairs(KEYS) do
  if #refused > 0 then
    local less = ARGV[3 * i - 2]
    if string.sub(less, 1, 1) == '-' then less = string.sub(less, 2) elseif less ~= '0' then less = '-' .. less end
    redis.call('HINCRBY', key, 't', less)
    if redis.call('HGET', key, 't') == '0' and not redis.call('HGET', key, 's') then redis.call('DEL', key) end
  else
    redis.call('PEXPIRE', key, ARGV[3 * i])
  end
  out[2 * i - 1] = redis.call('HGET', key, 't') or '0'
  out[2 * i] = redis.call('HGET', key, 's') or '0'
end
return {refused, out}
"""

# ARGV for each key: what is added to the total, what is added to what is spent, the most of either. A negative total or
# one above the most is set right: both come of a reset or of an odd bill.
_MOVE = """
local function below(a, b) return #a < #b or (#a == #b and a < b) end
local out = {}
for i, key in ipairs(KEYS) do
  for field, at in pairs({t = 3 * i - 2, s = 3 * i - 1}) do
    redis.call('HINCRBY', key, field, ARGV[at])
    local now = redis.call('HGET', key, field)
    if string.sub(now, 1, 1) == '-' then redis.call('HSET', key, field, '0')
    elseif below(ARGV[3 * i], now) then redis.call('HSET', key, field, ARGV[3 * i]) end
  end
  local t, s = redis.call('HGET', key, 't'), redis.call('HGET', key, 's')
  if below(t, s) then redis.call('HSET', key, 't', s) t = s end
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[3 * #KEYS + 1]) end
  out[2 * i - 1], out[2 * i] = t, s
end
return out
"""


class RedisCounters:
    """Protocol: `Counters`. Counters lapse by the server's clock, long after their windows."""

    def __init__(self, client: Client, *, now: Any, prefix: str = PREFIX) -> None:
        """now: unix seconds."""
        self._client: Any = client
        self._now = now
        self._prefix = prefix
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def take(self, wanted: Sequence[Take]) -> Taken:
        now = self._now()
        values: list[Any] = []
        for take in wanted:
            left_s = 10 * KEEP_S if take.ends is None else take.ends - now + KEEP_S
            left_ms = int(min(max(left_s, 3_600.0) * 1000, _LONGEST_MS))
            values += [str(bounded(take.amount)), str(min(take.limit, MOST)), left_ms]
        refused, told = await self._script(_TAKE, [take.key for take in wanted], values)
        return Taken(tuple(int(at) for at in refused), _counters(told))

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        values: list[Any] = []
        for move in moves:
            spent = bounded(move.spent)
            values += [str(spent - bounded(move.held)), str(spent), str(MOST)]
        values.append(int(10 * KEEP_S * 1000))
        return list(_counters(await self._script(_MOVE, [move.key for move in moves], values)))

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self._key(prefix)) + b"*"
        names: set[bytes] = set()
        cursor = b"0"
        while True:
            cursor, some = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            names.update(some)
            if int(cursor) == 0 or len(names) >= limit:
                break
        ours = len(self._prefix.encode())
        found: dict[str, Counter] = {}
        kept = list(names)[:limit]
        try:
            async with self._client.pipeline(transaction=False) as all_:
                for name in kept:
                    all_.hmget(name, "t", "s")
                told = await all_.execute() if kept else []
        except (RedisError, OSError) as error:
            raise failure(error) from error
        for name, (total, spent) in zip(kept, told, strict=True):
            (counter,) = _counters((total or b"0", spent or b"0"))
            found[name[ours:].decode("utf-8", "surrogatepass")] = counter
        return found

    async def reset(self, key: str) -> bool:
        return bool(await self._ask("DEL", self._key(key)))

    async def _script(self, script: str, keys: Sequence[str], values: Sequence[Any]) -> Any:
        return await self._ask("EVAL", script, len(keys), *map(self._key, keys), *values)

    async def _ask(self, *command: Any) -> Any:
        try:
            async with self._room:
                return await self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            raise failure(error) from error

    def _key(self, key: str) -> bytes:
        return (self._prefix + key).encode("utf-8", "surrogatepass")


def _counters(told: Sequence[bytes]) -> tuple[Counter, ...]:
    """Totals and what of them is spent, in turn."""
    numbers = [int(number) for number in told]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(Counter(spent, max(total - spent, 0)) for total, spent in pairs)
