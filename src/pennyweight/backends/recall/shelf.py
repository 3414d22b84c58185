"""What is kept for a session: the texts that were left out of its requests, and its turns."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from ...call import Call
from ...errors import StoreError
from ...protocols import Tokenizer
from ...references import FACT, References, ReferenceSettings
from ...text.excerpts import excerpt
from ...wire.legs import Called
from ...wire.recall_tool import wanted
from .turns import Turns

__all__ = ["GONE", "UNNAMED", "UNREAD", "Shelf"]

log = logging.getLogger(__name__)

GONE = "Nothing is kept under that name here (any more). If you need it, run the tool again that gave it."
UNNAMED = 'Say which text: ref is a name as it stands where text was left out, such as "rabcdefghij".'
UNREAD = "The text cannot be read just now. If you need it, run the tool again that gave it."

_IN_A_THREAD = 64_000  # characters; looking for lines in more would hold others up
_MOST_REMEMBERED = 100_000  # names of stored texts
_CALL_TOKENS = 30  # of a call and what stands around its result


class Shelf:
    """The References as calls use them: in time, or not at all."""

    def __init__(self, references: References, tokenizer: Tokenizer, settings: ReferenceSettings) -> None:
        self._references = references
        self._tokenizer = tokenizer
        self._settings = settings
        self._stored: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self.turns = Turns(references, within_s=settings.store_s)

    def unknown(self, call: Call) -> dict[str, str]:
        """Of what optimizers left out of the call, what this process has not stored yet."""
        tenant, session = call.identity.tenant, call.identity.session
        texts: dict[str, str] = call.facts.get(FACT, {})
        return {id: text for id, text in texts.items() if (tenant, session, id) not in self._stored}

    async def put(self, call: Call, texts: dict[str, str]) -> str:
        """Keep these texts. Why that cannot be done in time; "" where it is done."""
        tenant, session = call.identity.tenant, call.identity.session
        try:
            async with asyncio.timeout(self._settings.store_s):
                await asyncio.gather(*(self._references.put(tenant, session, id, text) for id, text in texts.items()))
        except (StoreError, TimeoutError) as error:
            log.warning("left-out texts cannot be kept", extra={"error": type(error).__name__})
            return "what it leaves out could not be kept"
        for id in texts:
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

    def tokens(self, results: list[str]) -> int:
        """What calls and these results of theirs come to in a prompt."""
        return sum(map(self._tokenizer.count, results)) + _CALL_TOKENS * len(results)
