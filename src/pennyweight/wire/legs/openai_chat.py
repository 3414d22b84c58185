"""Legs of Chat Completions: one id and one role for all, texts parted by a blank line, calls numbered anew.

Signed reasoning (`reasoning_details`) is shown of the first leg only: see `anthropic_messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...prefix import marks_of, with_marks
from ...request import Edit, Request, Usage
from .. import sse
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Exchange, Leg, Said, Weaver
from .pieces import Pieces, by_event, event_of

__all__ = ["GAP", "exchange", "joined", "restored", "said", "turn", "weaver"]

GAP = "\n\n"
"""Between the texts of two legs, where a protocol has room for one text only."""

_CUT = frozenset({"length", "content_filter"})
_ENDED = "stop"
_SIGNED = "reasoning_details"
_SENT_BACK = ("role", "content", "tool_calls", "reasoning_content", "reasoning", "reasoning_details")
"""What of a leg goes back. Who reasons wants that again in a turn that calls tools; the rest may be refused."""


def said(answer: dict[str, Any]) -> Said:
    with shaped():
        choice = answer["choices"][0]
        calls = choice["message"].get("tool_calls") or ()
        ours = tuple(Called(_id(call), call["function"].get("arguments")) for call in calls if _is_ours(call))
        others = tuple(_id(call) for call in calls if not _is_ours(call))
        return Said(ours, others, choice.get("finish_reason") in _CUT)


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    choice = last["choices"][0]
    message = dict(choice["message"])
    if len(answers) > 1:
        message.pop(_SIGNED, None)
    calls = [call for call in message.pop("tool_calls", None) or () if not _is_ours(call)]
    earlier = [answer["choices"][0]["message"] for answer in answers[:-1]]
    for leg, before in reversed(list(enumerate(earlier))):
        _prepend(message, {key: value for key, value in before.items() if key != _SIGNED or not leg})
    if calls:
        message["tool_calls"] = calls
    reason = choice.get("finish_reason")
    ended = {**choice, "message": message, "finish_reason": _ENDED if reason == "tool_calls" and not calls else reason}
    whole = {**last, "choices": [ended, *last["choices"][1:]]}
    whole |= {key: answers[0][key] for key in ("id", "created") if key in answers[0]}
    if isinstance(last.get("usage"), dict):
        whole["usage"] = summed(last["usage"], [answer.get("usage") for answer in answers[:-1]])
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    at = len(request.envelope.messages or ())
    added = (_turn(answer), *_results(answer, results))
    return tuple(Edit(("messages", at + number), item) for number, item in enumerate(added))


def _turn(answer: dict[str, Any]) -> dict[str, Any]:
    message = answer["choices"][0]["message"]
    back = {key: message[key] for key in _SENT_BACK if message.get(key) is not None}
    return {"role": "assistant", "content": None, **back}


def _results(answer: dict[str, Any], results: Sequence[str]) -> list[dict[str, Any]]:
    calls = said(answer).ours
    return [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in zip(calls, results, strict=True)
    ]


def exchange(legs: Sequence[Leg]) -> Exchange | None:
    last, given = legs[-1]
    ids = said(last).others
    if not ids or not all(ids):
        return None
    turns = [item for answer, results in legs[:-1] for item in (_turn(answer), *_results(answer, results))]
    shown = joined([answer for answer, _ in legs])["choices"][0]["message"]
    return Exchange(ids, _said(shown), (*turns, _turn(last)), tuple(_results(last, given)))


def restored(request: Request, kept: Sequence[Exchange]) -> tuple[tuple[Edit, ...], tuple[Exchange, ...]]:
    sent: list[bytes] = []
    used: list[Exchange] = []
    for raw in map(bytes, request.envelope.messages or ()):
        found = _found(raw, [one for one in kept if one not in used])
        if found is None:
            sent.append(raw)
            continue
        *before, last = map(msgspec.json.encode, found.items)
        sent += (*before, with_marks(last, marks_of(raw)), *map(msgspec.json.encode, found.results))
        used.append(found)
    edits = (Edit(("messages",), [msgspec.Raw(raw) for raw in sent]),) if used else ()
    return edits, tuple(used)


def _found(raw: bytes, kept: Sequence[Exchange]) -> Exchange | None:
    """The exchange whose answer a message is."""
    named = [one for one in kept if one.ids[0].encode() in raw]
    message = msgspec.json.decode(raw) if named else None
    return next((one for one in named if _is_of(message, one)), None)


def _is_of(message: Any, one: Exchange) -> bool:
    """Whether a message is the answer that the caller got."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    calls = message.get("tool_calls")
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return tuple(map(_id, calls)) == one.ids and _said(message) == one.text


