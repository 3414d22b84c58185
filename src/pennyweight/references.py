"""Texts that were left out of a request, kept under short names by which a model can have them back.

A name is made of the text, the session and the tenant, so the same text has the same name whenever its session sends
it, and the names of others are neither known nor of use. What is kept lapses with the session; what is gone is said to
be gone.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b

import msgspec

from .errors import StoreError
from .kept import entry_key, unwrapped, wrapped
from .protocols import KV, Clock

__all__ = [
    "BROUGHT",
    "FACT",
    "NAME_PATTERN",
    "References",
    "UNCHANGED",
    "ReferenceSettings",
    "leave_out",
    "reference_id",
]

FACT = "references"
"""The key of `Call.facts` under which optimizers leave, by reference, the whole texts of what they shortened."""

BROUGHT = "brought_tokens"
"""The key of `Call.facts` that tells how many tokens were put into the prompt that the call as it came has not."""

UNCHANGED = "sent_unchanged"
"""The key of `Call.facts` that tells that the call went out as it came, whatever was made of it before."""

NAME_PATTERN = r"r[a-z2-7]{10}"
"""What a reference looks like."""

_CACHE = "references"
_ID_BYTES = 7  # 56 bits, of which ten letters of five bits are shown


class ReferenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[references]`. ttl_s: how long a text is kept. max_bytes: longer texts are not left out. store_s: how long a
    call waits for its texts to be stored before it goes out untouched. loops: how often a model is asked again within
    one answer. result_tokens: what it is shown of a text at once.
    """

    ttl_s: float = 7 * 86_400.0
    max_bytes: int = 8 << 20
    store_s: float = 2.0
    loops: int = 4
    result_tokens: int = 8_000


def reference_id(tenant: str, session: str, text: str) -> str:
    """The name of a text in a session: "r" and ten letters or digits, as `NAME_PATTERN`."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_ID_BYTES, key=_session_key(tenant, session))
    return "r" + b32encode(digest.digest()).decode().lower()[:10]


def leave_out(facts: dict[str, object], texts: Mapping[str, str]) -> None:
    """Note that a call's request will stand for these whole texts, by their references, if it is sent so."""
    known = facts.get(FACT)
    facts[FACT] = {**known, **texts} if isinstance(known, dict) else dict(texts)


class References:
    """The store. A text belongs to one tenant and one session, and nobody else can have it.

    written: waits until what was put under a key is where it outlives this process, for stores that write behind.
    """

    def __init__(
        self,
        kv: KV,
        clock: Clock,
        *,
        ttl_s: float = 7 * 86_400.0,
        max_bytes: int = 8 << 20,
        written: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self._kv = kv
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._written = written

    async def put(self, tenant: str, session: str, id: str, text: str) -> None:
        """Keep the text, so that it outlives this process. Raises StoreError, also where it is too long for that."""
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > self._max_bytes:
            raise StoreError(f"A text of {len(data)} bytes is not kept: references.max_bytes is {self._max_bytes}.")
        key = _key(tenant, session, id)
        await self._put(key, data)
        if self._written is not None and not await self._written(key):
            raise StoreError("A left-out text could not be written.")

    async def get(self, tenant: str, session: str, id: str) -> str | None:
        """The text; None where there is none of that name (any more). Raises StoreError."""
        data = await self._get(_key(tenant, session, id))
        return None if data is None else data.decode("utf-8", "surrogatepass")

    async def note(self, tenant: str, session: str, name: str, data: bytes) -> None:
        """Keep something else of the session beside its texts, sooner or later. Raises StoreError."""
        await self._put(_key(tenant, session, f"\0{name}"), data)

    async def noted(self, tenant: str, session: str, name: str) -> bytes | None:
        """Raises StoreError."""
        return await self._get(_key(tenant, session, f"\0{name}"))

    async def _put(self, key: str, data: bytes) -> None:
        await self._kv.put(key, wrapped(key, self._clock.now(), data), ttl_s=self._ttl_s)

    async def _get(self, key: str) -> bytes | None:
        found = await self._kv.get(key)
        told = None if found is None else unwrapped(key, found)
        return None if told is None else bytes(told.payload)


def _session_key(tenant: str, session: str) -> bytes:
    owner, whose = tenant.encode("utf-8", "surrogatepass"), session.encode("utf-8", "surrogatepass")
    return blake2b(b"%d:%b%b" % (len(owner), owner, whose), digest_size=32, person=b"pw-references").digest()


def _key(tenant: str, session: str, name: str) -> str:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=32, key=_session_key(tenant, session))
    return entry_key(_CACHE, tenant, digest.hexdigest(), "")
