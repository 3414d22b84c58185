"""OpenAI Responses.

Reference: platform.openai.com/docs/api-reference/responses and responses-streaming. The last event of a stream holds
the whole answer, so folding is taking it; the events before it only say it in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..errors import BadRequest
from ..request import Done, Request, Usage, Wire
from . import Tap, View, openai_chat, sse
from .taps import StreamTap, loads, shaped, tiered
from .usage import decode
from .views import Lens, items, json_type, text_parts

__all__ = ["error", "error_event", "fold", "read", "stream_type", "tap", "unfold", "view"]

ENDS = ("completed", "incomplete", "failed", "cancelled")


def stream_type() -> str:
    return "text/event-stream"


# --- usage, from the side ---------------------------------------------------------------------------------


class _Why(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    usage: Any = None
    service_tier: Any = None
    incomplete_details: _Why | None = None
    object: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Response | None = None


_event = msgspec.json.Decoder(_Event)
_response = msgspec.json.Decoder(_Response)


class _Facts:
    """The last event: completed, incomplete, failed or cancelled, with the answer's usage."""

    def __init__(self) -> None:
        self.end: _Response | None = None
        self.failed = False

    def absorb(self, stream: bytes) -> None:
        stream = sse.normal(stream)
        for status in ENDS:
            found = _last(stream, "response." + status)
            if found is not None:
                self.end = msgspec.structs.replace(found, status=status)
                self.failed = status in ("failed", "cancelled")
                return

    def done(self) -> Done:
        if self.end is None:
            return Done(complete=False)
        return msgspec.structs.replace(_done(self.end), complete=not self.failed)

    def texts(self, stream: bytes) -> list[str]:
        return [text for event in sse.events(stream) for text in _texts(event.data)]


def _last(stream: bytes, name: str) -> _Response | None:
    """The answer in the newest event of that type."""
    needle = b'"' + name.encode() + b'"'
    at = stream.rfind(needle)
    while at >= 0:
        start, data = sse.around(stream, at)
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError):
            event = _Event()
        if event.type == name:
            return event.response or _Response()
        at = stream.rfind(needle, 0, start)
    return None


def _done(response: _Response) -> Done:
    """`finish_reason` is the status, or why the answer is incomplete ("max_output_tokens")."""
    why = response.incomplete_details.reason if response.incomplete_details else None
    return Done(_usage(response), why or response.status, complete=response.status in (None, "completed", "incomplete"))


def _usage(response: _Response) -> Usage | None:
    return tiered(Wire.OPENAI_RESPONSES, response.usage, response.service_tier)


def _texts(data: bytes) -> Iterator[str]:
    """The pieces in one event: text, refusal, reasoning, arguments, and the names of called tools."""
    try:
        event = loads(data)
    except ValueError:
        return
    delta, item = event.get("delta"), event.get("item")
    if isinstance(delta, str):
        yield delta
    elif event.get("type") == "response.output_item.added" and isinstance(item, dict):
        name = item.get("name")
        yield name if isinstance(name, str) else ""


def tap() -> Tap:
    """Complete when response.completed or response.incomplete was seen."""
    return StreamTap(_Facts())


def read(body: bytes) -> Done:
    """An answer still in progress in the background, failed or cancelled is not complete."""
    try:
        response = _response.decode(body)
    except msgspec.ValidationError:
        try:
            value = loads(body)
        except ValueError:
            return Done(complete=False)
        status = value.get("status")
        response = _Response(
            status if isinstance(status, str) else None,
            value.get("usage"),
            value.get("service_tier"),
            None,
            None,
            value,
        )
    except (ValueError, RecursionError):
        return Done(complete=False)
    done = _done(response)
    return msgspec.structs.replace(done, complete=done.complete and not response.error)


# --- whole answers and streams ----------------------------------------------------------------------------


def fold(stream: bytes) -> bytes:
    """The answer in the last event; a server that leaves its `output` empty gets the finished items back into it.

    Raises ValueError when the stream did not come to response.completed or response.incomplete.
    """
    with shaped():
        return _fold(stream)


