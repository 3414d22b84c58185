"""Legs of OpenAI Responses: items and events are numbered through, and the last event holds the items of all.

Where the provider keeps answers (`store`), the last leg's id names the whole conversation, so that a client which goes
on from it does; else the id stays what it was at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...request import Edit, Request, Usage
from .. import sse
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Said, Weaver
from .pieces import Pieces, by_event, event_of

__all__ = ["joined", "said", "turn", "weaver"]

_ENDS = frozenset(f"response.{status}" for status in ("completed", "incomplete", "failed", "cancelled"))
_BEGINNINGS = frozenset({"response.created", "response.in_progress", "response.queued"})


def said(answer: dict[str, Any]) -> Said:
    with shaped():
        ours, others = [], []
        for item in answer["output"]:
            if _is_ours(item):
                ours.append(Called(str(item["call_id"]), item.get("arguments")))
            elif _is_theirs(item):
                others.append(str(item.get("call_id") or item.get("id")))
        return Said(tuple(ours), tuple(others), answer.get("status") not in (None, "completed"))


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    whole = {**last, "output": [item for answer in answers for item in answer["output"] if not _is_ours(item)]}
    if last.get("store") is False and "id" in answers[0]:
        whole["id"] = answers[0]["id"]
    if isinstance(last.get("usage"), dict):
        told = [block for answer in answers[:-1] if isinstance(block := answer.get("usage"), dict)]
        output = sum(block.get("output_tokens") or 0 for block in told)
        whole["usage"] = _added(last["usage"], output, sum(map(_reasoning, told)))
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    body = request.body
    kept = [item for item in answer["output"] if not (body.get("store") is False and _unreadable(item))]
    given = [
        {"type": "function_call_output", "call_id": call.id, "output": result}
        for call, result in zip(said(answer).ours, results, strict=True)
    ]
    asked = body.get("input")
    if isinstance(asked, list):
        return tuple(Edit(("input", len(asked) + number), item) for number, item in enumerate((*kept, *given)))
    first = [{"role": "user", "content": asked}] if asked else []
    return (Edit(("input",), [*first, *kept, *given]),)


def weaver() -> Weaver:
    return _Weaver()


def _is_ours(item: dict[str, Any]) -> bool:
    return item.get("type") == "function_call" and item.get("name") == NAME


def _is_theirs(item: dict[str, Any]) -> bool:
    """Whether the client is to do something: what providers run themselves has no `call_id`."""
    kind = str(item.get("type"))
    return (kind.endswith("_call") and "call_id" in item) or kind == "mcp_approval_request"


def _unreadable(item: dict[str, Any]) -> bool:
    """Reasoning that the provider has not kept and that does not hold itself either."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _added(usage: dict[str, Any], output: int, reasoning: int) -> dict[str, Any]:
    made = {**usage, "output_tokens": (usage.get("output_tokens") or 0) + output}
    if isinstance(usage.get("total_tokens"), int):
        made["total_tokens"] = usage["total_tokens"] + output
    details = usage.get("output_tokens_details")
    if reasoning and isinstance(details, dict):
        made["output_tokens_details"] = {**details, "reasoning_tokens": _reasoning(usage) + reasoning}
    return made


def _reasoning(usage: dict[str, Any]) -> int:
    details = usage.get("output_tokens_details")
    return (details.get("reasoning_tokens") or 0) if isinstance(details, dict) else 0


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int | None = None
    sequence_number: int | None = None


_decoder = msgspec.json.Decoder(_Event)


class _Weaver:
    def __init__(self) -> None:
        self.asks = False
        self._pieces = Pieces(by_event, self._see)
        self._leg = 0
        self._id = ""  # of the first leg
        self._number = 0  # of the next event
        self._shown = 0  # items that the caller has seen begin
        self._places: dict[int, int | None] = {}  # this leg's items in the caller's answer; None: not shown
        self._finished: list[bytes] = []  # events that end this leg's items
        self._items: list[Any] = []  # of the legs before, as shown
        self._ours = self._others = False
        self._plain = True  # so far the caller sees what comes as it comes
        self._output = self._reasoning = 0  # of the legs before

    def feed(self, chunk: bytes) -> bytes:
        return self._pieces.feed(chunk)

    def close(self) -> bytes:
        return self._pieces.close()

    def next(self, usage: Usage | None) -> None:
        if usage is not None:
            self._output += usage.output_tokens
            self._reasoning += usage.reasoning_tokens
        self._leg += 1
        self._places = {}
        self._finished = []
        self.asks = self._ours = self._others = self._plain = False

    def _see(self, piece: bytes) -> bytes:
        event = event_of(piece)
        if event is None:
            return piece
        try:
            told = _decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return b"" if self.asks and event.data.strip() == b"[DONE]" else piece
        if told.type in _BEGINNINGS:
            if self._leg:
                return b""
            self._id = self._id or str((loads(event.data).get("response") or {}).get("id") or "")
        elif told.type == "response.output_item.added" and told.output_index is not None:
            self._begin(loads(event.data)["item"], told.output_index)
        elif told.type == "response.output_item.done":
            self._finished.append(event.data)
        elif told.type in _ENDS:
            return self._end(piece, event, told)
        place = told.output_index
        if place is not None:
            place = self._places.get(place, place)
            if place is None:
                return b""
        return self._passed(piece, event, told, place)

    def _begin(self, item: dict[str, Any], index: int) -> None:
        if _is_ours(item):
            self._places[index] = None
            self._ours, self._plain = True, False
            return
        self._others = self._others or _is_theirs(item)
        self._places[index] = self._shown
        self._shown += 1

    def _passed(self, piece: bytes, event: sse.Event, told: _Event, place: int | None) -> bytes:
        """The event with its numbers as the caller counts."""
        number, self._number = self._number, self._number + 1
        if self._plain:
            self._number = (told.sequence_number if told.sequence_number is not None else number) + 1
            return piece
        body = loads(event.data)
        if place is not None:
            body["output_index"] = place
        return self._encoded(body, event, number)

    def _end(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        body = loads(event.data)
        response = body["response"]
        output = response.get("output") or [loads(data).get("item") for data in self._finished]
        shown = [item for item in output if not _is_ours(item)]
        self.asks = self._ours and not self._others and told.type == "response.completed"
        if self.asks:
            self._items += shown
            return b""
        if self._plain:
            return self._passed(piece, event, told, None)
        response["output"] = [*self._items, *shown]
        if response.get("store") is False and self._id:
            response["id"] = self._id
        if self._leg and isinstance(response.get("usage"), dict):
            response["usage"] = _added(response["usage"], self._output, self._reasoning)
        number, self._number = self._number, self._number + 1
        return self._encoded(body, event, number)

    def _encoded(self, body: dict[str, Any], event: sse.Event, number: int) -> bytes:
        if "sequence_number" in body:
            body["sequence_number"] = number
        return sse.encode(msgspec.json.encode(body), event.name)
