"""An agent's long result is shortened by the optimizer `compression`, and its model has back what it needs."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from pennyweight.config import Config, load
from pennyweight.gateway.run import open_gateway
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.testing.provider import provider_keys

CHAT_MODEL, CLAUDE = "gpt-4o", "claude-sonnet-4-6"
RULES = "You are careful, and say what you know. " * 400
SETTINGS = """
server.port = 0
experiments.holdout = 0.0
optimize = "max"
[[optimizers]]
use = "compression"
settings = { recall = "always" }
"""


JOB = "took job 3618983"


def log() -> str:
    """Line 458 is as plain as the others."""
    times = (f"10:{n // 60:02}:{n % 60:02}" for n in range(900))
    return "\n".join(
        f"2026-01-01 {at} INFO worker-{n % 7} took job {n * 7919} in {n % 97} ms" for n, at in enumerate(times)
    )


class Agent:
    """A model that reads the log, asks for line 458 if that was left out, and tells what stands there."""

    def __init__(self) -> None:
        self.asks: list[dict[str, Any]] = []
        self.left_out = False

    async def answer(self, exchange: Exchange) -> None:
        wire = Wire.ANTHROPIC_MESSAGES if exchange.path.endswith("/messages") else Wire.OPENAI_CHAT
        body = json.loads(exchange.body)
        self.asks.append(body)
        said = json.dumps(body["messages"])
        found = re.search(r"10:07:37 INFO worker-\d (took job \d+)", said)
        name = re.search(r"recall\(\W*(r[a-z2-7]{10})", said)
        if found is not None:
            turn = shapes.Turn(f"It {found[1]}.", (), "Found.", "c2lnMw==")
        elif name is not None:
            self.left_out = True
            ask = shapes.ToolCall("ask", "recall", json.dumps({"ref": name[1], "lines": "458"}))
            turn = shapes.Turn("", (ask,), "I need line 458.", "c2lnMg==")
        else:
            turn = shapes.Turn("", (shapes.ToolCall("t1", "read_log", '{"path": "a.log"}'),), "I read.", "c2lnMQ==")
        usage = Usage(input_tokens=len(exchange.body) // 4, output_tokens=20)
        made = shapes.finish(wire, shapes.body_of(wire, turn, model="m", number=len(self.asks)), usage, model="m")
        if not body.get("stream"):
            await exchange.send(200, json.dumps(made).encode(), headers={"content-type": "application/json"})
            return
        await exchange.start(200, {"content-type": "text/event-stream"})
        for event in shapes.stream(wire, made, include_usage=True):
            await exchange.write(event)
        await exchange.end()


async def claude(url: str) -> str:
    headers = {"x-pennyweight-session": "one"}
    asked: dict[str, Any] = {
        "model": CLAUDE,
        "max_tokens": 500,
        "system": RULES,
        "tools": [{"name": "read_log", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "Read the log and be ready for questions."}],
    }
    async with anthropic.AsyncAnthropic(base_url=url, api_key="n", max_retries=0, default_headers=headers) as client:
        async with client.messages.stream(**asked) as stream:
            first = await stream.get_final_message()
        (call,) = [block for block in first.content if block.type == "tool_use"]
        asked["messages"] += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": log()}]},
        ]
        async with client.messages.stream(**asked) as stream:
            last = await stream.get_final_message()
    assert not [block for block in last.content if block.type == "tool_use"]
    return "".join(block.text for block in last.content if block.type == "text")


async def chat(url: str) -> str:
    headers = {"x-pennyweight-session": "one"}
    asked: dict[str, Any] = {
        "model": CHAT_MODEL,
        "tools": [{"type": "function", "function": {"name": "read_log", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "system", "content": RULES},
            {"role": "user", "content": "Read the log and be ready for questions."},
        ],
    }
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="n", max_retries=0, default_headers=headers) as client:
        first = (await client.chat.completions.create(**asked)).choices[0].message
        assert first.tool_calls
        result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": log()}
        asked["messages"] += [first.model_dump(exclude_none=True), result]
        last = (await client.chat.completions.create(**asked)).choices[0].message
    assert not last.tool_calls
    return last.content or ""


@pytest.mark.parametrize("client", [claude, chat])
def test_what_was_left_out_is_one_call_away(tmp_path: Path, client: Any) -> None:
    agent = Agent()

    async def main() -> None:
        async with LoopbackServer(agent.answer) as server:
            file = tmp_path / "pennyweight.toml"
            file.write_text(SETTINGS)
            env = {**provider_keys(server.url), "PENNYWEIGHT_DATA": str(tmp_path / "data")}

            def read() -> Config:
                return load(file, env)

            async with asyncio.timeout(60), open_gateway(read) as gateway:
                assert await client(gateway.url) == f"It {JOB}."

    asyncio.run(main())
    assert agent.left_out
    assert [len(body["tools"]) for body in agent.asks] == [2, 2, 2], "the tool is there from the first request on"
    assert len(json.dumps(agent.asks[2])) < 0.2 * len(log()) + len(RULES)
