"""The exact cache over HTTP, with other processes beside it: asked twice in a row, purged and filled from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.rig import SOURCE, Asked, Process, Upstream, chunk, gateway, http
from tests.pace import at_some_pace

BODY = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
PIECE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


class Provider:
    """Answers whole or as a stream, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, asked: Asked) -> None:
        self.asked += 1
        if not asked.streams:
            asked.writer.write(http(200, json.dumps(ANSWER).encode()))
            return
        deltas: list[Any] = [{"role": "assistant", "content": "hello"}, {}]
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for at, delta in enumerate(deltas):
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if at else None}
            asked.writer.write(chunk(b"data: " + json.dumps({**PIECE, "choices": [choice]}).encode() + b"\n\n"))
        asked.writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def call(process: Process, text: str = "hi", *, stream: bool = False, **headers: str) -> tuple[bool, bytes]:
    """(whether it was a hit, the answer)."""
    body = {**BODY, "messages": [{"role": "user", "content": text}], "stream": stream}
    answered = process.ask("/v1/chat/completions", body, headers)
    assert answered.status == 200, answered.body
    return answered.headers.get("x-pennyweight-cache") == "hit", answered.body


def command(process: Process, upstream: Upstream, *arguments: str) -> Any:
    """`pennyweight cache …` in a process of its own, over the gateway's data."""
    env = {"PATH": os.environ["PATH"], "HOME": str(process.data.parent), "PYTHONPATH": SOURCE, **upstream.env}
    done = subprocess.run(
        [sys.executable, "-m", "pennyweight", "cache", *arguments, "--data", str(process.data), "--json"],
        env=env,
        cwd=process.data.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("first", [False, True])
def test_the_same_asked_again_at_once_is_answered_from_the_cache(first: bool, tmp_path: Path) -> None:
    provider = Provider()
    with Upstream(provider) as upstream, gateway(tmp_path, upstream) as process:
        for number in range(30):
            assert call(process, str(number), stream=first)[0] is False
            hit, answer = call(process, str(number), stream=not first)
            assert hit
            assert b"hello" in answer
        assert provider.asked == 30
        assert call(process, "0", **{"cache-control": "no-cache"})[0] is False
        assert provider.asked == 31


def test_a_purge_from_another_process_reaches_a_running_gateway(tmp_path: Path) -> None:
    def test(pace: float) -> None:
        provider = Provider()
        with Upstream(provider) as upstream, gateway(tmp_path / str(pace), upstream) as process:
            call(process)
            call(process, "other")
            assert call(process)[0]
            time.sleep(1.5 * pace)  # until it has looked at the counter once
            assert command(process, upstream, "purge", "--all", "--yes") == {"purged": 2}
            deadline = time.monotonic() + 20 * pace
            while call(process)[0]:
                assert time.monotonic() < deadline, "the gateway's memory still answers"
                time.sleep(0.1)
            assert provider.asked == 3

    at_some_pace(test)


def test_what_another_process_asked_beforehand_is_there(tmp_path: Path) -> None:
    provider = Provider()
    with Upstream(provider) as upstream, gateway(tmp_path, upstream) as process:
        file = tmp_path / "requests.jsonl"
        file.write_text(json.dumps({**BODY, "stream": False}) + "\n")
        assert command(process, upstream, "warm", str(file), "--yes")["answered"] == 1
        assert provider.asked == 1
        hit, answer = call(process)
        assert hit
        assert json.loads(answer)["choices"] == ANSWER["choices"]
        assert provider.asked == 1


def test_a_kept_answer_without_usage_costs_nothing_and_its_first_is_counted(tmp_path: Path) -> None:
    answer = {name: value for name, value in ANSWER.items() if name != "usage"}

    async def provider(asked: Asked) -> None:
        asked.writer.write(http(200, json.dumps(answer).encode()))

    with Upstream(provider) as upstream, gateway(tmp_path, upstream) as process:
        told = [process.ask("/v1/chat/completions", {**BODY, "model": "gpt-4o"}) for _ in range(3)]
        receipts = {row["call_id"]: row for row in process.receipts(3)}
    first, *later = [receipts[one.headers["x-pennyweight-call"]] for one in told]
    assert [one.headers.get("x-pennyweight-cache") for one in told] == [None, "hit", "hit"]
    assert (first["counted"], first["pricing"]) == (1, "priced")
    assert first["cost_pico"] > 0
    for receipt in later:
        assert (receipt["cost_pico"], receipt["replayed"], receipt["pricing"]) == (0, 1, "priced")
