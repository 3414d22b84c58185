"""What is kept for a session: texts that were left out, and exchanges that are put back into its requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict

import msgspec

from ...call import Call
from ...errors import StoreError
from ...protocols import Tokenizer
from ...references import References, ReferenceSettings
from ...text.excerpts import excerpt
from ...wire.legs import Called, Exchange
from ...wire.recall_tool import wanted

__all__ = ["GONE", "UNNAMED", "UNREAD", "Shelf"]

log = logging.getLogger(__name__)

GONE = "Nothing is kept under that name here (any more). If you need it, run the tool again that gave it."
UNNAMED = 'Say which text: ref is a name as it stands where text was left out, such as "rabcdefghij".'
UNREAD = "The text cannot be read just now. If you need it, run the tool again that gave it."

_IN_A_THREAD = 64_000  # characters; looking for lines in more would hold others up
_MOST_REMEMBERED = 100_000  # names of stored texts
_MOST_SESSIONS = 5_000
_MOST_EXCHANGES = 64  # of a session, the newest
_TURNS = "turns"
_CALL_TOKENS = 30  # of a call and what stands around its result


class Shelf:
    """The References as calls use them: in time, or not at all."""

    def __init__(self, references: References, tokenizer: Tokenizer, settings: ReferenceSettings) -> None:
        self._references = references
        self._tokenizer = tokenizer
        self._settings = settings
        self._stored: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._exchanges: OrderedDict[tuple[str, str], tuple[Exchange, ...]] = OrderedDict()  # by tenant and session

    async def put(self, call: Call, texts: dict[str, str]) -> str:
        """Keep these texts. Why that cannot be done in time; "" where it is done."""
        tenant, session = call.identity.tenant, call.identity.session
        new = {id: text for id, text in texts.items() if (tenant, session, id) not in self._stored}
        if not session:
            return "it belongs to no session"
        if not new:
            return ""
        try:
            async with asyncio.timeout(self._settings.store_s):
                await asyncio.gather(*(self._references.put(tenant, session, id, text) for id, text in new.items()))
        except (StoreError, TimeoutError) as error:
            log.warning("left-out texts cannot be kept", extra={"error": type(error).__name__})
            return "what it leaves out could not be kept"
        for id in new:
            self._stored[tenant, session, id] = None
        while len(self._stored) > _MOST_REMEMBERED:
            self._stored.popitem(last=False)
        return ""

    async def result(self, call: Call, called: Called) -> str:
        """What the model is shown."""
        asked = wanted(called.arguments)
        if not asked.ref:
            return UNNAMED
        try:
            async with asyncio.timeout(self._settings.store_s):
                text = await self._references.get(call.identity.tenant, call.identity.session, asked.ref)
        except (StoreError, TimeoutError) as error:
            log.warning("a left-out text cannot be read", extra={"error": type(error).__name__})
            return UNREAD
        if text is None:
            return GONE

        def show() -> str:
            return excerpt(
                text,
                count=self._tokenizer.count,
                most_tokens=self._settings.result_tokens,
                first=asked.first,
                last=asked.last,
                query=asked.query,
            )

        return await asyncio.to_thread(show) if len(text) > _IN_A_THREAD else show()

    async def exchanges(self, call: Call) -> tuple[Exchange, ...]:
        """What is to be put back into the session's requests. After a restart it is read anew."""
        place = call.identity.tenant, call.identity.session
        known = self._exchanges.get(place)
        if known is None:
            data = None
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(self._settings.store_s):
                    data = await self._references.noted(*place, _TURNS)
            known = _decoder.decode(data) if data is not None else ()
        self._exchanges[place] = known
        self._exchanges.move_to_end(place)
        if len(self._exchanges) > _MOST_SESSIONS:
            self._exchanges.popitem(last=False)
        return known

    async def keep(self, call: Call, exchange: Exchange) -> None:
        """Before the answer's end is told, so that the next request finds it."""
        place = call.identity.tenant, call.identity.session
        kept = self._exchanges[place] = (*(await self.exchanges(call)), exchange)[-_MOST_EXCHANGES:]
        try:
            async with asyncio.timeout(self._settings.store_s):
                await self._references.note(*place, _TURNS, msgspec.json.encode(kept))
        except (StoreError, TimeoutError) as error:  # it is in memory, for as long as that lasts
            log.warning("an exchange cannot be kept", extra={"error": type(error).__name__})

    def tokens(self, results: list[str]) -> int:
        """What calls and these results of theirs come to in a prompt."""
        return sum(map(self._tokenizer.count, results)) + _CALL_TOKENS * len(results)


_decoder = msgspec.json.Decoder(tuple[Exchange, ...])
