"""Legs of Anthropic's Messages: blocks are numbered through, and thinking goes back with its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...request import Edit, Request, Usage, splice
from .. import sse
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Said, Weaver
from .pieces import Pieces, by_event, event_of

__all__ = ["joined", "said", "turn", "weaver"]

_CUT = frozenset({"max_tokens", "refusal", "model_context_window_exceeded", "pause_turn"})
"""Ends after which a call may be half a call, or the answer is not to go on."""

_ENDED = "end_turn"


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
    content = [block for answer in answers for block in answer["content"] if not _is_ours(block)]
    told = [answer.get("usage") for answer in answers]
    whole = {**last, "content": content, "stop_reason": _stop(last.get("stop_reason"), content)}
    if "id" in answers[0]:
        whole["id"] = answers[0]["id"]
    if isinstance(told[-1], dict):
        outputs = [usage["output_tokens"] for usage in told if isinstance(usage, dict) and "output_tokens" in usage]
        whole["usage"] = {**told[-1], "output_tokens": sum(outputs)}
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    content = [block for block in answer["content"] if not (block.get("type") == "text" and not block.get("text"))]
    given = [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(said(answer).ours, results, strict=True)
    ]
    at = len(request.envelope.messages or ())
    return (
        Edit(("messages", at), {"role": "assistant", "content": content}),
        Edit(("messages", at + 1), {"role": "user", "content": given}),
    )


def weaver() -> Weaver:
    return _Weaver()


def _is_ours(block: dict[str, Any]) -> bool:
    return block.get("type") == "tool_use" and block.get("name") == NAME


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
        self._ours = self._others = False
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
        self.asks = self._ours = self._others = self._plain = False

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
            self._ours, self._plain = True, False
            return b""
        self._others = self._others or calls
        self._places[index] = self._shown
        self._shown += 1
        return _moved(piece, event, index, self._places[index])

    def _end(self, piece: bytes, event: sse.Event, told: _Event) -> bytes:
        reason = told.delta.stop_reason if told.delta is not None else None
        self.asks = self._ours and not self._others and reason not in _CUT
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
