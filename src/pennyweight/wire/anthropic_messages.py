"""Anthropic Messages and its token counting.

Reference: docs.anthropic.com, "Messages" and "Streaming messages". Usage comes in two parts: `message_start` tells the
input side, `message_delta` the output so far, and it may tell the input side again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..request import Done, Request, Wire
from . import Tap, View, sse
from .taps import StreamTap, loads, shaped, tiered
from .views import Lens, items, part_text, text_parts

__all__ = ["error", "error_event", "error_type", "fold", "read", "stream_type", "tap", "unfold", "view"]


def stream_type() -> str:
    return "text/event-stream"


# --- usage, from the side ---------------------------------------------------------------------------------


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    usage: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: Any = None


class _Whole(msgspec.Struct):
    type: str = "message"
    stop_reason: str | None = None
    usage: Any = None
    error: Any = None


_event = msgspec.json.Decoder(_Event)
_whole = msgspec.json.Decoder(_Whole)


class _Facts:
    """Usage of the start and of the newest delta, the stop reason, and how the stream ended."""

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.delta: dict[str, Any] = {}
        self.stop: str | None = None
        self.stopped = False
        self.failed = False

    def absorb(self, stream: bytes) -> None:
        stream = sse.normal(stream)
        if not self.start:
            start = next(_named(stream, "message_start"), None)
            if start is not None and start.message is not None and isinstance(start.message.usage, dict):
                self.start = start.message.usage
        delta = next(_named(stream, "message_delta", newest=True), None)
        if delta is not None:
            self.delta = delta.usage if isinstance(delta.usage, dict) else self.delta
            self.stop = (delta.delta.stop_reason if delta.delta else None) or self.stop
        self.stopped = self.stopped or next(_named(stream, "message_stop", newest=True), None) is not None
        self.failed = self.failed or next(_named(stream, "error"), None) is not None

    def done(self) -> Done:
        usage = tiered(Wire.ANTHROPIC_MESSAGES, merged_usage(self.start, self.delta))
        return Done(usage, self.stop, complete=self.stopped and not self.failed)

    def texts(self, stream: bytes) -> list[str]:
        return [text for event in sse.events(stream) for text in _texts(event.data)]


def _named(stream: bytes, name: str, *, newest: bool = False) -> Iterator[_Event]:
    """The events of that type, oldest or newest first. Text that merely says the name costs a decode."""
    needle = b'"' + name.encode() + b'"'
    at = stream.rfind(needle) if newest else stream.find(needle)
    while at >= 0:
        start, data = sse.around(stream, at)
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError):
            event = _Event()
        if event.type == name:
            yield event
        at = stream.rfind(needle, 0, start) if newest else stream.find(needle, at + len(needle))


def merged_usage(start: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """One block of two: what the delta tells is newer. A write total that has outgrown the start's split by time to
    live corrects the 5-minute part, which is what a write without a split is."""
    usage = {**start, **{key: value for key, value in delta.items() if value is not None}}
    split, total = usage.get("cache_creation"), delta.get("cache_creation_input_tokens")
    if isinstance(split, dict) and isinstance(total, int) and not delta.get("cache_creation"):
        long = split.get("ephemeral_1h_input_tokens")
        long = min(long, total) if isinstance(long, int) else 0
        usage["cache_creation"] = {
            **split,
            "ephemeral_5m_input_tokens": total - long,
            "ephemeral_1h_input_tokens": long,
        }
    return usage


def _texts(data: bytes) -> Iterator[str]:
    """The texts of one event; nothing for what cannot be read."""
    try:
        event = loads(data)
    except ValueError:
        return
    block, delta = event.get("content_block"), event.get("delta")
    if isinstance(block, dict):
        yield from (text for key in ("name", "text", "thinking") if isinstance(text := block.get(key), str))
    if isinstance(delta, dict):
        keys = ("text", "thinking", "partial_json")
        yield from (text for key in keys if isinstance(text := delta.get(key), str))


def tap() -> Tap:
    """Complete when `message_stop` was seen and no error event.

    Of a stream cut before its `message_delta`, usage has the true input and an output that is only what
    `message_start` begins with: count `output_text` instead.
    """
    return StreamTap(_Facts())


def read(body: bytes) -> Done:
    """Also reads count_tokens answers: they cost nothing, so there is no usage."""
    try:
        whole = _whole.decode(body)
    except msgspec.ValidationError:
        try:
            value = loads(body)
        except ValueError:
            return Done(complete=False)
        whole = _Whole(usage=value.get("usage"), error=value.get("error"))
    except (ValueError, RecursionError):
        return Done(complete=False)
    usage = tiered(Wire.ANTHROPIC_MESSAGES, whole.usage)
    return Done(usage, whole.stop_reason, complete=whole.type != "error" and not whole.error)


# --- whole answers and streams ----------------------------------------------------------------------------


def fold(stream: bytes) -> bytes:
    """The message that the events amount to. Raises ValueError when it did not come to `message_stop`."""
    with shaped():
        return _fold(stream)


def _fold(stream: bytes) -> bytes:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for given in sse.events(stream):
        event = loads(given.data)
        match event.get("type"):
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                _add(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                message |= {**event.pop("delta"), "usage": merged_usage(message.get("usage") or {}, event["usage"])}
                message |= {key: value for key, value in event.items() if key not in ("type", "usage")}
            case "error":
                raise ValueError("The stream ended in an error event.")
            case "message_stop":
                for index, text in inputs.items():
                    blocks[index]["input"] = msgspec.json.decode(text) if text else blocks[index].get("input", {})
                message["content"] = [block for _, block in sorted(blocks.items())]
                return msgspec.json.encode(message)
    raise ValueError("The stream was cut: there is no message_stop.")


def _add(block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], index: int) -> None:
    """Add a delta to its block; input JSON is collected beside, for it parses only when whole."""
    match delta["type"]:
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        case _:
            for key, value in delta.items():
                if key != "type":
                    have = block.get(key)
                    block[key] = have + value if isinstance(have, str) and isinstance(value, str) else value


def unfold(body: bytes, *, include_usage: bool = True) -> list[bytes]:
    """Events that fold to `body`, each with its `event:` line; blocks are numbered from 0 without gaps."""
    with shaped():
        return [sse.encode(msgspec.json.encode(event), event["type"]) for event in _events(loads(body))]


_AT_END = ("stop_reason", "stop_sequence", "stop_details", "context_management")


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = message.get("usage") or {}
    start = {key: value for key, value in message.items() if key not in _AT_END}
    start |= {"content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**usage, "output_tokens": min(1, usage.get("output_tokens") or 0)}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message.get("content") or ()):
        opened, deltas = _open(block)
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    if "stop_details" in message:
        ending["stop_details"] = message["stop_details"]
    beside = {key: message[key] for key in ("context_management",) if key in message}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 0, **usage}, **beside}
    yield {"type": "message_stop"}


def _open(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and the deltas that fill it."""
    match block.get("type"):
        case "text":
            deltas = _delta("text_delta", "text", block.get("text"))
            cited = block.get("citations")
            opened = {**block, "text": ""}
            if cited:
                opened["citations"] = []
                deltas += [{"type": "citations_delta", "citation": citation} for citation in cited]
            return opened, deltas
        case "thinking":
            deltas = _delta("thinking_delta", "thinking", block.get("thinking"))
            deltas += _delta("signature_delta", "signature", block.get("signature"))
            empty = {"signature": ""} if "signature" in block else {}
            return {**block, "thinking": "", **empty}, deltas
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            given = block.get("input", {})
            text = msgspec.json.encode(given).decode() if given != {} else ""
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text}]
        case _:
            return block, []


