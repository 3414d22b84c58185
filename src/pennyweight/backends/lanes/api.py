"""What a Batch API can be asked, whoever's it is, and what it says of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from ...errors import BackendError
from ...request import Headers
from ...routing.batches import Batch, Group, Item

__all__ = ["Api", "Ask", "Refused", "Result", "Seen", "json_of", "lines_of", "read"]

T = TypeVar("T")


class Ask(Protocol):
    """One request to the provider: the status and the body. Raises BackendError where nothing came back."""

    def __call__(
        self, method: str, path: str, *, query: str = "", headers: Headers = (), body: bytes = b""
    ) -> Awaitable[tuple[int, bytes]]: ...


class Refused(BackendError):
    """The provider will not do it. `status_told` is what it answered."""

    def __init__(self, status_told: int, message: str) -> None:
        super().__init__(message)
        self.status_told = status_told

    @property
    def final(self) -> bool:
        """Whether asking again can not help; a limit or a fault of the provider may pass."""
        return 400 <= self.status_told < 500 and self.status_told not in (408, 409, 425, 429)

    @property
    def sure(self) -> bool:
        """Whether nothing was made of the request. After a fault of the provider that is not known."""
        return self.status_told < 500


class Seen(msgspec.Struct, frozen=True):
    """How a batch stands. `files`: where the results are, where they are in files."""

    state: Literal["running", "ended", "failed"]
    files: tuple[str, ...] = ()
    why: str = ""


class Result(msgspec.Struct, frozen=True):
    """What became of one item. answered and refused come with the provider's body and status.

    unserved: it was not done (expired, cancelled, a fault of the provider), and nothing is billed for it.
    """

    kind: Literal["answered", "refused", "unserved"]
    status: int = 0
    body: bytes = b""
    why: str = ""


class Api(Protocol):
    """A kind of Batch API. All methods raise BackendError; `Refused` where the provider said no."""

    most_items: int
    most_bytes: int
    names_batches: bool
    """Whether a batch carries our name for it, so that it can be found again by that."""

    def takes(self, body: Mapping[str, Any]) -> bool:
        """Whether the provider does this in a batch at all."""
        ...

    async def upload(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        """What must be there before `create`. Costs nothing, so it may be done twice. "" where nothing must."""
        ...

    async def create(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        """The provider's id."""
        ...

    async def find(self, ask: Ask, batch: Batch) -> Sequence[str]:
        """The provider's ids of what may be this batch; of one that carries our name at most that."""
        ...

    async def look(self, ask: Ask, group: Group, remote: str) -> Seen: ...

    async def results(self, ask: Ask, group: Group, remote: str, seen: Seen) -> dict[str, Result]:
        """By our ids of the items, in no order."""
        ...

    async def cancel(self, ask: Ask, group: Group, remote: str) -> None: ...

    async def delete(self, ask: Ask, batch: Batch, files: Sequence[str]) -> None:
        """Take what the provider keeps of an ended batch away: requests and answers."""
        ...


async def read(content: bytes, result: Callable[[dict[str, msgspec.Raw]], T]) -> list[T]:
    """What `result` makes of each line; of a long file in a thread, as it would hold up everybody else."""

    def work() -> list[T]:
        return [result(line) for line in lines_of(content)]

    return work() if len(content) < _LONG_BYTES else await asyncio.to_thread(work)


_LONG_BYTES = 1 << 18


def json_of(status: int, content: bytes, what: str) -> dict[str, Any]:
    """An answer's object. Raises Refused for another status, BackendError for what is no object."""
    if not 200 <= status < 300:
        raise Refused(status, f"{what} was refused with {status}.")
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise BackendError(f"{what} was answered with {status} and no JSON object.")
    return value


def lines_of(content: bytes) -> list[dict[str, msgspec.Raw]]:
    """The objects of a JSONL file; lines that are none are left out, as one must not cost the others."""
    found = []
    for line in content.split(b"\n"):
        if line.strip():
            try:
                found.append(_line.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return found


_line = msgspec.json.Decoder(dict[str, msgspec.Raw])
