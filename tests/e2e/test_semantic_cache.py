"""The semantic cache behind the real gateway, with the real model: it learns, then answers whole and streamed."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.e2e.rig import STREAM_HEAD, Asked, Upstream, chunk, gateway
from tests.e2e.rig import http as answered

CONFIG = """
[pipeline]
propose_s = 60.0 # this machine may be busy
[embeddings]
folder = "{folder}"
timeout_s = 60.0
[experiments]
holdout = 0.0
[[optimizers]]
use = "semantic_cache"
mode = "{mode}"
level = "safe"
[optimizers.settings]
models = ["m*"]
error_target = 0.05
"""

WORDS = {
    "passport": ["passport", "travel passport", "lost passport", "old passport"],
    "garden": ["garden", "small garden", "herb garden", "roof garden"],
    "violin": ["violin", "old violin", "wooden violin", "borrowed violin"],
    "bakery": ["bakery", "corner bakery", "village bakery", "little bakery"],
}
FRAMES = [
    "what should I know about the {}",
    "please tell me more about the {}",
    "how does one look after a {}",
    "what makes a good {}",
    "could you explain what the {} needs",
    "I would love to hear about the {}",
]
ENDS = ["", " please", ", thank you", " in short", " for a beginner", " if you can"]


def questions(count: int, seed: int) -> list[tuple[str, str]]:
    lots = random.Random(seed)
    found = []
    for _ in range(count):
        topic = lots.choice(list(WORDS))
        found.append((lots.choice(FRAMES).format(lots.choice(WORDS[topic])) + lots.choice(ENDS), f"topic: {topic}"))
    return found


def body_of(text: str, *, stream: bool = False) -> dict[str, Any]:
    said = [{"role": "system", "content": "Sort it."}, {"role": "user", "content": text}]
    return {"model": "m1", "temperature": 0, "stream": stream, "messages": said}


async def _sorts(asked: Asked) -> None:
    request = json.loads(asked.body)
    text = request["messages"][-1]["content"]
    answer = "topic: " + next(topic for topic in WORDS if topic in text)
    head = {"id": "x", "created": 1, "model": "m1"}
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    if request.get("stream"):
        delta = {"index": 0, "delta": {"role": "assistant", "content": answer}, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        kind = head | {"object": "chat.completion.chunk"}
        events = [kind | {"choices": [delta]}, kind | {"choices": [end]}, kind | {"choices": [], "usage": usage}]
        data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        asked.writer.write(STREAM_HEAD + chunk(data + b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return
    message = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    whole = head | {"object": "chat.completion", "choices": [message], "usage": usage}
    asked.writer.write(answered(200, json.dumps(whole).encode()))


def standing(data: Path) -> tuple[str, int, int]:
    """(state, hits, audited) of the only partition; none yet: learning."""
    with closing(sqlite3.connect(data / "pennyweight.db")) as connection:
        row = connection.execute("SELECT state, hits, audited FROM semantic_partitions").fetchone()
    return tuple(row) if row else ("learning", 0, 0)


def post(client: http.client.HTTPConnection, body: dict[str, Any]) -> tuple[str, bool]:
    """(the answer as it came, whether it was stored)."""
    client.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    got = client.getresponse()
    text = got.read().decode()
    assert got.status == 200, text
    return text, got.getheader("x-pennyweight-cache") == "semantic"


def ask(client: http.client.HTTPConnection, text: str, *, stream: bool = False) -> tuple[str, bool]:
    """(the answer's text, whether it was stored)."""
    got, stored = post(client, body_of(text, stream=stream))
    if not stream:
        return json.loads(got)["choices"][0]["message"]["content"], stored
    events = [line[6:] for line in got.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    deltas = [choice["delta"] for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas), stored


def test_it_learns_then_answers_with_the_real_model(tmp_path: Path, minilm: Path) -> None:
    config = CONFIG.format(folder=minilm, mode="on")
    with Upstream(_sorts) as upstream, gateway(tmp_path, upstream, config=config) as process:
        with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)) as client:
            streams, stored_answers = set(), 0
            for number, (text, answer) in enumerate(questions(1500, 1)):
                said, stored = ask(client, text, stream=number % 3 == 0)
                assert said == answer
                if stored:
                    stored_answers += 1
                    streams.add(number % 3 == 0)
                if stored_answers >= 12 and len(streams) == 2:
                    break
            assert stored_answers >= 12, standing(process.data)
            assert streams == {True, False}
            asked = len(upstream.seen)
            other = body_of("what should I know about the violin") | {"seed": 5}
            assert not post(client, other)[1]
            assert len(upstream.seen) == asked + 1
        receipts = process.receipts(number + 2)
        free = [receipt for receipt in receipts if receipt["answered_by"] == "semantic_cache"]
        assert len(free) == stored_answers
        assert all(receipt["replayed"] for receipt in free)
    assert standing(process.data)[0] == "open"


def test_switched_on_it_only_watches_until_it_is_told_to_act(tmp_path: Path, minilm: Path) -> None:
    config = CONFIG.format(folder=minilm, mode="on").replace('mode = "on"\n', "")
    with Upstream(_sorts) as upstream, gateway(tmp_path, upstream, config=config) as process:
        with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)) as client:
            for count, (text, _) in enumerate(questions(900, 2), start=1):
                assert ask(client, text)[1] is False
                if count % 50 == 0 and standing(process.data)[2] > 0:
                    break
        assert len(upstream.seen) == count
        deadline = time.monotonic() + 60
        while standing(process.data)[2] == 0 and time.monotonic() < deadline:
            asyncio.run(asyncio.sleep(0.1))
    assert standing(process.data)[1] == 0
    assert standing(process.data)[2] > 0, "would-be hits are compared"