def _said(message: dict[str, Any]) -> str:
    """What a message says and calls, white space aside."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    for call in message.get("tool_calls") or ():
        named = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
        texts += [named.get(key) for key in ("name", "arguments", "input")] if isinstance(named, dict) else []
    return "".join("".join(text.split()) for text in texts if isinstance(text, str))


def weaver() -> Weaver:
    return _Weaver()


def summed(usage: dict[str, Any], earlier: Sequence[Any]) -> dict[str, Any]:
    """The last leg's usage with the output of all."""
    told = [block for block in earlier if isinstance(block, dict)]
    output = sum(block.get("completion_tokens") or 0 for block in told)
    reasoning = sum(_reasoning(block) for block in told)
    return added(usage, output, reasoning)


def added(usage: dict[str, Any], output: int, reasoning: int) -> dict[str, Any]:
    """A usage block with so much more output, and of that so much reasoning."""
    made = {**usage, "completion_tokens": (usage.get("completion_tokens") or 0) + output}
    if isinstance(usage.get("total_tokens"), int):
        made["total_tokens"] = usage["total_tokens"] + output
    details = usage.get("completion_tokens_details")
    if reasoning and isinstance(details, dict):
        made["completion_tokens_details"] = {**details, "reasoning_tokens": _reasoning(usage) + reasoning}
    return made


def _reasoning(usage: dict[str, Any]) -> int:
    details = usage.get("completion_tokens_details")
    return (details.get("reasoning_tokens") or 0) if isinstance(details, dict) else 0


def _prepend(message: dict[str, Any], before: dict[str, Any]) -> None:
    """Put what an earlier leg said in front."""
    for key, value in before.items():
        if key in ("role", "tool_calls", "function_call") or not value:
            continue
        have = message.get(key)
        if have is None:
            message[key] = value
        elif isinstance(have, str) and isinstance(value, str):
            message[key] = value + (GAP if key == "content" and have else "") + have
        elif isinstance(have, list) and isinstance(value, list):
            message[key] = value + have


def _id(call: dict[str, Any]) -> str:
    return str(call.get("id") or "")


def _is_ours(call: dict[str, Any]) -> bool:
    function = call.get("function")
    return isinstance(function, dict) and function.get("name") == NAME


class _Named(msgspec.Struct):
    name: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Named | None = None


class _Delta(msgspec.Struct):
    tool_calls: list[_Call] | None = None
    content: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = msgspec.UNSET
    created: Any = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Chunk)


