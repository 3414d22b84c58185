"""Legs of OpenAI Responses: items and events are numbered through, and the last event holds the items of all.

Where the provider keeps answers (`store`), the last leg's id names the whole conversation, so that a client which goes
on from it does; else the id stays what it was at first.

A reasoning item is refused without the item that it led to. So it is shown once such an item is, and not where it led
to a call of our tool alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...request import Edit, Request, Usage
from .. import sse
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Exchange, Leg, Said, Weaver
from .pieces import Pieces, by_event, event_of

__all__ = ["exchange", "joined", "restored", "said", "turn", "weaver"]

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
    ended = len(answers) - 1
    shown = [item for leg, answer in enumerate(answers) for item in _shown(answer["output"], asks=leg < ended)]
    whole = {**last, "output": shown}
    if last.get("store") is False and "id" in answers[0]:
        whole["id"] = answers[0]["id"]
    if isinstance(last.get("usage"), dict):
        told = [block for answer in answers[:-1] if isinstance(block := answer.get("usage"), dict)]
        output = sum(block.get("output_tokens") or 0 for block in told)
        whole["usage"] = _added(last["usage"], output, sum(map(_reasoning, told)))
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    body = request.body
    added = (*_readable(request, answer["output"]), *_results(answer, results))
    asked = body.get("input")
    if isinstance(asked, list):
        return tuple(Edit(("input", len(asked) + number), item) for number, item in enumerate(added))
    first = [{"role": "user", "content": asked}] if asked else []
    return (Edit(("input",), [*first, *added]),)


def _results(answer: dict[str, Any], results: Sequence[str]) -> list[dict[str, Any]]:
    calls = said(answer).ours
    return [
        {"type": "function_call_output", "call_id": call.id, "output": result}
        for call, result in zip(calls, results, strict=True)
    ]


def exchange(legs: Sequence[Leg]) -> Exchange | None:
    last, given = legs[-1]
    ids = said(last).others
    if not ids:
        return None
    turns = [item for answer, results in legs[:-1] for item in (*answer["output"], *_results(answer, results))]
    shown = joined([answer for answer, _ in legs])["output"]
    return Exchange(ids, _text(shown), (*turns, *last["output"]), tuple(_results(last, given)))


def restored(request: Request, kept: Sequence[Exchange]) -> tuple[tuple[Edit, ...], tuple[Exchange, ...]]:
    raws = [bytes(raw) for raw in request.items("input") or ()]
    used: list[Exchange] = []
    for one in kept:
        place = next(
            (n for n, raw in enumerate(raws) if one.ids[0].encode() in raw and _call_id(raw) == one.ids[0]), None
        )
        if place is None:
            continue
        start, end = _span(raws, place, one)
        turn = [msgspec.json.decode(raw) for raw in raws[start:end]]
        if tuple(str(item.get("call_id")) for item in turn if _is_theirs(item)) != one.ids or _text(turn) != one.text:
            continue
        items = (*_readable(request, one.items), *one.results)
        raws[start:end] = map(msgspec.json.encode, items)
        used.append(one)
    edits = (Edit(("input",), [msgspec.Raw(raw) for raw in raws]),) if used else ()
    return edits, tuple(used)


def _span(raws: Sequence[bytes], place: int, one: Exchange) -> tuple[int, int]:
    """From where to where the items of the answer go in which the call at `place` stands."""
    start, end = place, place + 1
    while start and _by_model(raws[start - 1]):
        start -= 1
    while end < len(raws) and (_by_model(raws[end]) or _call_id(raws[end]) in one.ids):
        end += 1
    return start, end


class _Item(msgspec.Struct):
    type: str = "message"
    role: str | None = None
    call_id: str | None = None


_item = msgspec.json.Decoder(_Item)


def _call_id(raw: bytes) -> str | None:
    """Of a call, and not of its output."""
    try:
        item = _item.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return item.call_id if item.type.endswith("_call") else None


def _by_model(raw: bytes) -> bool:
    try:
        item = _item.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return item.type == "reasoning" or (item.type == "message" and item.role == "assistant")


def _readable(request: Request, items: Sequence[Any]) -> list[Any]:
    keeps = request.body.get("store") is not False
    return [item for item in items if keeps or not _unreadable(item)]


def _text(items: Sequence[dict[str, Any]]) -> str:
    """What is said and called in them, white space aside."""
    parts: list[Any] = []
    for item in items:
        content = item.get("content") if item.get("type", "message") == "message" else None
        parts += content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    texts += [item.get(key) for item in items if _is_theirs(item) for key in ("name", "arguments", "input")]
    return "".join("".join(text.split()) for text in texts if isinstance(text, str))


def weaver() -> Weaver:
    return _Weaver()


def _is_ours(item: dict[str, Any]) -> bool:
    return item.get("type") == "function_call" and item.get("name") == NAME


def _shown(output: Sequence[dict[str, Any]], *, asks: bool) -> list[dict[str, Any]]:
    """A leg's items that the caller gets. asks: another leg follows."""
    shown: list[dict[str, Any]] = []
    thoughts: list[dict[str, Any]] = []
    for item in output:
        if item.get("type") == "reasoning":
            thoughts.append(item)
        elif not _is_ours(item):
            shown += [*thoughts, item]
            thoughts = []
    return shown if asks else shown + thoughts


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
        self._held: list[tuple[bytes, sse.Event, _Event]] = []  # events of reasoning, until it is known what it led to
        self._items: list[Any] = []  # of the legs before, as shown
        self.called = self._others = False
        self._plain = True  # so far the caller sees what comes as it comes
        self._output = self._reasoning = 0  # of the legs before

    def feed(self, chunk: bytes) -> bytes:
        return self._pieces.feed(chunk)

    def close(self) -> bytes:
        rest = self._pieces.close()
        return rest if self.asks else rest + self._released()

    def next(self, usage: Usage | None) -> None:
        if usage is not None:
            self._output += usage.output_tokens
            self._reasoning += usage.reasoning_tokens
        self._leg += 1
        self._places = {}
        self._finished = []
        self._held = []
        self.asks = self.called = self._others = self._plain = False

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
            return self._begin(piece, event, told, told.output_index)
        elif told.type == "response.output_item.done":
            self._finished.append(event.data)
        elif told.type in _ENDS:
            return self._end(piece, event, told)
        if told.output_index is not None and self._places.get(told.output_index, 0) is None:
            return b""
        if self._held:
            self._held.append((piece, event, told))
            return b""
        return self._passed(piece, event, told)

    def _begin(self, piece: bytes, event: sse.Event, told: _Event, index: int) -> bytes:
        item = loads(event.data)["item"]
        if _is_ours(item):
            self._places[index] = None
            self.called, self._plain = True, False
            return b""
        if item.get("type") == "reasoning":
            self._held.append((piece, event, told))
            return b""
        self._others = self._others or _is_theirs(item)
        return self._released() + self._passed(piece, event, told)

    def _released(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, []
        return b"".join(self._passed(*one) for one in held)

    def _passed(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        """The event with its numbers as the caller counts."""
        place = told.output_index
        if place is not None and place not in self._places:
            self._places[place] = self._shown
            self._shown += 1
        number, self._number = self._number, self._number + 1
        if self._plain:
            self._number = (told.sequence_number if told.sequence_number is not None else number) + 1
            return piece
        body = loads(event.data)
        if place is not None:
            body["output_index"] = self._places[place]
        return self._encoded(body, event, number)

    def _end(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        body = loads(event.data)
        response = body["response"]
        output = response.get("output") or [loads(data).get("item") for data in self._finished]
        self.asks = self.called and not self._others and told.type == "response.completed"
        shown = _shown(output, asks=self.asks)
        if self.asks:
            self._items += shown
            return b""
        held = self._released()
        if self._plain:
            return held + self._passed(piece, event, told)
        response["output"] = [*self._items, *shown]
        if response.get("store") is False and self._id:
            response["id"] = self._id
        if self._leg and isinstance(response.get("usage"), dict):
            response["usage"] = _added(response["usage"], self._output, self._reasoning)
        number, self._number = self._number, self._number + 1
        return held + self._encoded(body, event, number)

    def _encoded(self, body: dict[str, Any], event: sse.Event, number: int) -> bytes:
        if "sequence_number" in body:
            body["sequence_number"] = number
        return sse.encode(msgspec.json.encode(body), event.name)
