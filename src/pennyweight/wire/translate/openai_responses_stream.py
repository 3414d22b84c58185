"""Streams of Responses: numbered events that build up output items, ended by response.completed or its like."""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Usage, Wire
from ..sse import encode
from ..usage import decode
from . import failures
from .fit import json_object
from .handed_back import own_id
from .neutral import Finish, Memo, Thinking
from .openai_responses import finish_of, finished, frame, reasoning_item
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

__all__ = ["ResponsesReader", "ResponsesWriter"]


class ResponsesReader:
    """Some servers send only an item's end, without the deltas before: what has not been said is read from there."""

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}  # output_index: number of the call
        self._said: set[Any] = set()  # output_index of items that had deltas
        self._summaries: set[Any] = set()

    def read(self, name: str, data: bytes) -> list[Piece]:
        if data.strip() == b"[DONE]":
            return []
        value = msgspec.json.decode(data)
        if not isinstance(value, dict):
            return []
        at = value.get("output_index")
        match value.get("type") or name:
            case "response.created":
                body = value.get("response") or {}
                created = int(body.get("created_at") or 0)
                return [Opened(str(body.get("id") or ""), str(body.get("model") or ""), created)]
            case "response.output_item.added":
                return self._added(at, value.get("item") or {})
            case "response.output_text.delta":
                self._said.add(at)
                return [TextPiece(str(value.get("delta") or ""), value.get("logprobs") or None)]
            case "response.refusal.delta":
                self._said.add(at)
                return [RefusalPiece(str(value.get("delta") or ""))]
            case "response.reasoning_summary_part.added":
                first = at not in self._summaries
                self._summaries.add(at)
                return [] if first else [ThinkPiece("\n")]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._said.add(at)
                return [ThinkPiece(str(value.get("delta") or ""))]
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" if (
                at in self._calls
            ):
                self._said.add(at)
                return [CallPiece(self._calls[at], str(value.get("delta") or ""))]
            case "response.output_item.done":
                return self._done(at, value.get("item") or {})
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" as kind:
                return self._finish(kind, value.get("response") or {})
            case "error":
                failure = failures.read_event(value)
                return [Failed(failure)] if failure else []
        return []

    def _added(self, at: Any, item: dict[str, Any]) -> list[Piece]:
        kind = item.get("type")
        if kind not in ("function_call", "custom_tool_call"):
            return []
        self._calls[at] = number = len(self._calls)
        own, space = str(item.get("call_id") or item.get("id") or ""), str(item.get("namespace") or "")
        return [CallBegin(number, own, str(item.get("name") or ""), kind == "custom_tool_call", space)]

    def _done(self, at: Any, item: dict[str, Any]) -> list[Piece]:
        out: list[Piece] = []
        silent = at not in self._said
        match item.get("type"):
            case "function_call" | "custom_tool_call":
                if at not in self._calls:
                    out += self._added(at, item)
                text = item.get("arguments") or item.get("input")
                if silent and text:
                    out.append(CallPiece(self._calls[at], str(text)))
            case "message" if silent:
                for part in item.get("content") or []:
                    if text := part.get("text"):
                        out.append(TextPiece(str(text), part.get("logprobs") or None))
                    elif refusal := part.get("refusal"):
                        out.append(RefusalPiece(str(refusal)))
            case "reasoning":
                if silent:
                    texts = [str(part.get("text") or "") for part in item.get("summary") or []]
                    out.append(ThinkPiece("\n".join(texts)))
                out.append(
                    ThinkSealed(encrypted=str(item.get("encrypted_content") or ""), id=str(item.get("id") or ""))
                )
        return [*out, BlockEnd()]

    def _finish(self, kind: str, body: dict[str, Any]) -> list[Piece]:
        if kind in ("response.failed", "response.cancelled"):
            failure = failures.read_event(body) or failures.Failure("The upstream's answer failed.")
            return [Failed(failure)]
        out: list[Piece] = []
        if isinstance(body.get("usage"), dict):
            out.append(Counted(decode(Wire.OPENAI_RESPONSES, body["usage"])))
        reason = str((body.get("incomplete_details") or {}).get("reason") or "")
        status = "incomplete" if kind == "response.incomplete" else "completed"
        return [*out, Stopped(finish_of(status, reason, bool(self._calls))), Ended()]