def _fold(stream: bytes) -> bytes:
    whole = _whole(stream)
    if whole is not None:
        return whole
    finished: dict[int, Any] = {}
    for given in sse.events(stream):
        if given.data.strip() == b"[DONE]":
            break
        event = loads(given.data)
        match event.get("type"):
            case "response.output_item.done":
                finished[event["output_index"]] = event["item"]
            case "response.completed" | "response.incomplete":
                response: dict[str, Any] = event["response"]
                if not response.get("output") and finished:
                    response["output"] = [item for _, item in sorted(finished.items())]
                return msgspec.json.encode(response)
            case "response.failed" | "response.cancelled" | "error":
                raise ValueError("The stream ended in an error event.")
    raise ValueError("The stream was cut: there is no response.completed.")


class _Final(msgspec.Struct):
    type: str
    response: msgspec.Raw


class _Output(msgspec.Struct):
    output: list[msgspec.Raw] | None = None


_final = msgspec.json.Decoder(_Final)
_output = msgspec.json.Decoder(_Output)


def _whole(stream: bytes) -> bytes | None:
    """The answer as its bytes stand in the last event, if the usual last event is there and has its output."""
    stream = sse.normal(stream)
    at = stream.rfind(b'"response.completed"')
    if at < 0:
        return None
    try:
        final = _final.decode(sse.around(stream, at)[1])
        if final.type == "response.completed" and _output.decode(final.response).output:
            return bytes(final.response)
    except (msgspec.DecodeError, RecursionError):
        pass
    return None


def unfold(body: bytes, *, include_usage: bool = True) -> list[bytes]:
    """Events that fold to `body`, each with its `event:` line and sequence_number."""
    with shaped():
        events = enumerate(_events(loads(body)))
        return [
            sse.encode(msgspec.json.encode({"type": kind, "sequence_number": number, **rest}), kind)
            for number, (kind, rest) in events
        ]


_Events = Iterator[tuple[str, dict[str, Any]]]


def _events(response: dict[str, Any]) -> _Events:
    status = response.get("status")
    final = response
    if isinstance(response.get("usage"), dict):
        final = {**response, "usage": filled(response["usage"])}
    begun = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
        "error": None,
    }
    begun |= {key: None for key in ("completed_at",) if key in response}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(response.get("output") or ()):
        yield from _item(index, item)
    yield f"response.{status if status in ENDS else 'completed'}", {"response": final}


_STREAMED = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
}


def _item(index: int, item: dict[str, Any]) -> _Events:
    """One item: added empty, filled, done."""
    kind = item.get("type")
    place = {"item_id": item.get("id"), "output_index": index}
    begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
    match kind:
        case "message":
            begun["content"] = []
        case "reasoning":
            begun["summary"] = []
            if item.get("content"):
                begun["content"] = []
        case "function_call" | "custom_tool_call" | "mcp_call":
            begun[_STREAMED[kind][0]] = ""
    yield "response.output_item.added", {"output_index": index, "item": begun}
    match kind:
        case "message" | "reasoning":
            yield from _summary(place, item.get("summary") or ())
            for number, part in enumerate(item.get("content") or ()):
                yield from _part({**place, "content_index": number}, part)
        case "function_call" | "custom_tool_call" | "mcp_call":
            key, name = _STREAMED[kind]
            if item.get(key):
                yield name + ".delta", {**place, "delta": item[key]}
            named = {"name": item.get("name")} if kind == "function_call" else {}
            yield name + ".done", {**place, **named, key: item.get(key) or ""}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _summary(place: dict[str, Any], parts: Any) -> _Events:
    for number, part in enumerate(parts):
        here = {**place, "summary_index": number}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        if part.get("text"):
            yield "response.reasoning_summary_text.delta", {**here, "delta": part["text"]}
        yield "response.reasoning_summary_text.done", {**here, "text": part.get("text") or ""}
        yield "response.reasoning_summary_part.done", {**here, "part": part}


