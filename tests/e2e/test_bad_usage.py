"""Providers that contradict themselves on usage, through the real gateway: answers pass untouched, receipts say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.protocols import CHAT, MESSAGES, RESPONSES, Protocol, protocol_of
from tests.e2e.rig import Asked, Upstream, gateway, http

from pennyweight.request import Wire
from pennyweight.wire import codec

WIRES = {CHAT: Wire.OPENAI_CHAT, RESPONSES: Wire.OPENAI_RESPONSES, MESSAGES: Wire.ANTHROPIC_MESSAGES}
CASES = {CHAT: "mini", RESPONSES: "mini", MESSAGES: "sonnet-4-5"}
ANSWERS: dict[Protocol, dict[str, Any]] = {
    CHAT: {
        "id": "c", "object": "chat.completion", "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "four words of answer"}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 7,
                  "prompt_tokens_details": {"cached_tokens": 900}},
    },
    RESPONSES: {
        "id": "r", "object": "response", "status": "completed", "model": "gpt-4o",
        "output": [{"type": "message", "id": "m", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": "four words of answer", "annotations": []}]}],
        "usage": {"input_tokens": -100, "output_tokens": 10, "total_tokens": 7,
                  "input_tokens_details": {"cached_tokens": 900}},
    },
    MESSAGES: {
        "id": "msg", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "four words of answer"}],
        "usage": {"input_tokens": 10**30, "output_tokens": -4, "cache_read_input_tokens": "12"},
    },
}  # fmt: skip


async def answer(asked: Asked) -> None:
    protocol = protocol_of(asked.target)
    body = json.dumps(ANSWERS[protocol]).encode()
    if not json.loads(asked.body).get("stream"):
        asked.writer.write(http(200, body))
        return
    stream = b"".join(codec(WIRES[protocol]).unfold(body))
    asked.writer.write(http(200, stream, "text/event-stream"))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


@pytest.mark.parametrize("protocol", [CHAT, RESPONSES, MESSAGES], ids=lambda protocol: protocol.name)
def test_answers_pass_and_receipts_tell_the_contradiction(
    tmp_path: Path, upstream: Upstream, protocol: Protocol
) -> None:
    with gateway(tmp_path, upstream) as process:
        whole = process.ask(protocol.path, protocol.body(CASES[protocol]))
        assert (whole.status, json.loads(whole.body)) == (200, ANSWERS[protocol])
        streamed = process.ask(protocol.path, protocol.body(CASES[protocol], stream=True))
        assert streamed.status == 200
        assert b"four" in streamed.body
        rows = process.receipts(2)
    assert len(rows) == 2
    for row in rows:
        assert row["usage_suspect"], row
        assert row["cost_pico"] > 0
        assert row["baseline_pico"] >= 0
        assert row["input_tokens"] >= row["cache_read_tokens"] >= 0
        assert row["output_tokens"] > 0
