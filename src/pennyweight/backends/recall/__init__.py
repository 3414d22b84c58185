"""Keeps what a request leaves out before it is sent, and answers the model when it asks for that.

A model that calls our tool gets the text from us and is asked again; its caller sees one answer, whole or streamed, in
which nothing of that shows. Where something is in the way (a store that is down or slow, an upstream that does not take
the second ask, a model that does not stop asking), the call is asked as its caller wrote it, with every text in it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...call import Call
from ...errors import BadRequest
from ...money import PicoUSD
from ...protocols import Backend, Tokenizer
from ...references import FACT, UNCHANGED, References, ReferenceSettings
from ...request import Charge, Operation, Reply
from ...wire.recall_tool import has_tool
from ..direct import beneath
from .answering import Answering, unsaved
from .shelf import GONE, UNNAMED, UNREAD, Shelf

__all__ = ["GONE", "UNNAMED", "UNREAD", "Recall"]


class Recall:
    """A Backend over `inner`. Calls from which nothing was left out it hands on at the cost of a comparison.

    cost: what a charge comes to, so that the receipt counts what asking again costs against the saving.
    """

    def __init__(
        self,
        inner: Backend,
        references: References,
        tokenizer: Tokenizer,
        *,
        settings: ReferenceSettings,
        cost: Callable[[Charge], PicoUSD | None],
    ) -> None:
        self._inner = inner
        self._shelf = Shelf(references, tokenizer, settings)
        self._loops = settings.loops
        self._cost = cost

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        if call.request is call.original or call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        ours = _ours(call)
        return self._opened(call, ours=ours) if ours or FACT in call.facts else self._inner.open(call)

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call)  # nothing was left out of it

    async def _opened(self, call: Call, *, ours: bool) -> Reply:
        texts = _mentioned(call, self._shelf.unknown(call) if ours else call.facts[FACT])
        why = ""
        if texts:
            why = await self._shelf.put(call, texts) if ours else _NO_TOOL
        elif not ours:
            return await self._inner.open(call)
        if why:
            call.facts[UNCHANGED] = True
            reply = await self._inner.open(call.sending(call.original))
            reply.notes.insert(0, unsaved(call, f"asked unchanged: {why}"))
            return reply
        return await Answering(call, self._inner, self._shelf, cost=self._cost, loops=self._loops).open()


_NO_TOOL = "its client has no use for the tool that gives texts back"


def _mentioned(call: Call, texts: Mapping[str, str]) -> dict[str, str]:
    """Those of the left-out texts for which the request really stands."""
    raw = call.request.raw
    return {id: text for id, text in texts.items() if id.encode() in raw}


def _ours(call: Call) -> bool:
    """Whether the tool was put there by us: a caller that is such a gateway answers for itself."""
    try:
        if not call.identity.session or call.request.envelope.tools is call.original.envelope.tools:
            return False
        return has_tool(call.request) and not has_tool(call.original)
    except BadRequest:
        return False
