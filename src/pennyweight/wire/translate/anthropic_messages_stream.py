"""Streams of Anthropic Messages: message_start, numbered content blocks, message_delta, message_stop."""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Usage, Wire
from ..sse import encode
from . import failures, media
from .anthropic_messages import FINISH, read_usage, stop_reason, thinking_block, usage_block
from .fit import UNSIGNED, json_object
from .neutral import Memo, Thinking
from .pieces import (
    BlockEnd,
    CallBegin,
    CallPiece,
    Counted,
    Ended,
    Failed,
    Opened,
    Piece,
    RefusalPiece,
    Stopped,
    TextPiece,
    ThinkPiece,
    ThinkSealed,
)

__all__ = ["MessagesReader", "MessagesWriter"]


class MessagesReader:
    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, int] = {}  # block number: number of the call
        self._signatures: dict[int, str] = {}
        self._whole: dict[int, str] = {}  # input that came with the block's start, and is used if no delta comes

    def read(self, name: str, data: bytes) -> list[Piece]:
        value = msgspec.json.decode(data)
        if not isinstance(value, dict):
            return []
        match value.get("type") or name:
            case "message_start":
                message = value.get("message") or {}
                self._count(message.get("usage"))
                return [
                    Opened(str(message.get("id") or ""), str(message.get("model") or ""), usage=read_usage(self._usage))
                ]
            case "content_block_start":
                return self._start(int(value.get("index") or 0), value.get("content_block") or {})
            case "content_block_delta":
                return self._delta(int(value.get("index") or 0), value.get("delta") or {})
            case "content_block_stop":
                return self._stop(int(value.get("index") or 0))
            case "message_delta":
                self._count(value.get("usage"))
                delta = value.get("delta") or {}
                out: list[Piece] = [Counted(read_usage(self._usage))]
                if reason := delta.get("stop_reason"):
                    out.append(Stopped(FINISH.get(reason, "stop"), delta.get("stop_sequence")))
                return out
            case "message_stop":
                return [Ended()]
            case "error":
                failure = failures.read_event(value)
                return [Failed(failure)] if failure else []
        return []

    def _count(self, block: Any) -> None:
        if isinstance(block, dict):
            self._usage.update({key: number for key, number in block.items() if number is not None})

    def _start(self, index: int, block: dict[str, Any]) -> list[Piece]:
        match block.get("type"):
            case "text" if block.get("text"):
                return [TextPiece(block["text"])]
            case "thinking":
                self._signatures[index] = str(block.get("signature") or "")
                return [ThinkPiece(str(block.get("thinking") or ""))]
            case "redacted_thinking":
                return [ThinkSealed(redacted=str(block.get("data") or ""))]
            case "tool_use":
                self._calls[index] = number = len(self._calls)
                if block.get("input"):
                    self._whole[index] = msgspec.json.encode(block["input"]).decode()
                return [CallBegin(number, str(block.get("id") or ""), str(block.get("name") or ""))]
        return []

    def _delta(self, index: int, delta: dict[str, Any]) -> list[Piece]:
        match delta.get("type"):
            case "text_delta":
                return [TextPiece(str(delta.get("text") or ""))] if delta.get("text") else []
            case "thinking_delta":
                return [ThinkPiece(str(delta.get("thinking") or ""))]
            case "signature_delta":
                self._signatures[index] = self._signatures.get(index, "") + str(delta.get("signature") or "")
            case "input_json_delta" if index in self._calls and delta.get("partial_json"):
                self._whole.pop(index, None)
                return [CallPiece(self._calls[index], str(delta["partial_json"]))]
        return []

    def _stop(self, index: int) -> list[Piece]:
        if index in self._signatures:
            return [ThinkSealed(signature=self._signatures.pop(index)), BlockEnd()]
        if index in self._whole:
            return [CallPiece(self._calls[index], self._whole.pop(index)), BlockEnd()]
        return [BlockEnd()]


