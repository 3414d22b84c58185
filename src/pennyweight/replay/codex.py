"""Codex rollouts (`~/.codex/sessions/**/rollout-*.jsonl`).

`response_item` lines are the conversation in the words of the Responses API, `turn_context` names the model, and a
`token_count` event ends an answer with its usage; the same event may be written twice, so only one that moves the
session's total counts. `compacted` replaces the history. Tools are not in the file.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..capture.format import Recorded
from ..request import Usage, Wire
from .rows import Rows, seconds

__all__ = ["fits", "load"]

_LINES = frozenset({"session_meta", "response_item", "event_msg", "turn_context", "compacted"})


def fits(rows: Rows) -> bool:
    first = rows[0][1]
    return first.get("type") in _LINES and "payload" in first


def load(rows: Rows, name: str) -> list[Recorded]:
    """One call for each answer."""
    session = _Session(name)
    for _, row in rows:
        payload = row.get("payload")
        if isinstance(payload, dict):
            session.take(str(row.get("type")), payload, seconds(row.get("timestamp")))
    session.close()
    return session.calls


class _Session:
    """Follows a rollout line by line: `items` is the conversation, `answer` what the model has said since."""

    def __init__(self, name: str) -> None:
        self.calls: list[Recorded] = []
        self._name = name
        self._model = ""
        self._instructions = ""
        self._items: list[dict[str, Any]] = []
        self._answer: list[dict[str, Any]] = []
        self._at = 0.0
        self._total: Any = None

    def take(self, kind: str, payload: dict[str, Any], at: float) -> None:
        match kind:
            case "session_meta":
                self._name = str(payload.get("id") or payload.get("session_id") or self._name)
                base = payload.get("base_instructions") or payload.get("instructions")
                self._instructions = str(base.get("text", "") if isinstance(base, dict) else base or "")
            case "turn_context":
                self._model = str(payload.get("model") or self._model)
            case "compacted":
                self.close()
                kept = payload.get("replacement_history")
                summary = {"type": "message", "role": "user", "content": str(payload.get("message", ""))}
                self._items = list(kept) if isinstance(kept, list) else [summary]
            case "response_item":
                self._item(payload, at)
            case "event_msg" if payload.get("type") == "token_count":
                self._tokens(payload.get("info"))

    def close(self, usage: Usage | None = None) -> None:
        """The answer so far is complete: a call."""
        if not self._answer:
            return
        body: dict[str, Any] = {"model": self._model, "input": list(self._items)}
        if self._instructions:
            body["instructions"] = self._instructions
        answer = {"object": "response", "status": "completed", "model": self._model, "output": self._answer}
        self.calls.append(
            Recorded(session=self._name, wire=Wire.OPENAI_RESPONSES, body=body, at=self._at, answer=answer, usage=usage)
        )
        self._items += self._answer
        self._answer = []

    def _item(self, item: dict[str, Any], at: float) -> None:
        kind = str(item.get("type", "message"))
        said = item.get("role") == "assistant" or kind == "reasoning" or kind.endswith("_call")
        if said:
            if not self._answer:
                self._at = at
            self._answer.append(item)
        else:
            self.close()
            self._items.append(item)

    def _tokens(self, info: Any) -> None:
        if not isinstance(info, dict) or info.get("total_token_usage") == self._total:
            return
        self._total = info.get("total_token_usage")
        last = info.get("last_token_usage")
        if not isinstance(last, dict):
            return
        usage = _usage(last)
        if self._answer:
            self.close(usage)
        elif self.calls and self.calls[-1].usage is None:  # the event came after the tool's result
            self.calls[-1] = msgspec.structs.replace(self.calls[-1], usage=usage)


def _usage(block: dict[str, Any]) -> Usage:
    def tokens(key: str) -> int:
        value = block.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    return Usage(
        input_tokens=tokens("input_tokens"),
        cache_read_tokens=tokens("cached_input_tokens"),
        cache_write_5m_tokens=tokens("cache_write_input_tokens"),
        output_tokens=tokens("output_tokens"),
        reasoning_tokens=tokens("reasoning_output_tokens"),
    )