_PARTS = {
    "output_text": ("text", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
    "reasoning_text": ("text", "response.reasoning_text"),
}


def _part(place: dict[str, Any], part: dict[str, Any]) -> _Events:
    kind = part.get("type")
    if kind not in _PARTS:
        yield "response.content_part.added", {**place, "part": part}
        yield "response.content_part.done", {**place, "part": part}
        return
    key, name = _PARTS[kind]
    empty: dict[str, Any] = {k: [] for k in ("annotations", "logprobs") if isinstance(part.get(k), list)}
    probable = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    yield "response.content_part.added", {**place, "part": {**part, key: "", **empty}}
    if part.get(key):
        yield name + ".delta", {**place, "delta": part[key], **probable}
    for number, annotation in enumerate(part.get("annotations") or ()):
        said = {**place, "annotation_index": number, "annotation": annotation}
        yield "response.output_text.annotation.added", said
    yield name + ".done", {**place, key: part.get(key) or "", **probable}
    yield "response.content_part.done", {**place, "part": part}


def filled(usage: dict[str, Any]) -> dict[str, Any]:
    """A usage block with every detail that strict clients read (Codex and the SDK's types); what is missing is 0."""
    known = decode(Wire.OPENAI_RESPONSES, usage)
    given = {"cached_tokens": known.cache_read_tokens, "cache_write_tokens": known.cache_write_5m_tokens}
    made = {"reasoning_tokens": known.reasoning_tokens}
    return {
        "input_tokens": known.input_tokens,
        "output_tokens": known.output_tokens,
        "total_tokens": known.total_tokens,
        **usage,
        "input_tokens_details": {**given, **(usage.get("input_tokens_details") or {})},
        "output_tokens_details": {**made, **(usage.get("output_tokens_details") or {})},
    }


# --- what a request says ----------------------------------------------------------------------------------


def view(request: Request) -> View:
    """`instructions` and messages of role system or developer are system text. Raises BadRequest."""
    body, lens = request.body, Lens()
    instructions = body.get("instructions")
    if not isinstance(instructions, str | None):
        raise BadRequest(f"instructions must be a string, not {json_type(instructions)}.")
    lens.system([instructions or ""])
    for number, tool in enumerate(items(body.get("tools"), "tools")):
        inner = items(tool.get("tools"), "tools", number, "tools") if tool.get("type") == "namespace" else [tool]
        for part in inner:
            lens.tool(part.get("name") or part.get("type"), part)
    given = body.get("input")
    if isinstance(given, str):
        lens.user([given])
        return lens.view()
    if not isinstance(given, list | None):
        raise BadRequest(f"input must be a string or a list of items, not {json_type(given)}.")
    for number, item in enumerate(items(given, "input")):
        _look(lens, item, number)
    return lens.view()


def _look(lens: Lens, item: dict[str, Any], number: int) -> None:
    match item.get("type") or "message":
        case "message":
            texts = text_parts(item.get("content"), "input", number, "content")
            match item.get("role"):
                case "system" | "developer":
                    lens.system(texts)
                case "user":
                    lens.user(texts)
                case _:
                    lens.say(texts)
        case "reasoning":
            lens.say(text_parts(item.get("summary"), "input", number, "summary"))
            lens.say(text_parts(item.get("content"), "input", number, "content"))
        case str(kind) if kind.endswith("_call_output"):
            output = item.get("output")
            lens.say(text_parts(output, "input", number, "output") if not isinstance(output, dict) else [])
        case str(kind) if kind.endswith("_call"):
            lens.call(item.get("name") or kind, item.get("arguments", item.get("input", item.get("action"))))


# --- errors -----------------------------------------------------------------------------------------------


def error(status: int, kind: str, message: str, *, code: str | None = None) -> bytes:
    return openai_chat.error(status, kind, message, code=code)


def error_event(kind: str, message: str, *, code: str | None = None) -> bytes:
    """Both shapes in one: the documented flat fields, and the `error` object by which the SDKs raise."""
    name = openai_chat.error_type(kind, 500)
    said = {"type": name, "code": code, "message": message, "param": None}
    flat = {"type": "error", "sequence_number": 0, "code": code or name, "message": message, "param": None}
    return sse.encode(msgspec.json.encode({**flat, "error": said}), "error")
