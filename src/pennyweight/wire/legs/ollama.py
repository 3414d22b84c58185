"""Legs of Ollama's chat: lines of JSON, in which a call stands whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...request import Edit, Request, Usage
from ..recall_tool import NAME
from ..taps import loads, shaped
from . import Called, Exchange, Leg, Said, Weaver
from .pieces import Pieces, by_line

__all__ = ["exchange", "joined", "restored", "said", "turn", "weaver"]

_GAP = "\n\n"
_CUT = "length"
_SENT_BACK = ("role", "content", "thinking", "tool_calls")


def said(answer: dict[str, Any]) -> Said:
    with shaped():
        calls = answer["message"].get("tool_calls") or ()
        ours = tuple(Called("", call["function"].get("arguments")) for call in calls if _is_ours(call))
        others = tuple(str(number) for number, call in enumerate(calls) if not _is_ours(call))
        return Said(ours, others, answer.get("done_reason") == _CUT)


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    message = dict(last["message"])
    calls = [call for call in message.pop("tool_calls", None) or () if not _is_ours(call)]
    for answer in reversed(answers[:-1]):
        before = answer["message"]
        for key, gap in (("content", _GAP), ("thinking", "")):
            if before.get(key):
                have = message.get(key) or ""
                message[key] = before[key] + (gap if have else "") + have
    if calls:
        message["tool_calls"] = calls
    whole = {**last, "message": message}
    if isinstance(last.get("eval_count"), int):
        whole["eval_count"] = sum(answer.get("eval_count") or 0 for answer in answers)
    return whole


def turn(request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
    message = answer["message"]
    back = {key: message[key] for key in _SENT_BACK if message.get(key) is not None}
    given = [{"role": "tool", "tool_name": NAME, "content": result} for result in results]
    at = len(request.envelope.messages or ())
    return tuple(Edit(("messages", at + number), item) for number, item in enumerate((back, *given)))


def exchange(legs: Sequence[Leg]) -> Exchange | None:
    """Calls have no ids here by which an answer could be found again."""
    return None


def restored(request: Request, kept: Sequence[Exchange]) -> tuple[tuple[Edit, ...], tuple[Exchange, ...]]:
    return (), ()


def weaver() -> Weaver:
    return _Weaver()


def _is_ours(call: dict[str, Any]) -> bool:
    function = call.get("function")
    return isinstance(function, dict) and function.get("name") == NAME


class _Function(msgspec.Struct):
    name: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None


_decoder = msgspec.json.Decoder(_Line)


class _Weaver:
    def __init__(self) -> None:
        self.asks = False
        self._pieces = Pieces(by_line, self._see)
        self._leg = 0
        self._text = False  # the caller has seen text
        self._parted = True  # no blank line is due
        self.called = self._others = False
        self._output = 0  # of the legs before

    def feed(self, chunk: bytes) -> bytes:
        return self._pieces.feed(chunk)

    def close(self) -> bytes:
        return self._pieces.close()

    def next(self, usage: Usage | None) -> None:
        self._output += usage.output_tokens if usage is not None else 0
        self._leg += 1
        self._parted = not self._text
        self.asks = self.called = self._others = False

    def _see(self, piece: bytes) -> bytes:
        try:
            line = _decoder.decode(piece)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return piece
        message = line.message
        calls = (message.tool_calls if message is not None else None) or ()
        ours = [call.function is not None and call.function.name == NAME for call in calls]
        self.called = self.called or any(ours)
        self._others = self._others or not all(ours)
        if not self._leg and not self.called:
            self._text = self._text or bool(message is not None and message.content)
            return piece
        return self._changed(loads(piece))

    def _changed(self, body: dict[str, Any]) -> bytes:
        message = dict(body.get("message") or {})
        calls = message.get("tool_calls")
        if calls:
            message["tool_calls"] = [call for call in calls if not _is_ours(call)]
            if not message["tool_calls"]:
                del message["tool_calls"]
        text = message.get("content")
        if text:
            message["content"] = text if self._parted else _GAP + text
            self._text = self._parted = True
        says = any(message.get(key) for key in ("content", "thinking", "tool_calls"))
        if body.get("done") is True:
            self.asks = self.called and not self._others and body.get("done_reason") != _CUT
            if self.asks:
                body = {key: body[key] for key in ("model", "created_at") if key in body} | {"done": False}
            elif isinstance(body.get("eval_count"), int):
                body["eval_count"] += self._output
        if not says and (body.get("done") is not True):
            return b""
        return msgspec.json.encode({**body, "message": message}) + b"\n"