def _delta(kind: str, key: str, text: Any) -> list[dict[str, Any]]:
    return [{"type": kind, key: text}] if text else []


# --- what a request says ----------------------------------------------------------------------------------


def view(request: Request) -> View:
    """System text is the `system` field and messages of role system (mid-conversation); raises BadRequest."""
    body, lens = request.body, Lens()
    lens.system(text_parts(body.get("system"), "system"))
    for tool in items(body.get("tools"), "tools"):
        lens.tool(tool.get("name") or tool.get("type"), tool)
    for number, message in enumerate(items(body.get("messages"), "messages")):
        _look(lens, message, number)
    return lens.view()


def _look(lens: Lens, message: dict[str, Any], number: int) -> None:
    """A message's own text goes to its role; tool results in a user's message are no user text."""
    role, content = message.get("role"), message.get("content")
    blocks: list[Any] = content if isinstance(content, list) else []
    own = [] if blocks else text_parts(content, "messages", number, "content")
    for index, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind is None or kind == "text":
            texts = part_text(block, "messages", number, "content", index)
            if role in ("user", "system"):
                own += texts
            else:
                lens.say(texts)
        elif kind == "thinking":
            lens.say(text_parts(block.get("thinking"), "messages", number, "content", index, "thinking"))
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            lens.call(block.get("name"), block.get("input"))
        elif isinstance(kind, str) and kind.endswith("tool_result") and isinstance(block.get("content"), str | list):
            lens.say(text_parts(block["content"], "messages", number, "content", index, "content"))
    if role == "user":
        lens.user(own)
    elif role == "system":
        lens.system(own)
    else:
        lens.say(own)


# --- errors -----------------------------------------------------------------------------------------------

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(kind: str, status: int = 0) -> str:
    """Anthropic's name for our kind of error, or for the status where the kind is none of Anthropic's."""
    if kind == "api_error" or kind in _TYPES.values():
        return kind
    return _TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def error(status: int, kind: str, message: str, *, code: str | None = None) -> bytes:
    """`code` has no place in this protocol."""
    return msgspec.json.encode({"type": "error", "error": {"type": error_type(kind, status), "message": message}})


def error_event(kind: str, message: str, *, code: str | None = None) -> bytes:
    return sse.encode(error(500, kind, message), "error")
