"""Streams of Ollama: one JSON object a line, the last with `done: true`. Tool calls come whole."""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Usage, Wire
from ..usage import decode
from . import failures
from .fit import digest, json_object
from .neutral import Finish, Losses, Memo, ToolCall
from .ollama import FINISH, ending, read_answer_call, timestamp, unix, write_call
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

__all__ = ["OllamaReader", "OllamaWriter"]


class OllamaReader:
    def __init__(self) -> None:
        self._opened = False
        self._calls = 0

    def read(self, name: str, data: bytes) -> list[Piece]:
        value = msgspec.json.decode(data)
        if not isinstance(value, dict):
            return []
        if value.get("error"):
            failure = failures.read_event(value)
            return [Failed(failure)] if failure else []
        created = str(value.get("created_at") or "")
        out: list[Piece] = []
        if not self._opened:
            self._opened = True
            out.append(Opened(digest(created), str(value.get("model") or ""), unix(created)))
        message = value.get("message") or {}
        if thought := message.get("thinking") or value.get("thinking"):
            out.append(ThinkPiece(str(thought)))
        if text := message.get("content") or value.get("response"):
            out.append(TextPiece(str(text), value.get("logprobs") or None))
        for raw in message.get("tool_calls") or []:
            call = read_answer_call(raw, "", created, self._calls)
            out += [CallBegin(self._calls, call.id, call.name), CallPiece(self._calls, call.arguments), BlockEnd()]
            self._calls += 1
        if value.get("done"):
            reason = FINISH.get(str(value.get("done_reason") or ""), "stop")
            out += [Counted(decode(Wire.OLLAMA, value)), Stopped(reason), Ended()]
        return out


class OllamaWriter:
    def __init__(self, model: str, *, include_usage: bool, created: int, memo: Memo) -> None:
        self._model = model
        self._created = created
        self._generate = memo.generate
        self._calls: dict[int, tuple[CallBegin, list[str]]] = {}
        self._usage: Usage | None = None
        self._finish: Finish = "stop"
        self._losses = Losses()

    def write(self, piece: Piece) -> bytes:
        match piece:
            case Opened(model=model, created=created):
                self._model, self._created = model or self._model, created or self._created
            case TextPiece(text=text) | RefusalPiece(text=text) if text:
                logprobs = piece.logprobs if isinstance(piece, TextPiece) else None
                return self._flush(force=False) + self._line({"content": text}, logprobs)
            case ThinkPiece(text=text) if text:
                return self._flush(force=False) + self._line({"content": "", "thinking": text})
            case CallBegin(index=index):
                out = self._flush(force=False)
                self._calls[index] = (piece, [])
                return out
            case CallPiece(index=index, arguments=text) if index in self._calls:
                self._calls[index][1].append(text)
            case BlockEnd():
                return self._flush(force=True)
            case Stopped(finish=finish):
                self._finish = finish
                return self._flush(force=True)
            case Counted(usage=usage):
                self._usage = usage
            case Ended():
                tail = ending(self._model, self._created, self._finish, self._usage)
                said = {"response": ""} if self._generate else {"message": {"role": "assistant", "content": ""}}
                return self._flush(force=True) + msgspec.json.encode({**tail, **said}) + b"\n"
            case Failed(failure=failure):
                return msgspec.json.encode(failures.body(failure, 500, Wire.OLLAMA)) + b"\n"
            case ThinkSealed() | _:
                pass
        return b""

    def _flush(self, *, force: bool) -> bytes:
        """The calls whose arguments are whole, as one line; with `force` all of them."""
        ready: list[dict[str, Any]] = []
        for index, (begun, pieces) in list(self._calls.items()):
            text = "".join(pieces)
            if force or (text.strip() and json_object(text) is not None):
                del self._calls[index]
                ready.append(write_call(ToolCall(begun.id, begun.name, text), self._losses))
        return self._line({"content": "", "tool_calls": ready}) if ready and not self._generate else b""

    def _line(self, message: dict[str, Any], logprobs: Any = None) -> bytes:
        said: dict[str, Any] = {"model": self._model, "created_at": timestamp(self._created)}
        if self._generate:
            said["response"] = message["content"]
            if "thinking" in message:
                said["thinking"] = message["thinking"]
        else:
            said["message"] = {"role": "assistant", **message}
        said["done"] = False
        if logprobs:
            said["logprobs"] = logprobs
        return msgspec.json.encode(said) + b"\n"
