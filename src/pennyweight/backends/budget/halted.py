"""What a halted session was about, in its own sentences: made of the request that is refused, when it is.

No prompt is kept before that. What is kept then is the summary, where texts that were left out of requests are kept
too: by tenant and session, for a limited time, and found by nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from ...call import Call
from ...references import References
from ...request import Operation
from ...text.summaries import summarize
from ...wire.blocks import Conversation, Reader
from .words import safe_to_quote

__all__ = ["NOTE", "Halted", "said_in"]

log = logging.getLogger(__name__)

NOTE = "session_summary"
"""The name under which a summary is noted in the references of its session."""

_TOKENS = 500  # of a summary
_SHOWN = 600  # characters of it in a refusal
_FIRST_CHARS, _CHARS = 4_000, 40_000  # of the conversation, its beginning and its end: a refusal must not take seconds
_REMEMBERED = 1_000


class Halted:
    """Owns the summaries that are being made: a session that asks again and again gets the same one."""

    def __init__(self, references: References, reader: Reader, count: Callable[[str], int]) -> None:
        self._references = references
        self._reader = reader
        self._count = count
        self._made: OrderedDict[tuple[str, str], tuple[int, str]] = OrderedDict()

    async def explain(self, call: Call) -> str:
        """What follows the sentence of a refusal: what the session was about, and how to go on. "" where nothing has
        been said yet, or nothing can be told."""
        identity = call.identity
        if not identity.session or call.original.operation is not Operation.GENERATE:
            return ""
        try:
            summary = await self._summary(call)
        except Exception as error:  # noqa: BLE001 - a refusal without a summary is still the refusal
            log.warning("a session could not be summarised", extra={"error": type(error).__name__})
            return ""
        if not summary:
            return ""
        shown = " ".join(summary.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN].rsplit(' ', 1)[0]} …"
        about = f" The session so far: {shown}" if safe_to_quote(shown) else ""
        owner = "" if identity.tenant == "local" else f" --tenant {identity.tenant!r}"
        return (
            f"{about} To go on, begin a new session with its summary: "
            f"pennyweight sessions summary {identity.session!r}{owner}"
        )

    async def summary(self, tenant: str, session: str) -> str | None:
        """The one that was made when the session was halted; None: none, or it has lapsed. Raises StoreError."""
        data = await self._references.noted(tenant, session, NOTE)
        return None if data is None else data.decode("utf-8", "replace")

    async def _summary(self, call: Call) -> str:
        place = call.identity.tenant, call.identity.session
        conversation = self._reader.read(call.original)
        length = len(conversation.messages)
        known = self._made.get(place)
        if known is not None and known[0] == length:
            return known[1]
        text = said_in(conversation)
        if not text:
            return ""
        made = await asyncio.to_thread(
            summarize, text, budget_tokens=_TOKENS, count=self._count, query=conversation.last_user[:1_000]
        )
        self._made[place] = length, made.text
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        await self._references.note(*place, NOTE, made.text.encode("utf-8", "replace"))
        return made.text


def said_in(conversation: Conversation) -> str:
    """What people and the model said, the beginning and the newest of it; "" where the model has said nothing yet.

    What tools gave and the system prompt are left out: they are long, and the client has them again.
    """
    lines = []
    answered = False
    for message in conversation.messages:
        said = "\n".join(block.text for block in message.blocks if block.kind == "text").strip()
        if message.role == "assistant":
            answered = answered or bool(said) or any(block.kind == "call" for block in message.blocks)
        if said and message.role in ("user", "assistant"):
            lines.append(said)
    if not answered:
        return ""
    text = "\n\n".join(lines)
    if len(text) <= _FIRST_CHARS + _CHARS:
        return text
    return f"{text[:_FIRST_CHARS]}\n\n{text[-_CHARS:]}"
