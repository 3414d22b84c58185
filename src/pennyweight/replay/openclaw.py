"""OpenClaw session files (JSON lines that begin with a `session` line).

`message` lines hang together by `parentId`; `compaction` replaces what came before `firstKeptEntryId` by its summary.
An answer's usage counts input beside cache reads and writes. Sessions of the Anthropic API become Messages requests,
all others Chat Completions. System prompt and tools are not in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..capture.format import Recorded
from ..request import Usage, Wire
from ..testing import shapes
from .rows import Rows, seconds

__all__ = ["fits", "load"]

_Entry = tuple[str, Mapping[str, Any]]  # (id of its line, message)


def fits(rows: Rows) -> bool:
    first = rows[0][1]
    if first.get("type") == "session" and "id" in first:
        return True
    return any(row.get("type") == "message" and "role" in (row.get("message") or {}) for _, row in rows[:5])


def load(rows: Rows, name: str) -> list[Recorded]:
    """One call for each answer that came from a model."""
    session = name
    histories: dict[str, tuple[_Entry, ...]] = {}
    calls: list[Recorded] = []
    last = ""
    for _, row in rows:
        if row.get("type") == "session":
            session = str(row.get("id", name))
            continue
        entry = str(row.get("id", ""))
        parent = row.get("parentId") if "parentId" in row else last  # the first version of the format had no tree
        before = histories.get(str(parent), ())
        message = row.get("message")
        if row.get("type") == "compaction":
            before = _compact(before, row)
        elif row.get("type") == "message" and isinstance(message, dict):
            if message.get("role") == "assistant" and message.get("stopReason") not in ("error", "aborted"):
                calls.append(_call(session, before, message, seconds(row.get("timestamp"))))
            before = (*before, (entry, message))
        histories[entry] = before
        last = entry
    return calls


def _compact(before: Sequence[_Entry], row: Mapping[str, Any]) -> tuple[_Entry, ...]:
    kept_from = row.get("firstKeptEntryId")
    at = next((index for index, (entry, _) in enumerate(before) if entry == kept_from), len(before))
    summary = {"role": "user", "content": str(row.get("summary", ""))}
    return ((str(row.get("id", "")), summary), *before[at:])


def _call(session: str, before: Sequence[_Entry], message: Mapping[str, Any], at: float) -> Recorded:
    wire = Wire.ANTHROPIC_MESSAGES if message.get("api") == "anthropic-messages" else Wire.OPENAI_CHAT
    model = str(message.get("model", ""))
    write = _anthropic if wire is Wire.ANTHROPIC_MESSAGES else _chat
    messages: list[dict[str, Any]] = []
    for _, said in before:
        write(said, messages)
    return Recorded(
        session=session,
        wire=wire,
        body={"model": model, "messages": messages},
        at=at,
        answer=shapes.body_of(wire, _turn(message), model=model),
        usage=_usage(message.get("usage")),
    )


def _turn(message: Mapping[str, Any]) -> shapes.Turn:
    parts = _parts(message)
    thinking = [part for part in parts if part.get("type") == "thinking"]
    return shapes.Turn(
        text="".join(str(part.get("text", "")) for part in parts if part.get("type") == "text"),
        calls=tuple(
            shapes.ToolCall(str(part.get("id")), str(part.get("name")), msgspec.json.encode(_given(part)).decode())
            for part in parts
            if part.get("type") == "toolCall"
        ),
        reasoning="\n".join(str(part.get("thinking", "")) for part in thinking),
        signature=str(thinking[-1].get("thinkingSignature") or "") if thinking else "",
    )


def _given(part: Mapping[str, Any]) -> Any:
    return part.get("arguments", part.get("input", {}))


def _anthropic(message: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    match message.get("role"):
        case "assistant":
            body = shapes.body_of(Wire.ANTHROPIC_MESSAGES, _turn(message), model="")
            messages.append({"role": "assistant", "content": body["content"]})
        case "toolResult":
            block = {"type": "tool_result", "tool_use_id": message.get("toolCallId"), "content": _texts(message)}
            if messages and messages[-1]["role"] == "user" and messages[-1]["content"][0].get("type") == "tool_result":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
        case _:
            messages.append({"role": "user", "content": _texts(message)})


def _chat(message: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    match message.get("role"):
        case "assistant":
            said = shapes.body_of(Wire.OPENAI_CHAT, _turn(message), model="")["choices"][0]["message"]
            messages.append({key: value for key, value in said.items() if key != "refusal"})
        case "toolResult":
            text = "\n".join(part["text"] for part in _texts(message))
            messages.append({"role": "tool", "tool_call_id": message.get("toolCallId"), "content": text})
        case _:
            messages.append({"role": "user", "content": "\n".join(part["text"] for part in _texts(message))})


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content or () if isinstance(part, Mapping)]


def _texts(message: Mapping[str, Any]) -> list[dict[str, str]]:
    """Text parts; an image stands as a word, its bytes are not in every session file."""
    return [
        {"type": "text", "text": str(part.get("text", "")) or f"[{part.get('type')}]"} for part in _parts(message)
    ] or [{"type": "text", "text": str(message.get("output") or message.get("command") or "-")}]


def _usage(block: Any) -> Usage | None:
    if not isinstance(block, Mapping) or not isinstance(block.get("input"), int):
        return None
    read, write, hour, output, reasoning = (
        int(block.get(key) or 0) for key in ("cacheRead", "cacheWrite", "cacheWrite1h", "output", "reasoning")
    )
    return Usage(
        input_tokens=block["input"] + read + write,
        cache_read_tokens=read,
        cache_write_5m_tokens=max(write - hour, 0),
        cache_write_1h_tokens=min(hour, write),  # a part of cacheWrite
        output_tokens=output,
        reasoning_tokens=reasoning,
    )