class _Item:
    """An output item being written."""

    def __init__(self, kind: str, place: int, base: dict[str, Any]) -> None:
        self.kind = kind  # text, refusal, thinking or call
        self.place = place
        self.base = base
        self.pieces: list[str] = []
        self.logprobs: list[Any] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def id(self) -> str:
        return str(self.base["id"])


class ResponsesWriter:
    def __init__(self, model: str, *, include_usage: bool, created: int, memo: Memo) -> None:
        self._model = model
        self._created = created
        self._call = memo.call
        self._frame = frame("", model, created, self._call)
        self._number = 0  # of the next event
        self._items: list[dict[str, Any] | None] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._usage: Usage | None = None
        self._finish: Finish = "stop"

    def write(self, piece: Piece) -> bytes:
        match piece:
            case Opened(id=own, model=model, created=created):
                self._frame = frame(own, model or self._model, created or self._created, self._call)
                return self._event("response.created", response=self._frame) + self._event(
                    "response.in_progress", response=self._frame
                )
            case TextPiece() if piece.text:
                return self._text(piece)
            case RefusalPiece(text=text) if text:
                return self._refusal(text)
            case ThinkPiece(text=text):
                return self._think(text)
            case ThinkSealed():
                out = self._think("") if self._open is None or self._open.kind != "thinking" else b""
                return out + self._close(piece)
            case CallBegin():
                return self._begin_call(piece)
            case CallPiece(index=index, arguments=text) if index in self._calls:
                item = self._calls[index]
                item.pieces.append(text)
                custom = item.base["type"] == "custom_tool_call"
                kind = "response.custom_tool_call_input.delta" if custom else "response.function_call_arguments.delta"
                return self._event(kind, item_id=item.id, output_index=item.place, delta=text)
            case BlockEnd():
                return self._close() + self._close_calls(force=True)
            case Stopped(finish=finish):
                self._finish = finish
                return self._close() + self._close_calls(force=True)
            case Counted(usage=usage):
                self._usage = usage
            case Ended():
                return self._end()
            case Failed(failure=failure):
                return self._fail(failure)
            case _:
                pass
        return b""

    def _event(self, kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return encode(msgspec.json.encode(body), kind)

    def _add(self, kind: str, prefix: str, base: dict[str, Any]) -> tuple[_Item, bytes]:
        place = len(self._items)
        own = own_id(prefix, str(self._frame["id"]), str(place))
        item = _Item(kind, place, {"id": own, **base})
        self._items.append(None)
        return item, self._event("response.output_item.added", output_index=place, item=item.base)

    def _message(self, kind: str, part: dict[str, Any]) -> bytes:
        """Opens a message item with one empty part of that kind, unless it is open."""
        if self._open is not None and self._open.kind == kind:
            return b""
        out = self._close() + self._close_calls(force=False)
        base = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._open, begun = self._add(kind, "msg_", base)
        place = {"item_id": self._open.id, "output_index": self._open.place, "content_index": 0}
        return out + begun + self._event("response.content_part.added", **place, part=part)

    def _text(self, piece: TextPiece) -> bytes:
        out = self._message("text", {"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        item = self._open
        if item is None:
            return out
        item.pieces.append(piece.text)
        item.logprobs += piece.logprobs or []
        place = {"item_id": item.id, "output_index": item.place, "content_index": 0}
        return out + self._event("response.output_text.delta", **place, delta=piece.text, logprobs=piece.logprobs or [])

    def _refusal(self, text: str) -> bytes:
        out = self._message("refusal", {"type": "refusal", "refusal": ""})
        item = self._open
        if item is None:
            return out
        item.pieces.append(text)
        place = {"item_id": item.id, "output_index": item.place, "content_index": 0}
        return out + self._event("response.refusal.delta", **place, delta=text)

    def _think(self, text: str) -> bytes:
        out = b""
        if self._open is None or self._open.kind != "thinking":
            out = self._close() + self._close_calls(force=False)
            self._open, begun = self._add("thinking", "rs_", {"type": "reasoning", "summary": []})
            out += begun
        item = self._open
        if not text:
            return out
        place = {"item_id": item.id, "output_index": item.place, "summary_index": 0}
        if not item.pieces:
            part = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", **place, part=part)
        item.pieces.append(text)
        return out + self._event("response.reasoning_summary_text.delta", **place, delta=text)

    def _begin_call(self, piece: CallBegin) -> bytes:
        out = self._close() + self._close_calls(force=False)
        kind, prefix, field = (
            ("custom_tool_call", "ctc_", "input") if piece.custom else ("function_call", "fc_", "arguments")
        )
        base = {"type": kind, "status": "in_progress", "call_id": piece.id, "name": piece.name, field: ""}
        if piece.namespace:
            base["namespace"] = piece.namespace
        self._calls[piece.index], begun = self._add("call", prefix, base)
        return out + begun

    def _close(self, sealed: ThinkSealed | None = None) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        place = {"item_id": item.id, "output_index": item.place}
        if item.kind == "thinking":
            out, done = self._close_thinking(item, sealed or ThinkSealed(), place)
        else:
            out, done = self._close_message(item, place)
        self._items[item.place] = done
        return out + self._event("response.output_item.done", output_index=item.place, item=done)

    def _close_thinking(self, item: _Item, sealed: ThinkSealed, place: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        out = b""
        if item.pieces:
            part = {"type": "summary_text", "text": item.text}
            out = self._event("response.reasoning_summary_text.done", **place, summary_index=0, text=item.text)
            out += self._event("response.reasoning_summary_part.done", **place, summary_index=0, part=part)
        thought = Thinking(item.text, "", sealed.signature, sealed.redacted, sealed.encrypted)
        return out, reasoning_item(thought, item.id)

    def _close_message(self, item: _Item, place: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        if item.kind == "text":
            part = {"type": "output_text", "text": item.text, "annotations": [], "logprobs": item.logprobs}
            out = self._event(
                "response.output_text.done", **place, content_index=0, text=item.text, logprobs=item.logprobs
            )
        else:
            part = {"type": "refusal", "refusal": item.text}
            out = self._event("response.refusal.done", **place, content_index=0, refusal=item.text)
        out += self._event("response.content_part.done", **place, content_index=0, part=part)
        return out, {**item.base, "status": "completed", "content": [part]}

    def _close_calls(self, *, force: bool) -> bytes:
        """Close the calls whose arguments are whole; with `force` all of them."""
        out = b""
        for index, item in list(self._calls.items()):
            if not force and not (item.text.strip() and json_object(item.text) is not None):
                continue
            del self._calls[index]
            place = {"item_id": item.id, "output_index": item.place}
            if item.base["type"] == "custom_tool_call":
                done = {**item.base, "status": "completed", "input": item.text}
                out += self._event("response.custom_tool_call_input.done", **place, input=item.text)
            else:
                text = item.text or "{}"
                done = {**item.base, "status": "completed", "arguments": text}
                name = item.base["name"]
                out += self._event("response.function_call_arguments.done", **place, name=name, arguments=text)
            self._items[item.place] = done
            out += self._event("response.output_item.done", output_index=item.place, item=done)
        return out

    def _end(self) -> bytes:
        out = self._close() + self._close_calls(force=True)
        items = [item for item in self._items if item is not None]
        body = finished(self._frame, items, self._finish, self._usage)
        return out + self._event(f"response.{body['status']}", response=body)

    def _fail(self, failure: failures.Failure) -> bytes:
        """Both forms: SDKs raise at `error`, Codex reads `response.failed`."""
        said = failures.body(failure, 500, Wire.OPENAI_RESPONSES)["error"]
        code = said["code"] or said["type"] or "server_error"
        told = self._event("error", code=code, message=said["message"], param=said["param"])
        body = {**self._frame, "status": "failed", "error": {"code": code, "message": said["message"]}}
        return told + self._event("response.failed", response=body)
