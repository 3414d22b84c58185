"""What is known of sessions that are woken: bounded, in memory, and its small part in the store over a restart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from ...call import Call
from ...errors import StoreError
from ...protocols import KV
from .borrow import Head
from .marks import Habits, Step

__all__ = ["Memory", "Session", "scope_of"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_KEEP_S = 7 * 86_400.0
_MOST_FIRSTS = 512
_VERSION = 1


class Session(msgspec.Struct, frozen=True):
    """One conversation. `firsts`: the prints of users' messages as first sent, since its first wake; oldest first.

    `pinned`: how many messages its last request had pinned. `refused`: answers in a row, to wakes on the session's
    head, that called a tool which the wake did not offer. `lost`: a wake whose marks were taken off went on after all.
    """

    woken: bool = False
    firsts: tuple[bytes, ...] = ()
    pinned: int = 0
    refused: int = 0
    lost: bool = False
    head: Head | None = None

    def sent(self, prints: list[bytes]) -> Session:
        new = tuple(p for p in prints if p not in self.firsts)
        return msgspec.structs.replace(self, firsts=(*self.firsts, *new)[-_MOST_FIRSTS:]) if new else self


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: int
    firsts: tuple[bytes, ...]


_stored = msgspec.msgpack.Decoder(_Stored)


class Recent(Generic[K, V]):
    """A dict that forgets what was not used for longest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class Memory:
    """Sessions by scope (see `scope_of`), habits of waking by agent, and when a wake's head was last sent."""

    def __init__(self, kv: KV, *, sessions: int = 512) -> None:
        self._kv = kv
        self.sessions: Recent[bytes, Session] = Recent(sessions)
        self.habits: Recent[tuple[str, str], Habits] = Recent(sessions)
        self.wakes: Recent[bytes, float] = Recent(sessions)

    def habits_of(self, call: Call) -> Habits:
        return self.habits.get(_agent(call)) or Habits()

    def went(self, call: Call, step: Step) -> None:
        """A wake's first step ended the wake, or called a tool."""
        self.habits.put(_agent(call), self.habits_of(call).after(step))

    async def stored(self, call: Call, scope: bytes) -> Session | None:
        """What an earlier process knew of a session that was woken; None: nothing. Never raises."""
        try:
            value = await self._kv.get(_key(call, scope))
        except StoreError:
            return None
        if value is None:
            return None
        try:
            found = _stored.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Session(woken=True, firsts=found.firsts) if found.version == _VERSION else None

    async def store(self, call: Call, scope: bytes, session: Session) -> None:
        """Raises StoreError."""
        value = msgspec.msgpack.encode(_Stored(_VERSION, session.firsts))
        await self._kv.put(_key(call, scope), value, ttl_s=_KEEP_S)


def scope_of(call: Call) -> bytes:
    """Whose conversation it is and whose cache it is in: tenant, session, the caller's own key, provider and model."""
    identity, target, credential = call.identity, call.target, call.credential
    parts = (
        identity.tenant,
        identity.session,
        credential.secret if credential is not None else "",
        target.provider,
        target.model,
        call.request.wire.value,
    )
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=16).digest()


def _key(call: Call, scope: bytes) -> str:
    return f"heartbeat/{call.identity.tenant}/{scope.hex()}"


def _agent(call: Call) -> tuple[str, str]:
    return call.identity.tenant, call.identity.agent
