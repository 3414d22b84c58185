"""Keeps what callers of Responses are told is kept: answers that were translated for them, which no provider has.

A Responses caller that does not say `store: false` may name an earlier answer (`previous_response_id`) or its items
(`item_reference`) in place of sending them. OpenAI has its own; of an answer that came from a provider of another
protocol only the gateway knows. Its ids say so, and the rest is looked up by tenant.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import Any

import msgspec

from ..errors import BadRequest, PreviousGone, StoreError
from ..kept import entry_key, unwrapped, wrapped
from ..protocols import KV, Clock
from ..request import DELETE, Edit, Operation, Request, Wire
from ..wire.sse import Splitter
from ..wire.translate.handed_back import OWN, is_own, needed, previous, references

__all__ = ["Answers", "keeps"]

log = logging.getLogger(__name__)

_CACHE = "responses"
_MOST_TURNS = 1_000  # of a conversation that goes on by previous_response_id
_BARE = f"resp_{OWN}"  # of an answer whose provider gave it no id
_ANSWER = "resp_"
_PREVIOUS = "previous_response_id"
_MOST_BYTES = 64 << 20  # of such a conversation
_MADE = frozenset(("function_call", "custom_tool_call", "reasoning"))


class Answers:
    """ttl_s: how long an answer is kept. max_bytes: a longer answer, or the input before it, is not."""

    def __init__(self, kv: KV, clock: Clock, *, ttl_s: float, max_bytes: int) -> None:
        self._kv = kv
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes

    async def whole(self, request: Request, tenant: str) -> Request:
        """The request with what it names of ours in place of the names. Raises BadRequest for what is gone, and for
        what cannot be read just now."""
        if not needed(request):
            return request
        edits: list[Edit] = []
        for index, id in references(request):
            if is_own(id):
                edits.append(Edit(("input", index), await self._item(tenant, id)))
        edited = request.edit(edits) if edits else request
        earlier = previous(request)
        if not is_own(earlier):
            return edited
        given = edited.body.get("input")
        if not (given is None or isinstance(given, str | list)):
            raise BadRequest("input must be a string or a list.")
        now = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
        history = await self._history(tenant, earlier)
        return edited.edit((Edit(("previous_response_id",), DELETE), Edit(("input",), [*history, *now])))

    async def keep(self, request: Request, tenant: str, answer: dict[str, Any]) -> None:
        """An answer as its caller gets it. Never raises for what cannot be kept."""
        items = [item for item in answer.get("output") or [] if isinstance(item, dict)]
        for item in items:
            await self.keep_item(tenant, item)
        id = answer.get("id")
        given = request.body.get("input")
        if not isinstance(id, str) or not is_own(id) or id == _BARE or _brings_history(given):
            return
        turn = {"before": previous(request), "input": given, "output": items}
        await self._put(tenant, id, msgspec.json.encode(turn))

    async def keep_item(self, tenant: str, item: dict[str, Any]) -> None:
        id = item.get("id")
        if isinstance(id, str) and is_own(id):
            await self._put(tenant, id, msgspec.json.encode(item))

    async def kept_as_it_comes(
        self, request: Request, tenant: str, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The same stream. Its caller has seen nothing that is not kept yet, and may ask at once."""
        splitter = Splitter()
        async for chunk in chunks:
            for event in splitter.feed(chunk):
                match event.name:
                    case "response.output_item.done":
                        await self.keep_item(tenant, msgspec.json.decode(event.data)["item"])
                    case "response.completed" | "response.incomplete":
                        await self.keep(request, tenant, msgspec.json.decode(event.data)["response"])
                    case _:
                        pass
            yield chunk

    async def _history(self, tenant: str, id: str) -> list[Any]:
        """Everything that was said up to that answer, itself included, in order."""
        turns: list[list[Any]] = []
        at, room = id, _MOST_BYTES
        while at:
            raw = await self._get(tenant, at, _PREVIOUS)
            room -= len(raw)
            if len(turns) == _MOST_TURNS or room < 0:
                raise BadRequest(
                    f"{_PREVIOUS} {_short(id)} ends more than {_MOST_TURNS} turns or {_MOST_BYTES >> 20} MiB. "
                    "Send the input."
                )
            turn = msgspec.json.decode(raw)
            given = turn["input"]
            said = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
            turns.append([*said, *turn["output"]])
            at = turn["before"]
        return [item for turn in reversed(turns) for item in turn]

    async def _item(self, tenant: str, id: str) -> Any:
        return msgspec.Raw(await self._get(tenant, id, "item_reference"))

    async def _get(self, tenant: str, id: str, what: str) -> bytes:
        key = _key(tenant, id)
        try:
            answer = id.startswith(_ANSWER)  # and no item, of which nothing goes on
            found = await self._kv.get(key) if answer is (what == _PREVIOUS) else None
        except StoreError as error:
            log.warning("a kept answer cannot be read", extra={"error": type(error).__name__})
            found = None
        told = None if found is None else unwrapped(key, found)
        if told is None:
            gone = PreviousGone if what == _PREVIOUS else BadRequest
            raise gone(
                f"{what} {_short(id)} is not kept here (any more). Send the whole input (clients do with store: false)."
            )
        return bytes(told.payload)

    async def _put(self, tenant: str, id: str, data: bytes) -> None:
        if len(data) > self._max_bytes:
            log.warning("an answer is too long to be kept", extra={"size_bytes": len(data)})
            return
        key = _key(tenant, id)
        try:
            await self._kv.put(key, wrapped(key, self._clock.now(), data), ttl_s=self._ttl_s)
        except StoreError as error:
            log.warning("an answer cannot be kept", extra={"error": type(error).__name__})


def _short(id: str) -> str:
    return repr(id if len(id) <= 100 else f"{id[:100]}…")


def keeps(request: Request) -> bool:
    """Whether a Responses caller expects its answer to be kept."""
    generates = request.wire is Wire.OPENAI_RESPONSES and request.operation is Operation.GENERATE
    return generates and request.body.get("store") is not False


def _brings_history(given: Any) -> bool:
    """A caller that sends what the model said before needs nobody to keep it, and keeping it all grows fast."""
    if not isinstance(given, list):
        return False
    said = (item for item in given if isinstance(item, dict))
    return any(item.get("type") in _MADE or item.get("role") == "assistant" for item in said)


def _key(tenant: str, id: str) -> str:
    owner = tenant.encode("utf-8", "surrogatepass")
    names = b"%d:%b%b" % (len(owner), owner, id.encode("utf-8", "surrogatepass"))
    return entry_key(_CACHE, tenant, blake2b(names, digest_size=32, person=b"pw-answers").hexdigest(), "")
