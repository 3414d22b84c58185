"""The sockets: what an optimizer, a backend, a store, a ledger and a clock must offer."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, runtime_checkable

from .call import Call, Outcome, Proposal, Receipt
from .request import Reply

__all__ = [
    "KV",
    "Backend",
    "Clock",
    "Concerned",
    "Embedder",
    "Lease",
    "Leases",
    "Ledger",
    "Observer",
    "Optimizer",
    "PromptKeeper",
    "Tier",
    "Tokenizer",
    "Vectors",
]


@runtime_checkable
class Optimizer(Protocol):
    """Proposes a change to one call. `propose` looks and never writes; `settle` learns after the caller was answered.

    `wants_response`: whether `settle` needs `outcome.response`; folding a stream costs, so it is built only then.
    Asked once per call, before the upstream is.

    Three more words spare calls what is not their business, and may be left out: an attribute `wants_responses` that is
    False where `wants_response` never says yes, and the methods of `Concerned`.
    """

    @property
    def name(self) -> str: ...

    def propose(self, call: Call) -> Coroutine[Any, Any, Proposal | None]: ...

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool: ...


class Concerned(Protocol):
    """What an optimizer may have beside `Optimizer`, each alone: quick looks, that never raise."""

    def concerns(self, call: Call) -> bool:
        """False: `propose` has nothing to offer for this call, and is not asked."""
        ...

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Of many finished calls, those that `settle` would learn anything from, in their order; others it is not
        shown."""
        ...


class Observer(Protocol):
    """Sees finished calls whatever their optimize level, and changes none: the recorder of captures is one.

    An attribute `wants_responses` that is False says that `wants` never says yes.
    """

    def wants(self, call: Call) -> bool:
        """Whether `take` needs the whole answer."""
        ...

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        """Look at calls that are finished, in the order in which they ended. Never raises."""
        ...


class Backend(Protocol):
    """Answers a call. Wrappers take a Backend and are one.

    Raises BackendError when nothing could be opened at all; an upstream's own refusal is a Reply with its status,
    headers and body. A wrapper with nothing to do for a call hands on the inner backend's coroutine itself, and costs
    next to nothing; one that does so for all plain calls of a kind may say it once (`backends.direct.Beneath`). See
    docs/decisions/0002.
    """

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]: ...


class KV(Protocol):
    """Bytes and counters by key. `ttl_s` None: until evicted. Raises StoreError."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None: ...

    async def delete(self, prefix: str) -> int: ...

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int: ...


class Tier(KV, Protocol):
    """A KV that can stand under or over others. Raises StoreError."""

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        """The value and for how many seconds more it is kept; None seconds: until evicted."""
        ...

    async def remove(self, key: str) -> None:
        """Drop that key alone."""
        ...

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        """Up to `limit` keys that begin so, in no order; some that have just lapsed may be among them."""
        ...


@runtime_checkable
class PromptKeeper(Protocol):
    """A KV that may keep, beside an answer, the prompt in clear text: where the operator asked for that."""

    @property
    def keeps_prompts(self) -> bool: ...

    async def put_answer(self, key: str, value: bytes, *, prompt: str, ttl_s: float | None = None) -> None:
        """As `KV.put`."""
        ...


class Lease(Protocol):
    """One holder's sole right to do something, until it is released, or lapses because nobody renewed it in time."""

    async def renew(self) -> bool:
        """Hold it for its `ttl_s` again. False: it has lapsed, and may be another's by now. Raises StoreError."""
        ...

    async def release(self, word: bytes = b"") -> None:
        """Give it up and tell those who wait `word` (a few bytes). Nothing happens where it has lapsed. Never raises:
        what cannot be released lapses.
        """
        ...


class Leases(Protocol):
    """Who does a thing, among all that share a store. The store's own clock decides when a lease lapses, so that the
    clocks of those who share it may differ. Raises StoreError.
    """

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        """None: another holds it."""
        ...

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        """The holder's last word, once it has released (also a few seconds ago); b"" when it has lapsed or there is
        none; None when it is still held after `timeout_s`.
        """
        ...


class Embedder(Protocol):
    """Turns a text into a vector: `dimensions` float32, little-endian, of unit length.

    `fingerprint` names model, precision and batch mode. Vectors of different fingerprints are never compared: int8 and
    fp32 vectors of one text differ (cosine 0.994), and so do int8 vectors made alone and in a batch (0.9935).
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, text: str) -> bytes:
        """Raises StoreError when no vector can be had."""
        ...


class Vectors(Protocol):
    """Vectors by space and id; a space holds those of one tenant, kind of call and embedder. Raises StoreError."""

    async def add(self, space: str, id: str, vector: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `vector` (float32, little-endian, unit length) under `id`, in place of what was there."""
        ...

    async def nearest(self, space: str, vector: bytes, *, limit: int) -> Sequence[tuple[str, float]]:
        """The ids of the `limit` nearest with their cosines, nearest first. A space of another dimension is empty."""
        ...

    async def remove(self, space: str, id: str) -> None: ...

    async def delete(self, prefix: str) -> int:
        """Drop every space whose name begins so. How many vectors that were."""
        ...


class Ledger(Protocol):
    """Keeps receipts. `append` is atomic per batch. Raises StoreError."""

    async def append(self, receipts: Sequence[Receipt]) -> None: ...


class Tokenizer(Protocol):
    def count(self, text: str) -> int: ...


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...
