"""Claude Code transcripts (`~/.claude/projects/**.jsonl`).

One line a content block: lines with the same `message.id` are one answer and repeat its usage, so the last of them
counts. Lines hang together by `parentUuid`; a compaction starts a new chain. The transcript holds neither system prompt
nor tools: requests made from it lack both, the recorded usage does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    for _, row in rows:
        uuid, parent = str(row.get("uuid", "")), str(row.get("parentUuid") or "")
        before = histories.get(parent, ())
        message = row.get("message")
        if row.get("type") not in _TURNS or not isinstance(message, dict) or message.get("model") == "<synthetic>":
            histories[uuid] = before  # notices and attachments pass the chain on
            continue
        if row["type"] == "assistant":
            groups.setdefault(str(message.get("id") or uuid), []).append({**row, "before": before})
        histories[uuid] = _append(before, message)
    return [_call(lines, name) for lines in groups.values()]


def _call(lines: list[dict[str, Any]], name: str) -> Recorded:
    first, last = lines[0], lines[-1]["message"]
    content = [block for line in lines for block in _blocks(line["message"].get("content"))]
    model = str(last.get("model", ""))
    usage = last.get("usage")
    return Recorded(
        session=str(first.get("sessionId", name)),
        wire=Wire.ANTHROPIC_MESSAGES,
        body={"model": model, "messages": [_plain(message) for message in first["before"]]},
        at=seconds(first.get("timestamp")),
        answer={**last, "content": content, "type": "message", "role": "assistant"},
        usage=decode(Wire.ANTHROPIC_MESSAGES, usage) if isinstance(usage, dict) else None,
    )


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
