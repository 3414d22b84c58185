"""Streams of Chat Completions: chunks of deltas, an optional usage chunk, `[DONE]`."""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Usage, Wire
from ..sse import encode
from ..usage import decode
from . import failures, media
from .fit import digest
from .neutral import Finish, Memo, Thinking
from .openai_chat import FINISH, finish_reason, reasoning_detail, usage_block
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

__all__ = ["ChatReader", "ChatWriter"]


class ChatReader:
    def __init__(self) -> None:
        self._id: str | None = None
        self._calls: dict[Any, tuple[int, str]] = {}  # the upstream's index: ours, and the call's id
        self._count = 0
        self._last: Any = 0

    def read(self, name: str, data: bytes) -> list[Piece]:
        if data.strip() == b"[DONE]":
            return [Ended()]
        chunk = msgspec.json.decode(data)
        if not isinstance(chunk, dict):
            return []
        if chunk.get("error"):
            failure = failures.read_event(chunk)
            return [Failed(failure)] if failure else []
        out: list[Piece] = []
        if self._id is None:
            self._id = str(chunk.get("id") or "")
            out.append(Opened(self._id, str(chunk.get("model") or ""), int(chunk.get("created") or 0)))
        choices = chunk.get("choices") or []
        if choices and not choices[0].get("index"):  # n > 1 never crosses, so only the first answer is read
            self._choice(choices[0], out)
        if isinstance(chunk.get("usage"), dict):
            out.append(Counted(decode(Wire.OPENAI_CHAT, chunk["usage"])))
        return out

    def _choice(self, choice: dict[str, Any], out: list[Piece]) -> None:
        delta = choice.get("delta") or {}
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            out.append(ThinkPiece(str(thought)))
        details = [detail for detail in delta.get("reasoning_details") or [] if isinstance(detail, dict)]
        out += [ThinkSealed(signature=str(detail["signature"])) for detail in details if detail.get("signature")]
        if text := delta.get("content"):
            out.append(TextPiece(str(text), (choice.get("logprobs") or {}).get("content")))
        if refusal := delta.get("refusal"):
            out.append(RefusalPiece(str(refusal)))
        for call in delta.get("tool_calls") or []:
            self._call(call, out)
        if reason := choice.get("finish_reason"):
            out.append(Stopped(FINISH.get(reason, "stop")))

    def _call(self, call: dict[str, Any], out: list[Piece]) -> None:
        inner = call.get("function") or call.get("custom") or {}
        told, key = call.get("id"), call.get("index")
        if key is None:  # some servers leave it out: a new id is a new call
            key = told or self._last
        known = self._calls.get(key)
        if known is None or (told and told != known[1] and inner.get("name")):
            own = str(told or f"call_{digest(self._id or '', str(self._count))}")
            known = (self._count, own)
            self._calls[key] = known
            self._count += 1
            out.append(CallBegin(known[0], own, str(inner.get("name") or ""), "custom" in call))
        self._last = key
        arguments = inner.get("arguments") or inner.get("input")
        if arguments:
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            out.append(CallPiece(known[0], text))


class ChatWriter:
    """`include_usage`: whether the caller asked for the usage chunk; it is withheld otherwise."""

    def __init__(self, model: str, *, include_usage: bool, created: int, memo: Memo) -> None:
        self._model = model
        self._include_usage = include_usage
        self._head: dict[str, Any] = {
            "id": "chatcmpl-",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._usage: Usage | None = None
        self._calls: dict[int, str] = {}  # index: "function" or "custom"
        self._thought: list[str] = []
        self._opened = False
        self._finish: Finish | None = None

    def write(self, piece: Piece) -> bytes:
        match piece:
            case Opened():
                return self._open(piece)
            case TextPiece(text=text, logprobs=logprobs):
                return self._chunk({"content": text}, logprobs=logprobs)
            case RefusalPiece(text=text):
                return self._chunk({"refusal": text})
            case ThinkPiece(text=text):
                self._thought.append(text)
                return self._chunk({"reasoning_content": text})
            case ThinkSealed():
                thought, self._thought = "".join(self._thought), []
                part = Thinking(thought, "", piece.signature, piece.redacted, piece.encrypted, piece.id)
                detail = reasoning_detail(part)
                return self._chunk({"reasoning_details": [detail]}) if detail else b""
            case CallBegin(index=index, id=own, name=name, custom=custom):
                kind = self._calls[index] = "custom" if custom else "function"
                inner = {"name": name, "input" if custom else "arguments": ""}
                return self._chunk({"tool_calls": [{"index": index, "id": own, "type": kind, kind: inner}]})
            case CallPiece(index=index, arguments=text):
                kind = self._calls[index]
                inner = {"input" if kind == "custom" else "arguments": text}
                return self._chunk({"tool_calls": [{"index": index, kind: inner}]})
            case Stopped(finish=finish):
                self._finish = finish
                return self._chunk({}, finish_reason(finish, bool(self._calls)))
            case Counted(usage=usage):
                self._usage = usage
                return b""
            case Ended():
                return self._end()
            case Failed(failure=failure):
                return encode(msgspec.json.encode(failures.body(failure, 500, Wire.OPENAI_CHAT)))
            case BlockEnd():
                return b""

    def _open(self, piece: Opened) -> bytes:
        created = piece.created or self._head["created"]
        own = media.response_id("chatcmpl-", piece.id)
        self._head = {**self._head, "id": own, "created": created, "model": piece.model or self._model}
        self._opened = True
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, *, logprobs: Any = None) -> bytes:
        told = {"content": logprobs, "refusal": None} if logprobs else None
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": told}
        chunk = {**self._head, "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return encode(msgspec.json.encode(chunk))

    def _end(self) -> bytes:
        out = b"" if self._finish is not None else self._chunk({}, finish_reason("stop", bool(self._calls)))
        if self._include_usage:
            out += encode(
                msgspec.json.encode({**self._head, "choices": [], "usage": usage_block(self._usage or Usage())})
            )
        return out + encode(b"[DONE]")
