"""Answers on their way, told to other processes through Redis: one writes what arrives, others read it from its start.

For each answer a lease that says who writes it, a stream with what was written so far (pub/sub would not tell it to
those who come late), and a sorted set of who reads. All three have the lease's token in their names, so that two
writers never mix; the last two lapse by themselves. Entries are sealed for the answer that they belong to.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from ..clock import SystemClock
from ..errors import StoreError
from .asking import Asking
from .redis import PREFIX, Client
from .sealed import Codec

__all__ = ["Reading", "RedisRelay", "Writing"]

_AT_ONCE = 2_000  # questions under way; the connections are fewer
_CLOSE_S = 1.0
KEEP_MS = 30_000  # for those who come to read a little late
_SEEN_MS = 3_000  # one who reads says so at least this often

_APPEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 4, #ARGV do redis.call('XADD', KEYS[2], '*', 'd', ARGV[i]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""
_END = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_SEEN = """
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_READERS = """
local now = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1], '+inf')
"""


class RedisRelay:
    """A relay among all that use one Redis. Raises StoreError. It belongs to one event loop."""

    def __init__(
        self, client: Client, *, codec: Codec | None = None, prefix: str = PREFIX, timeout_s: float = 2.0
    ) -> None:
        """timeout_s: for a question. After three that took longer, none until a trial in the background has worked."""
        self._client: Any = client
        self._timeout_s = timeout_s
        self._asking = Asking(
            "fusing",
            clock=SystemClock(),
            look=lambda: self._send("PING"),
            on_well=lambda: None,
            trial_timeout_s=5.0,
            untried=False,
            at_once=_AT_ONCE,
        )
        self._codec = codec or Codec()
        self._prefix = prefix

    async def write(self, key: str, *, ttl_s: float) -> Writing | None:
        """The sole right to write that answer, which lapses unless something is appended every `ttl_s`; None: another
        has it."""
        token, ttl_ms = uuid.uuid4().hex, max(int(ttl_s * 1000), 1)
        taken = await self.ask("SET", self._name(key, "writer"), token, "NX", "PX", ttl_ms)
        return Writing(self, key, token, ttl_ms) if taken else None

    async def read(self, key: str) -> Reading | None:
        """The answer that is being written; None when there is none."""
        token = await self.ask("GET", self._name(key, "writer"))
        return None if token is None else Reading(self, key, token.decode("latin-1"))

    async def aclose(self) -> None:
        await self._asking.close(_CLOSE_S)
        await self._client.aclose()

    # --- for the two below ------------------------------------------------------------------------------------

    async def ask(self, *command: Any, blocks_s: float = 0.0) -> Any:
        """blocks_s: how long Redis may take on purpose."""
        return await self._asking.ask(self._send(*command), self._timeout_s + blocks_s)

    async def _send(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            kind = "cannot be reached" if isinstance(error, ConnectionError | OSError) else "refused"
            raise StoreError(f"Redis {kind} ({type(error).__name__}).") from None

    def names(self, key: str, token: str) -> tuple[bytes, bytes, bytes]:
        """Of the lease, the stream and the readers."""
        return self._name(key, "writer"), self._name(key, f"answer:{token}"), self._name(key, f"readers:{token}")

    def seal(self, key: str, token: str, entry: bytes) -> bytes:
        return self._codec.seal(f"{key}\0{token}", entry)

    def unseal(self, key: str, token: str, data: bytes) -> bytes | None:
        return self._codec.open(f"{key}\0{token}", data)

    def _name(self, key: str, of: str) -> bytes:
        """In braces what a cluster keeps on one server."""
        return f"{self._prefix}fusing:{{{key}}}:{of}".encode("utf-8", "surrogatepass")


class Writing:
    """The right to write one answer."""

    def __init__(self, relay: RedisRelay, key: str, token: str, ttl_ms: int) -> None:
        self._relay = relay
        self._key = key
        self._token = token
        self._ttl_ms = ttl_ms
        self._lease, self._stream, self._readers = relay.names(key, token)

    async def append(self, entries: Sequence[bytes] = ()) -> bool:
        """Tell those who read, and keep the right for its `ttl_s` again. False: it has lapsed."""
        sealed = [self._relay.seal(self._key, self._token, entry) for entry in entries]
        keys = (self._lease, self._stream)
        return bool(await self._relay.ask("EVAL", _APPEND, 2, *keys, self._token, self._ttl_ms, KEEP_MS, *sealed))

    async def readers(self) -> int:
        """How many processes read it now."""
        return int(await self._relay.ask("EVAL", _READERS, 1, self._readers, _SEEN_MS))

    async def end(self) -> None:
        """Nothing more will be written: whoever comes from now on writes an answer anew."""
        await self._relay.ask("EVAL", _END, 1, self._lease, self._token)


class Reading:
    """An answer that another process writes, from its start."""

    def __init__(self, relay: RedisRelay, key: str, token: str) -> None:
        self._relay = relay
        self._key = key
        self._token = token
        self._at = b"0"
        self._me = uuid.uuid4().hex
        self._lease, self._stream, self._readers = relay.names(key, token)

    async def more(self, *, timeout_s: float) -> list[bytes]:
        """What was written since the last time; waits for something up to `timeout_s`, at most 3 s.

        Raises StoreError, also for an entry that was tampered with.
        """
        await self._relay.ask("EVAL", _SEEN, 1, self._readers, self._me, KEEP_MS)
        block_ms = max(min(int(timeout_s * 1000), _SEEN_MS), 1)
        found = await self._relay.ask(
            "XREAD", "BLOCK", block_ms, "STREAMS", self._stream, self._at, blocks_s=block_ms / 1000
        )
        entries = []
        for number, fields in _entries(found):
            self._at = number
            entry = self._relay.unseal(self._key, self._token, fields[b"d"] if isinstance(fields, dict) else fields[1])
            if entry is None:
                raise StoreError("An entry in Redis is damaged.")
            entries.append(entry)
        return entries

    async def alive(self) -> bool:
        """Whether its writer still has the right to write it."""
        token = await self._relay.ask("GET", self._lease)
        return bool(token == self._token.encode())


def _entries(found: Any) -> list[tuple[bytes, Any]]:
    """Of one stream, in what either version of the protocol answers."""
    if not found:
        return []
    streams = list(found.values()) if isinstance(found, dict) else [stream[1] for stream in found]
    entries = streams[0]
    return entries[0] if len(entries) == 1 and isinstance(entries[0], list) else entries
