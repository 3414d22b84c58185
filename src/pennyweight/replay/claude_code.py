"""Claude Code transcripts (`~/.claude/projects/**.jsonl`).

One line a content block: lines with the same `message.id` are one answer and repeat its usage, so the last of them
counts. Lines hang together by `parentUuid`; a compaction starts a new chain. Version 2.1.329 (seen on disk) also writes
what each request was made of: parameters, system prompt and tools once (`api-request-shape`), messages that are not in
the conversation (`api-request-blob`), cache marks. Earlier transcripts hold neither system prompt nor tools: requests
made from those lack both, the recorded usage does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..capture.format import Recorded
from ..request import Wire
from ..wire.usage import decode
from .rows import Rows, seconds

__all__ = ["fits", "load"]

_TURNS = frozenset({"user", "assistant"})


def fits(rows: Rows) -> bool:
    return any("sessionId" in row and "message" in row and row.get("type") in _TURNS for _, row in rows)


def load(rows: Rows, name: str) -> list[Recorded]:
    """One call for each answer, in the order in which they began."""
    histories: dict[str, tuple[Mapping[str, Any], ...]] = {}  # uuid -> messages up to and with that line
    groups: dict[str, list[dict[str, Any]]] = {}
    requests = _Requests()
    for _, row in rows:
        requests.note(row)
        uuid, parent = str(row.get("uuid", "")), str(row.get("parentUuid") or "")
        before = histories.get(parent, ())
        message = row.get("message")
        if row.get("type") not in _TURNS or not isinstance(message, dict) or message.get("model") == "<synthetic>":
            histories[uuid] = before  # notices and attachments pass the chain on
            continue
        if row["type"] == "assistant":
            groups.setdefault(str(message.get("id") or uuid), []).append({**row, "before": before})
        histories[uuid] = _append(before, message)
    return [_call(lines, name, requests) for lines in groups.values()]


def _call(lines: list[dict[str, Any]], name: str, requests: _Requests) -> Recorded:
    first, last = lines[0], lines[-1]["message"]
    content = [block for line in lines for block in _blocks(line["message"].get("content"))]
    model = str(last.get("model", ""))
    usage = last.get("usage")
    messages = [_plain(message) for message in first["before"]]
    return Recorded(
        session=str(first.get("sessionId", name)),
        wire=Wire.ANTHROPIC_MESSAGES,
        body=requests.body(str(first.get("requestRef", "")), messages) or {"model": model, "messages": messages},
        at=seconds(first.get("timestamp")),
        answer={**last, "content": content, "type": "message", "role": "assistant"},
        usage=decode(Wire.ANTHROPIC_MESSAGES, usage) if isinstance(usage, dict) else None,
    )


class _Requests:
    """The `api-request` lines: what each request was made of."""

    def __init__(self) -> None:
        self._shapes: dict[str, Mapping[str, Any]] = {}
        self._blobs: dict[str, Mapping[str, Any]] = {}
        self._requests: dict[str, tuple[Mapping[str, Any], list[str]]] = {}

    def note(self, row: Mapping[str, Any]) -> None:
        shape, message = row.get("shape"), row.get("message")
        match row.get("type"):
            case "api-request-shape" if isinstance(shape, Mapping):
                self._shapes[str(row.get("shapeHash"))] = shape
            case "api-request-blob" if isinstance(message, Mapping):
                self._blobs[str(row.get("hash"))] = message
            case "api-request":
                _, kept = self._requests.get(str(row.get("base")), ({}, []))
                hashes = [*kept[: int(row.get("keep") or 0)], *map(str, row.get("tail") or ())]
                self._requests[str(row.get("id"))] = (row, hashes)

    def body(self, id: str, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The request of that id; a message that is no blob is the one of the conversation at its place from the end.

        None when the transcript does not have the request, or not all of its messages.
        """
        row, hashes = self._requests.get(id, ({}, []))
        shape = self._shapes.get(str(row.get("shapeHash")))
        params = row.get("params")
        if shape is None or not isinstance(params, Mapping):
            return None
        found: list[Any] = []
        for place, digest in enumerate(hashes):
            from_end = len(hashes) - place
            if digest not in self._blobs and from_end > len(messages):
                return None
            found.append(self._blobs.get(digest) or messages[-from_end])
        whole = {key: value for key, value in params.items() if key != "betas"} | dict(shape) | {"messages": found}
        return _marked(whole, row.get("cacheControl"))


def _marked(body: dict[str, Any], marks: Any) -> dict[str, Any]:
    """A copy of the body with its cache marks; one whose place is not there is left out."""
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    for mark in marks or ():
        place: Any = copy
        try:
            for key in mark["path"]:
                place = place[key]
            place["cache_control"] = mark["value"]
        except (KeyError, IndexError, TypeError):
            continue
    return copy


def _append(before: tuple[Mapping[str, Any], ...], message: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The history with this line: blocks of one answer, and results of one turn, belong to one message."""
    if before:
        last = before[-1]
        same_answer = message.get("id") is not None and last.get("id") == message.get("id")
        if same_answer or (last.get("role") == "user" == message.get("role")):
            merged = {**last, "content": _blocks(last.get("content")) + _blocks(message.get("content"))}
            return (*before[:-1], merged)
    return (*before, message)


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or ())


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": message.get("role"), "content": message.get("content")}
