"""What is kept of calls that went to a Batch API, so that a killed process loses none and pays for none twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from ..call import Call, Identity, Optimize, Target
from ..request import Headers, Operation, Request, Wire

__all__ = ["Batch", "Deferred", "DeferredShelf", "Group", "Item", "Recorded", "Shelf", "recall", "record"]

ItemState = Literal["queued", "sent", "answered", "refused", "unserved"]
BatchState = Literal["sending", "creating", "doubtful", "submitted", "ended"]


class Group(msgspec.Struct, frozen=True):
    """What calls must have in common to go in one batch. `headers`: those that change an answer (versions, betas).

    model: OpenAI takes one model in a batch.
    """

    provider: str
    wire: Wire
    path: str
    model: str
    headers: Headers = ()


class Recorded(msgspec.Struct, frozen=True):
    """A call as far as its receipt needs it: no prompt, no key."""

    id: str
    identity: Identity
    target: Target
    wire: Wire
    operation: Operation
    path: str
    model: str  # as asked
    at: float


class Item(msgspec.Struct, frozen=True):
    """One call. share: what an equal call has in common with it, by which a caller that asks again finds it.

    late: its caller was answered in another way, or left, so that what it is billed has a receipt of its own.
    """

    id: str
    share: str
    group: Group
    call: Recorded
    body: bytes
    at: float
    until: float
    batch: str = ""
    state: ItemState = "queued"
    status: int = 0
    answer: bytes = b""
    why: str = ""
    late: bool = False
    told: bool = False  # its receipt is on its way to the ledger
    done_at: float | None = None


class Batch(msgspec.Struct, frozen=True):
    """What was sent together. `id` is ours; `remote` the provider's, "" until it told it.

    sending: nothing is at the provider that could be billed. creating: it was asked for, and what came of it is not
    known. doubtful: one of `candidates`, which the provider has, may be it. submitted: it is there.
    """

    id: str
    group: Group
    at: float
    count: int
    state: BatchState = "sending"
    upload: str = ""
    remote: str = ""
    candidates: tuple[str, ...] = ()
    asked_at: float = 0.0  # when the provider was first asked for it
    ended_at: float | None = None
    note: str = ""


class Shelf(Protocol):
    """Where they are kept. Raises StoreError."""

    async def keep(
        self, *, batches: Sequence[Batch] = (), items: Sequence[Item] = (), gone: Sequence[str] = ()
    ) -> None:
        """All of it or nothing. gone: ids of items."""
        ...

    async def load(self) -> tuple[Sequence[Batch], Sequence[Item]]:
        """What is there that nobody goes on with any more; it is this one's from now on. Ended batches too."""
        ...

    async def forget(self, before: float) -> None:
        """Drop batches that ended before that moment."""
        ...


def record(call: Call) -> Recorded:
    original = call.original
    return Recorded(
        call.id, call.identity, call.target, original.wire, original.operation, original.path, original.model, call.at
    )


def recall(kept: Recorded) -> Call:
    """A call that its receipt can be written from."""
    request = Request(kept.wire, msgspec.json.encode({"model": kept.model}), path=kept.path, operation=kept.operation)
    return Call(kept.id, kept.identity, request, request, kept.target, kept.at)


class Deferred(msgspec.Struct, frozen=True):
    """A call whose caller was told "later": what it takes to ask it again, without a key, and its answer.

    webhook: a name of [lanes.webhooks], "" where the answer is fetched. told: the webhook took it, or never will.
    """

    id: str
    identity: Identity
    wire: Wire
    path: str
    query: str
    operation: Operation
    target: Target
    headers: Headers
    body: bytes
    optimize: Optimize
    at: float
    until: float
    webhook: str = ""
    state: Literal["waiting", "done"] = "waiting"
    status: int = 0
    answer: bytes = b""
    cost: int | None = None  # pico-dollars; None: not known
    told: bool = False
    done_at: float | None = None


class DeferredShelf(Protocol):
    """Where they are kept. Raises StoreError."""

    async def keep(self, call: Deferred) -> None: ...

    async def load(self) -> Sequence[Deferred]:
        """What is there that nobody goes on with any more and that is not finished; it is this one's from now on."""
        ...

    async def get(self, id: str, tenant: str) -> Deferred | None: ...

    async def of(self, tenant: str, *, limit: int) -> Sequence[Deferred]:
        """The newest, without bodies and answers."""
        ...

    async def drop(self, id: str, tenant: str) -> bool: ...

    async def forget(self, before: float) -> None:
        """Drop those that were done before that moment."""
        ...
