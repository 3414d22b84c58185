"""Legs of Anthropic's Messages: blocks are numbered through, and thinking goes back with its signatures.

Newer models sign their thinking together with all that stands before it. Of later legs that is our tool's call and its
result, which the caller has not: so their thinking is not shown, for the provider would refuse it in the next request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...prefix import marks_of, with_marks
from ...request import Edit, Request, Usage, splice
from .. import sse
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Exchange, Leg, Said, Weaver
from .pieces import Pieces, by_event, event_of

__all__ = ["exchange", "joined", "restored", "said", "turn", "weaver"]

_CUT = frozenset({"max_tokens", "refusal", "model_context_window_exceeded", "pause_turn"})
"""Ends after which a call may be half a call, or the answer is not to go on."""

_ENDED = "end_turn"
_THINKING = frozenset({"thinking", "redacted_thinking"})


def said(answer: dict[str, Any]) -> Said:
    with shaped():
        ours, others = [], []
        for block in answer["content"]:
            if _is_ours(block):
                ours.append(Called(str(block["id"]), block.get("input")))
            elif block.get("type") == "tool_use":
                others.append(str(block["id"]))
        return Said(tuple(ours), tuple(others), answer.get("stop_reason") in _CUT)


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    content = [block for leg, answer in enumerate(answers) for block in answer["content"] if _shown(block, leg)]
    told = [answer.get("usage") for answer in answers]
    whole = {**last, "content": content, "stop_reason": _stop(last.get("stop_reason"), content)}
    if "id" in answers[0]:
        whole["id"] = answers[0]["id"]
    if isinstance(told[-1], dict):
        outputs = [usage["output_tokens"] for usage in told if isinstance(usage, dict) and "output_tokens" in usage]
        whole["usage"] = {**told[-1], "output_tokens": sum(outputs)}
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    at = len(request.envelope.messages or ())
    return (
        Edit(("messages", at), _turn(answer)),
        Edit(("messages", at + 1), {"role": "user", "content": _results(answer, results)}),
    )


def _turn(answer: dict[str, Any]) -> dict[str, Any]:
    """What the model said, without empty texts, which are refused."""
    content = [block for block in answer["content"] if not (block.get("type") == "text" and not block.get("text"))]
    return {"role": "assistant", "content": content}


def _results(answer: dict[str, Any], results: Sequence[str]) -> list[dict[str, Any]]:
    calls = said(answer).ours
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(calls, results, strict=True)
    ]


def exchange(legs: Sequence[Leg]) -> Exchange | None:
    last, given = legs[-1]
    ids = said(last).others
    if not ids:
        return None
    turns: list[dict[str, Any]] = []
    for answer, results in legs[:-1]:
        turns += (_turn(answer), {"role": "user", "content": _results(answer, results)})
    shown = joined([answer for answer, _ in legs])["content"]
    return Exchange(ids, _text(shown), (*turns, _turn(last)), tuple(_results(last, given)))


def restored(request: Request, kept: Sequence[Exchange]) -> tuple[tuple[Edit, ...], tuple[Exchange, ...]]:
    raws = [bytes(raw) for raw in request.envelope.messages or ()]
    sent: list[bytes] = []
    used: list[Exchange] = []
    due: Sequence[Any] = ()
    for number, raw in enumerate(raws):
        if due:
            message = msgspec.json.decode(raw)
            raw = msgspec.json.encode({**message, "content": [*due, *message["content"]]})
            due = ()
        found = _found(raw, [one for one in kept if one not in used])
        if found is None or not _answered(raws[number + 1 : number + 2], found):
            sent.append(raw)
            continue
        *before, last = map(msgspec.json.encode, found.items)
        sent += (*before, with_marks(last, marks_of(raw)))
        used.append(found)
        due = found.results
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
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    ids = tuple(str(block.get("id")) for block in blocks if block.get("type") == "tool_use")
    return ids == one.ids and _text(blocks) == one.text


def _answered(following: Sequence[bytes], one: Exchange) -> bool:
    """Whether results can stand in the message after it: it has the client's."""
    return bool(following) and one.ids[0].encode() in following[0] and b'"tool_result"' in following[0]


