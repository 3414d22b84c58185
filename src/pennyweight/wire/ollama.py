"""Ollama's own protocol: /api/chat, /api/generate and /api/embed. Its streams are lines of JSON.

Reference: github.com/ollama/ollama, docs/api.md. The last line says `"done": true` and carries the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..request import Done, Request, Usage, Wire
from . import Tap, View
from .taps import StreamTap, loads, shaped, tiered
from .views import Lens, items, text_parts

__all__ = ["error", "error_event", "fold", "read", "stream_type", "tap", "unfold", "view"]


def stream_type() -> str:
    return "application/x-ndjson"


# --- usage, from the side ---------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


_line = msgspec.json.Decoder(_Line)


class _Facts:
    """The last whole line of a stream."""

    def __init__(self) -> None:
        self.last = _Line()
        self.failed = False

    def absorb(self, stream: bytes) -> None:
        tail = stream.rstrip()
        if tail:
            self.last = _decode(tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :])
            self.failed = bool(self.last.error)

    def done(self) -> Done:
        return _done(self.last, complete=bool(self.last.done) and not self.failed)

    def texts(self, stream: bytes) -> list[str]:
        return [text for line in stream.splitlines() for text in _texts(line)]


def _decode(data: bytes) -> _Line:
    try:
        return _line.decode(data)
    except (ValueError, RecursionError):
        return _Line()


def _done(line: _Line, *, complete: bool) -> Done:
    return Done(_usage(line), line.done_reason or ("stop" if line.done else None), complete=complete)


def _usage(line: _Line) -> Usage | None:
    """Counts that are left out are 0 (a prompt wholly cached); a line with neither tells no usage."""
    counts = {"prompt_eval_count": line.prompt_eval_count, "eval_count": line.eval_count}
    told = {key: count for key, count in counts.items() if count is not None}
    return tiered(Wire.OLLAMA, told)


def _texts(line: bytes) -> Iterator[str]:
    try:
        said = loads(line)
    except ValueError:
        return
    message = said.get("message")
    for place in (message if isinstance(message, dict) else {}, said):
        yield from (text for key in ("thinking", "content", "response") if isinstance(text := place.get(key), str))
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield str(function.get("name") or "")
            yield msgspec.json.encode(function.get("arguments")).decode()


def tap() -> Tap:
    """Complete when a line said `"done": true`."""
    return StreamTap(_Facts())


def read(body: bytes) -> Done:
    """Also reads /api/embed answers, which have a prompt count and no `done`."""
    try:
        value = loads(body)
    except ValueError:
        return Done(complete=False)
    reason = value.get("done_reason")
    line = _Line(
        done=value.get("done") is True,
        done_reason=reason if isinstance(reason, str) else None,
        prompt_eval_count=value.get("prompt_eval_count"),
        eval_count=value.get("eval_count"),
    )
    return _done(line, complete=not value.get("error") and value.get("done") is not False)


# --- whole answers and streams ----------------------------------------------------------------------------


def fold(stream: bytes) -> bytes:
    """The answer that the lines amount to. Raises ValueError when none said `"done": true`, or one was an error."""
    with shaped():
        return _fold(stream)


_GROWING = ("content", "thinking", "response", "tool_calls", "logprobs", "images")


def _fold(stream: bytes) -> bytes:
    whole: dict[str, Any] = {}
    for line in stream.splitlines():
        if not line.strip():
            continue
        said = loads(line)
        if said.get("error"):
            raise ValueError("The stream ended in an error.")
        message = said.pop("message", None)
        if isinstance(message, dict):
            _grow(whole.setdefault("message", {}), message)
        _grow(whole, said)
    if whole.get("done") is not True:
        raise ValueError('The stream was cut: no line says "done": true.')
    return msgspec.json.encode(whole)


def _grow(whole: dict[str, Any], more: dict[str, Any]) -> None:
    """Texts and lists that come in pieces grow; any other member is what was said last."""
    for key, value in more.items():
        have = whole.get(key)
        if key in _GROWING and isinstance(have, str) and isinstance(value, str):
            whole[key] = have + value
        elif key in _GROWING and isinstance(have, list) and isinstance(value, list):
            whole[key] = [*have, *value]
        elif value is not None or key not in whole:
            whole[key] = value


def unfold(body: bytes, *, include_usage: bool = True) -> list[bytes]:
    """Lines that fold to `body`: thinking, text, tool calls, then the end with its counts."""
    with shaped():
        return [msgspec.json.encode(line) + b"\n" for line in _lines(loads(body))]


def _lines(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head: dict[str, Any] = {key: whole[key] for key in ("model", "created_at") if key in whole}
    message = whole.get("message")
    if not isinstance(message, dict):
        texts = {key: whole[key] for key in ("thinking", "response") if isinstance(whole.get(key), str)}
        for key in (key for key, text in texts.items() if text):
            yield {**head, "response": "", key: texts[key], "done": False}
        yield {**whole, **dict.fromkeys(texts, ""), "done": True}
        return
    role = {"role": message.get("role", "assistant")}
    for key in ("thinking", "content", "tool_calls"):
        if message.get(key):
            yield {**head, "message": {**role, "content": "", key: message[key]}, "done": False}
    rest = {key: value for key, value in message.items() if key not in ("thinking", "content", "tool_calls")}
    empty = {key: type(message[key])() for key in ("thinking", "tool_calls") if key in message and not message[key]}
    yield {**whole, "message": {**role, "content": "", **rest, **empty}, "done": True}


# --- what a request says ----------------------------------------------------------------------------------


def view(request: Request) -> View:
    """A chat, a prompt with its `system`, or the texts to embed (as the user's). Raises BadRequest."""
    body, lens = request.body, Lens()
    lens.system(text_parts(body.get("system"), "system"))
    for tool in items(body.get("tools"), "tools"):
        function = tool.get("function")
        lens.tool(function.get("name") if isinstance(function, dict) else tool.get("name"), tool)
    for number, message in enumerate(items(body.get("messages"), "messages")):
        _look(lens, message, number)
    lens.user(text_parts(body.get("prompt"), "prompt"))
    lens.say(text_parts(body.get("suffix"), "suffix"))
    for text in text_parts(body.get("input"), "input"):
        lens.user([text])
    return lens.view()


def _look(lens: Lens, message: dict[str, Any], number: int) -> None:
    texts = text_parts(message.get("content"), "messages", number, "content")
    match message.get("role"):
        case "system" | "developer":
            lens.system(texts)
        case "user":
            lens.user(texts)
        case _:
            lens.say([thought] if isinstance(thought := message.get("thinking"), str) else [])
            lens.say(texts)
            for call in items(message.get("tool_calls"), "messages", number, "tool_calls"):
                function = call.get("function")
                function = function if isinstance(function, dict) else {}
                lens.call(function.get("name"), function.get("arguments"))


# --- errors -----------------------------------------------------------------------------------------------


def error(status: int, kind: str, message: str, *, code: str | None = None) -> bytes:
    """`kind` and `code` have no place in this protocol."""
    return msgspec.json.encode({"error": message})


def error_event(kind: str, message: str, *, code: str | None = None) -> bytes:
    return error(500, kind, message) + b"\n"