class _Weaver:
    def __init__(self) -> None:
        self.asks = False
        self.called = False
        self._pieces = Pieces(by_event, self._see)
        self._leg = 0
        self._head: dict[str, Any] = {}  # id and time of the first leg
        self._places: list[int | None] = []  # this leg's calls in the caller's answer; None: not shown
        self._text = False  # the caller has seen text of an earlier leg, or of this one
        self._parted = True  # no blank line is due
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
        self._places = []
        self._parted = not self._text
        self.asks = self.called = self._plain = False

    def _see(self, piece: bytes) -> bytes:
        event = event_of(piece)
        if event is None:
            return piece
        if event.data.strip() == b"[DONE]":
            return b"" if self.asks else piece
        try:
            chunk = _decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return piece
        if self._plain and not self._worth_a_look(chunk):
            return piece
        return self._changed(piece, event)

    def _worth_a_look(self, chunk: _Chunk) -> bool:
        """Whether a chunk of the first leg may have to be changed, or be remembered. Notes what is simply passed on."""
        self._head = self._head or {
            key: value for key in ("id", "created") if (value := getattr(chunk, key)) is not msgspec.UNSET
        }
        deltas = [choice.delta for choice in chunk.choices or () if choice.delta is not None]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        if any(call.function is not None and call.function.name == NAME for call in calls):
            self._plain = False
            return True
        for call in calls:
            self._place(call.index, call.id, ours=False)
        self._text = self._text or any(isinstance(delta.content, str) and delta.content for delta in deltas)
        return False

    def _place(self, index: int | None, id: str | None, *, ours: bool) -> int | None:
        """Where the call of a piece stands for the caller; as `openai_chat.fold` tells calls apart."""
        if index is None:
            index = len(self._places) if id or not self._places else len(self._places) - 1
        while index >= len(self._places) and len(self._places) < _MOST_CALLS:
            shown = sum(place is not None for place in self._places)
            self._places.append(None if ours else shown)
        return self._places[index] if 0 <= index < len(self._places) else None

    def _changed(self, piece: bytes, event: sse.Event) -> bytes:
        body = loads(event.data)
        choices = body.get("choices")
        if body.get("error"):
            return piece
        if not choices:
            return self._beside(piece, event, body)
        body |= self._head
        kept = [made for choice in choices if (made := self._choice(choice)) is not None]
        usage = body.get("usage")
        if self.asks:
            kept = [choice for choice in kept if choice["delta"]]
            for choice in kept:
                choice["finish_reason"] = None
            body.pop("usage", None)
        elif isinstance(usage, dict) and self._leg:
            body["usage"] = added(usage, self._output, self._reasoning)
        return sse.encode(msgspec.json.encode({**body, "choices": kept}), event.name) if kept else b""

    def _beside(self, piece: bytes, event: sse.Event, body: dict[str, Any]) -> bytes:
        """A chunk without choices: usage, or what a server says before it begins."""
        usage = body.get("usage")
        if not isinstance(usage, dict):
            return b"" if self._leg else piece
        if self.asks:
            return b""
        body |= {**self._head, "usage": added(usage, self._output, self._reasoning) if self._leg else usage}
        return sse.encode(msgspec.json.encode(body), event.name)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """A choice as the caller sees it; None where nothing of it is left."""
        delta = dict(choice.get("delta") or {})
        pieces = delta.pop("tool_calls", None)
        if pieces:
            shown = [made for call in pieces if (made := self._call(call)) is not None]
            if shown:
                delta["tool_calls"] = shown
        if self._leg:
            delta.pop("role", None)
            delta.pop(_SIGNED, None)
            delta = {key: value for key, value in delta.items() if value is not None and value != ""}
        text = delta.get("content")
        if isinstance(text, str) and text:
            if not self._parted:
                delta["content"] = GAP + text
                self._parted = True
            self._text = True
        reason = choice.get("finish_reason")
        if reason is not None:
            shown_calls = any(place is not None for place in self._places)
            self.asks = None in self._places and not shown_calls and reason not in _CUT
            if reason == "tool_calls" and not shown_calls:
                choice = {**choice, "finish_reason": _ENDED}
        elif not delta and (pieces or self._leg):
            return None
        return {**choice, "delta": delta}

    def _call(self, call: dict[str, Any]) -> dict[str, Any] | None:
        self.called = self.called or _is_ours(call)
        place = self._place(call.get("index"), call.get("id"), ours=_is_ours(call))
        if place is None:
            return None
        return {**call, "index": place} if "index" in call else call


_MOST_CALLS = 4096
