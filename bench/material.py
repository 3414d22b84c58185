"""Recorded sessions as material for benches: where they are, at the times of their recording or with longer gaps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.capture.format import Recorded
from pennyweight.replay.readers import read
from pennyweight.request import Wire
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer

from .recorded import files
from .sessions import GAPS, START

__all__ = ["aider_as_messages", "default_data", "files_in", "healthy", "label", "recorded", "stretched"]

HEALTHY_SHARE = 0.75  # of prompt tokens read from the cache, as the client sent them


def default_data() -> list[Path]:
    """A folder `data/recordings` beside the checkout, else the recordings that ship with the package."""
    beside = sorted(Path(__file__).resolve().parents[2].glob("*/data/recordings"))
    return beside[:1] or [Path(str(resources("pennyweight.replay"))) / "data"]


def label(path: Path) -> str:
    """The recording's name: its folder and its file."""
    return f"{path.parent.name}/{path.name.removesuffix('.gz').removesuffix('.jsonl')}"


def recorded(path: Path) -> list[Recorded]:
    """The calls at absolute times."""
    calls = read(path)
    first = calls[0].t if calls else 0.0
    return [msgspec.structs.replace(call, at=call.at or START + call.t - first) for call in calls]


def stretched(calls: Sequence[Recorded], gaps: str, seed: int) -> list[Recorded]:
    """The same calls with other gaps between them."""
    rng, gap, at, found = random.Random(f"{gaps} {seed}"), GAPS[gaps], START, []
    for call in calls:
        found.append(msgspec.structs.replace(call, at=at))
        at += gap(rng, _is_asking(call))
    return found


def _is_asking(call: Recorded) -> bool:
    """Whether the answer calls a tool, so that the next request follows at once."""
    answer = msgspec.json.encode(call.answer or {})
    return b'"tool_use"' in answer or b'"tool_calls"' in answer or b'"function_call"' in answer


def healthy(calls: Sequence[Recorded]) -> bool:
    """Whether the session reads most of its prompts from the cache as it is."""
    cache, read_tokens, tokens = PrefixCache(BpeTokenizer().count), 0, 0
    for call in calls:
        usage = cache.account(call.wire, call.body, at=call.at)
        read_tokens += usage.cache_read_tokens
        tokens += usage.input_tokens
    return read_tokens >= HEALTHY_SHARE * tokens > 0


def files_in(paths: Sequence[Path]) -> list[Path]:
    return files(paths)


def aider_as_messages(calls: Sequence[Recorded]) -> list[Recorded]:
    """A chat session as a client of Anthropic Messages sends it: the system apart, one turn for each change of role."""
    return [
        msgspec.structs.replace(
            call,
            wire=Wire.ANTHROPIC_MESSAGES,
            path="/v1/messages",
            body=_messages(call.body),
            answer=_answer(call.answer),
        )
        for call in calls
    ]


def _messages(body: dict[str, Any]) -> dict[str, Any]:
    system = [m["content"] for m in body["messages"] if m["role"] == "system"]
    turns: list[dict[str, Any]] = []
    for message in body["messages"]:
        if message["role"] == "system":
            continue
        block = {"type": "text", "text": message["content"]}
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"].append(block)
        else:
            turns.append({"role": message["role"], "content": [block]})
    return {
        "model": "claude-sonnet-4-6",
        "max_tokens": 8_192,
        "system": [{"type": "text", "text": text} for text in system],
        "messages": turns,
        "stream": bool(body.get("stream")),
    }


def _answer(answer: dict[str, Any] | None) -> dict[str, Any]:
    message = (answer or {}).get("choices", [{}])[0].get("message", {})
    content = [{"type": "text", "text": message.get("content") or ""}]
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
