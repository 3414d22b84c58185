"""Recordings of real clients before a scripted upstream: `api`, `body` or `base` and `delta`, `scripted_reply`.

The answers are not in the file as bodies. The client's next request quotes each of them, thinking and signatures
included, so that is where they are taken from; the last one is made from `scripted_reply`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..capture.format import Recorded, apply_delta
from ..request import Wire
from ..testing import shapes
from .rows import RowError, Rows

__all__ = ["fits", "load"]

_WIRES = {
    "anthropic": Wire.ANTHROPIC_MESSAGES,
    "chat": Wire.OPENAI_CHAT,
    "responses": Wire.OPENAI_RESPONSES,
    "ollama": Wire.OLLAMA,
}


def fits(rows: Rows) -> bool:
    row = rows[0][1]
    return "api" in row and ("body" in row or "delta" in row)


def load(rows: Rows, name: str) -> list[Recorded]:
    """The calls; session is the file's name, `simulated_usage` is not taken for a provider's. Raises RowError."""
    bodies: list[dict[str, Any]] = []
    wires: list[Wire] = []
    for line, row in rows:
        wire = _WIRES.get(row.get("api", ""))
        if wire is None:
            raise RowError(line, f"api {row.get('api')!r} is none of {', '.join(_WIRES)}")
        try:
            bodies.append(apply_delta(bodies[row["base"]], row["delta"]) if "delta" in row else row["body"])
        except (KeyError, TypeError, IndexError) as error:
            raise RowError(line, f"The delta does not fit its base: {type(error).__name__} {error}") from None
        wires.append(wire)
    return [
        Recorded(
            session=row.get("headers", {}).get("x-session-id") or name,
            wire=wires[index],
            body=bodies[index],
            t=float(row.get("t", 0.0)),
            path=str(row.get("path", "")),
            headers=row.get("headers", {}),
            answer=_answer(wires[index], row.get("scripted_reply") or {}, bodies, index),
        )
        for index, (_, row) in enumerate(rows)
    ]


def _answer(wire: Wire, reply: Mapping[str, Any], bodies: Sequence[Mapping[str, Any]], index: int) -> dict[str, Any]:
    ids = [str(call["id"]) for call in reply.get("calls") or ()]
    model = str(bodies[index].get("model", ""))
    quoted = next((found for body in bodies[index + 1 :] if (found := _quote(wire, body, ids))), None) if ids else None
    prefix = "toolu_" if wire is Wire.ANTHROPIC_MESSAGES else "call_"
    calls = tuple(
        shapes.ToolCall(prefix + call["id"], call["tool"], msgspec.json.encode(call.get("args", {})).decode())
        for call in reply.get("calls") or ()
    )
    answer = shapes.body_of(wire, shapes.Turn(str(reply.get("text", "")), calls), model=model, number=index)
    if quoted is None:
        return answer
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return answer | {"content": quoted}
        case Wire.OPENAI_RESPONSES:
            return answer | {"output": quoted}
        case _:
            said = shapes.turn_of(wire, {"choices": [{"message": quoted[0]}]})
            return shapes.body_of(wire, said, model=model, number=index)


def _quote(wire: Wire, body: Mapping[str, Any], ids: Sequence[str]) -> list[Any] | None:
    """The turn with the tool call of this id, as a later request quotes it."""
    if wire is Wire.OPENAI_RESPONSES:
        items = body.get("input")
        return _quoted_items(items, ids) if isinstance(items, list) else None
    for message in body.get("messages") or ():
        if message.get("role") != "assistant":
            continue
        content = message.get("content")
        if wire is Wire.ANTHROPIC_MESSAGES and isinstance(content, list):
            if any(block.get("type") == "tool_use" and block["id"].endswith(ids[0]) for block in content):
                return [{k: v for k, v in block.items() if k != "cache_control"} for block in content]
        elif any(str(call.get("id", "")).endswith(ids[0]) for call in message.get("tool_calls") or ()):
            text = content if isinstance(content, str) or content is None else _joined(content)
            return [{**message, "content": text}]
    return None


def _joined(content: Sequence[Mapping[str, Any]]) -> str:
    return "".join(str(part.get("text", "")) for part in content)


def _quoted_items(items: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[Any] | None:
    """The items of a Responses turn: the call, and the reasoning and message items right before it."""
    at = next((i for i, item in enumerate(items) if str(item.get("call_id", "")).endswith(ids[0])), None)
    if at is None:
        return None
    start, end = at, at + 1
    while start > 0 and (items[start - 1].get("type") == "reasoning" or items[start - 1].get("role") == "assistant"):
        start -= 1
    while end < len(items) and str(items[end].get("type", "")).endswith("_call"):
        end += 1
    return [_as_output(item) for item in items[start:end]]


def _as_output(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as the provider would have sent it: text parts as output, every item with an id and a status."""
    out = dict(item)
    if item.get("role") == "assistant":
        content = item.get("content")
        parts = [{"type": "output_text", "text": content}] if isinstance(content, str) else content or []
        filled = [{"annotations": [], "logprobs": [], **part} for part in parts]
        out = {"id": "msg_quoted", "type": "message", "status": "completed", **item, "content": filled}
    elif item.get("type") == "function_call":
        out = {"id": f"fc_{item.get('call_id')}", "status": "completed", **item}
    return out