class MessagesWriter:
    """Blocks are numbered without gaps. A call's block closes as soon as its input is whole; until then another
    may open beside it, because Chat Completions may send parallel calls in turns."""

    def __init__(self, model: str, *, include_usage: bool, created: int, memo: Memo) -> None:
        self._model = model
        self._usage: Usage | None = None
        self._next = 0
        self._open: tuple[str, int] | None = None  # kind and number of the text or thinking block being written
        self._signed = False  # whether that block, of thinking, has its signature
        self._calls: dict[int, tuple[int, list[str]]] = {}  # calls still open: block number, input so far
        self._called = False
        self._stopped: Stopped | None = None

    def write(self, piece: Piece) -> bytes:
        match piece:
            case Opened():
                return self._start(piece)
            case TextPiece(text=text) | RefusalPiece(text=text):
                return self._piece("text", {"type": "text_delta", "text": text}) if text else b""
            case ThinkPiece(text=text):
                return self._piece("thinking", {"type": "thinking_delta", "thinking": text} if text else None)
            case ThinkSealed():
                return self._seal(piece)
            case CallBegin():
                return self._begin_call(piece)
            case CallPiece(index=index, arguments=text) if index in self._calls:
                number, pieces = self._calls[index]
                pieces.append(text)
                delta = {"type": "input_json_delta", "partial_json": text}
                return _event("content_block_delta", index=number, delta=delta)
            case BlockEnd():
                return self._close() + self._close_calls(force=True)
            case Stopped():
                self._stopped = piece
                return self._close() + self._close_calls(force=True)
            case Counted(usage=usage):
                self._usage = usage
            case Ended():
                return self._end()
            case Failed(failure=failure):
                return encode(msgspec.json.encode(failures.body(failure, 500, Wire.ANTHROPIC_MESSAGES)), "error")
            case _:
                pass
        return b""

    def _start(self, piece: Opened) -> bytes:
        self._usage = piece.usage
        message: dict[str, Any] = {
            "id": media.response_id("msg_", piece.id),
            "type": "message",
            "role": "assistant",
            "model": piece.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_block(piece.usage or Usage()),
        }
        return _event("message_start", message=message)

    def _block(self, block: dict[str, Any]) -> tuple[int, bytes]:
        number = self._next
        self._next += 1
        return number, _event("content_block_start", index=number, content_block=block)

    def _piece(self, kind: str, delta: dict[str, Any] | None) -> bytes:
        out = b""
        if self._open is None or self._open[0] != kind:
            out = self._close() + self._close_calls(force=False)
            empty = (
                {"type": "text", "text": ""}
                if kind == "text"
                else {"type": "thinking", "thinking": "", "signature": ""}
            )
            number, begun = self._block(empty)
            out += begun
            self._open, self._signed = (kind, number), False
        return out + _event("content_block_delta", index=self._open[1], delta=delta) if delta else out

    def _seal(self, piece: ThinkSealed) -> bytes:
        if piece.redacted:
            number, begun = self._block({"type": "redacted_thinking", "data": piece.redacted})
            return self._close() + begun + _event("content_block_stop", index=number)
        block = thinking_block(Thinking("", "", piece.signature, "", piece.encrypted, piece.id))
        if block["signature"] == UNSIGNED:
            return self._close() if self._open and self._open[0] == "thinking" else b""
        signed = self._piece("thinking", {"type": "signature_delta", "signature": block["signature"]})
        self._signed = True
        return signed + self._close()

    def _begin_call(self, piece: CallBegin) -> bytes:
        out = self._close() + self._close_calls(force=False)
        block = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
        number, begun = self._block(block)
        self._calls[piece.index] = (number, [])
        self._called = True
        return out + begun

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        (kind, number), self._open = self._open, None
        out = b""
        if kind == "thinking" and not self._signed:
            delta = {"type": "signature_delta", "signature": UNSIGNED}
            out = _event("content_block_delta", index=number, delta=delta)
        return out + _event("content_block_stop", index=number)

    def _close_calls(self, *, force: bool) -> bytes:
        """Close the calls whose input is whole; with `force` all of them."""
        out = b""
        for index, (number, pieces) in list(self._calls.items()):
            text = "".join(pieces)
            if force or (text.strip() and json_object(text) is not None):
                del self._calls[index]
                out += _event("content_block_stop", index=number)
        return out

    def _end(self) -> bytes:
        out = self._close() + self._close_calls(force=True)
        stopped = self._stopped or Stopped("stop")
        delta = {"stop_reason": stop_reason(stopped.finish, self._called), "stop_sequence": stopped.sequence}
        usage = usage_block(self._usage or Usage())
        return out + _event("message_delta", delta=delta, usage=usage) + _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return encode(msgspec.json.encode({"type": kind, **fields}), kind)