def _text(blocks: Sequence[dict[str, Any]]) -> str:
    """What is said and called in them, white space aside."""
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    called = [(block.get("name"), block.get("input")) for block in blocks if block.get("type") == "tool_use"]
    texts.append(msgspec.json.encode(called, order="deterministic").decode() if called else "")
    return "".join("".join(text.split()) for text in texts if isinstance(text, str))


def weaver() -> Weaver:
    return _Weaver()


def _is_ours(block: dict[str, Any]) -> bool:
    return block.get("type") == "tool_use" and block.get("name") == NAME


def _shown(block: dict[str, Any], leg: int) -> bool:
    return not _is_ours(block) and not (leg and block.get("type") in _THINKING)


def _stop(reason: Any, content: Sequence[dict[str, Any]]) -> Any:
    """An answer in which no call is left has not stopped for one."""
    calls = any(block.get("type") == "tool_use" for block in content)
    return _ENDED if reason == "tool_use" and not calls else reason


class _Block(msgspec.Struct):
    type: str = ""
    name: str | None = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None


_decoder = msgspec.json.Decoder(_Event)


class _Weaver:
    def __init__(self) -> None:
        self.asks = False
        self._pieces = Pieces(by_event, self._see)
        self._leg = 0
        self._shown = 0  # blocks that the caller has seen begin
        self._places: dict[int, int | None] = {}  # this leg's blocks in the caller's answer; None: not shown
        self.called = self._others = False
        self._plain = True  # so far the caller sees what comes as it comes
        self._input: dict[str, Any] = {}  # the prompt's side of this leg's usage
        self._output = 0  # of the legs before

    def feed(self, chunk: bytes) -> bytes:
        return self._pieces.feed(chunk)

    def close(self) -> bytes:
        return self._pieces.close()

    def next(self, usage: Usage | None) -> None:
        self._output += usage.output_tokens if usage is not None else 0
        self._leg += 1
        self._places = {}
        self.asks = self.called = self._others = self._plain = False

    def _see(self, piece: bytes) -> bytes:
        if self._plain and piece.startswith(b"event: content_block_delta\n"):
            return piece
        event = event_of(piece)
        if event is None:
            return piece
        try:
            told = _decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return piece
        match told.type:
            case "message_start":
                return self._start(piece, event)
            case "content_block_start":
                return self._begin(piece, event, told)
            case "content_block_delta" | "content_block_stop":
                place = self._places.get(told.index, told.index) if told.index is not None else None
                return _moved(piece, event, told.index, place)
            case "message_delta":
                return self._end(piece, event, told)
            case "message_stop":
                return b"" if self.asks else piece
            case _:
                return piece

    def _start(self, piece: bytes, event: sse.Event) -> bytes:
        if not self._leg:
            return piece
        message = loads(event.data).get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        self._input = {k: v for k, v in usage.items() if k != "output_tokens"} if isinstance(usage, dict) else {}
        return b""

    def _begin(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        block, index = told.content_block, told.index
        if block is None or index is None:
            return piece
        calls = block.type == "tool_use"
        if calls and block.name == NAME:
            self._places[index] = None
            self.called, self._plain = True, False
            return b""
        if self._leg and block.type in _THINKING:
            self._places[index] = None
            return b""
        self._others = self._others or calls
        self._places[index] = self._shown
        self._shown += 1
        return _moved(piece, event, index, self._places[index])

    def _end(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        reason = told.delta.stop_reason if told.delta is not None else None
        self.asks = self.called and not self._others and reason not in _CUT
        if self.asks:
            return b""
        if self._plain:
            return piece
        body = loads(event.data)
        if reason == "tool_use" and not self._others:
            body["delta"] = {**body["delta"], "stop_reason": _ENDED}
        usage = body.get("usage")
        if self._leg and isinstance(usage, dict):
            told_now = {key: value for key, value in usage.items() if value is not None}
            body["usage"] = {**self._input, **told_now}
            body["usage"]["output_tokens"] = self._output + (usage.get("output_tokens") or 0)
        return sse.encode(msgspec.json.encode(body), event.name)


def _moved(piece: bytes, event: sse.Event, index: int | None, place: int | None) -> bytes:
    """The event at another index; nothing of a block that is not shown."""
    if place is None:
        return b""
    return piece if place == index else sse.encode(splice(event.data, ("index",), place), event.name)
