"""The library's ways in over a real App: real SDKs, a real loopback upstream, and the receipts they leave."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import pennyweight
from pennyweight.config import Config, load
from pennyweight.errors import ConfigError, NotFound, RateLimited
from pennyweight.testing.http import Exchange, LoopbackServer

WORDS = ["one ", "two ", "thrée ", "four"]
CHAT: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5.5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "four"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "four"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def piece(delta: dict[str, Any] | None, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta is not None else []
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5.5", "choices": choices}
    return b"data: " + json.dumps(chunk | ({"usage": usage} if usage else {})).encode() + b"\n\n"


class Provider:
    """Answers as OpenAI and Anthropic do; `asked` are the requests, `left` the streams whose caller went away."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        body = json.loads(exchange.body)
        if "refuse" in json.dumps(body):
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down, please."}}
            await exchange.send(429, json.dumps(error).encode(), headers={"content-type": "application/json"})
        elif not body.get("stream"):
            answer = MESSAGE if exchange.path.endswith("/messages") else CHAT
            await exchange.send(200, json.dumps(answer).encode(), headers={"content-type": "application/json"})
        else:
            await exchange.start(200, {"content-type": "text/event-stream"})
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            for part in [*(piece({"content": word}) for word in WORDS), piece({}, "stop"), piece(None, usage=usage)]:
                await exchange.write(part)
            await exchange.write(b"data: [DONE]\n\n")
            await asyncio.sleep(0.02)  # the end comes after [DONE], when the SDK has stopped reading
            await exchange.end()


def configuration(server: LoopbackServer, folder: Path) -> Config:
    env = {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "sk-upstream",
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-ant-upstream",
    }
    return load(None, env, {"data_dir": folder})


def ask(text: str, model: str = "gpt-5.5") -> Any:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def test_a_wrapped_sdks_stream_leaves_a_whole_receipt(tmp_path: Path) -> None:
    async def main() -> None:
        provider = Provider()
        async with LoopbackServer(provider) as server, pennyweight.open(configuration(server, tmp_path)) as app:
            async with pennyweight.wrap(openai.AsyncOpenAI(api_key="pennyweight"), app) as client:
                raw = await client.chat.completions.with_raw_response.create(
                    stream=True, stream_options={"include_usage": True}, **ask("count")
                )
                text = [c.choices[0].delta.content or "" async for c in raw.parse() if c.choices]
            assert "".join(text) == "".join(WORDS)
            assert provider.asked[0].header("authorization") == "Bearer sk-upstream"
            async with pennyweight.AsyncClient(app) as library:
                receipt = await library.receipt(raw.headers["x-pennyweight-call"])
                assert receipt is not None
                assert receipt.finish_reason == "stop"
                assert receipt.usage is not None
                assert receipt.usage.output_tokens == 4
                assert not receipt.usage.counted
                assert receipt.cost

    asyncio.run(main())


def test_async_client_and_its_errors(tmp_path: Path) -> None:
    async def calls(client: pennyweight.AsyncClient) -> None:
        answer = await client.messages(max_tokens=9, **ask("2+2?", "claude-sonnet-4-6"))
        assert answer["content"][0]["text"] == "four"
        events = await client.chat(stream=True, **ask("count"))
        assert len([event async for event in events]) >= len(WORDS) + 1
        with pytest.raises(RateLimited, match="Slow down"):
            await client.chat(**ask("refuse"))
        with pytest.raises(NotFound):
            await client.request("POST", "/nowhere", {})

    async def main() -> None:
        async with (
            LoopbackServer(Provider()) as server,
            pennyweight.AsyncClient(configuration(server, tmp_path)) as client,
        ):
            await calls(client)

    asyncio.run(main())


def test_synchronous_callers(tmp_path: Path) -> None:
    def work(config: Config) -> None:
        with pennyweight.wrap(anthropic.Anthropic(api_key="pennyweight", max_retries=0), config) as claude:
            message = claude.messages.create(max_tokens=9, **ask("2+2?", "claude-sonnet-4-6"))
            assert message.usage.output_tokens == 1
            with pytest.raises(anthropic.RateLimitError, match="Slow down"):
                claude.messages.create(max_tokens=9, **ask("refuse", "claude-sonnet-4-6"))
        with pennyweight.Client(config) as client:
            events = client.chat(stream=True, **ask("count"))
            text = [e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]]
            assert "".join(text) == "".join(WORDS)
            receipt = client.receipt(events.call_id)
            assert receipt is not None
            assert receipt.status == 200

    async def main() -> None:
        async with LoopbackServer(Provider()) as server:
            await asyncio.to_thread(work, configuration(server, tmp_path))

    asyncio.run(main())


def test_an_open_app_is_not_for_synchronous_clients(tmp_path: Path) -> None:
    async def main() -> None:
        async with LoopbackServer(Provider()) as server, pennyweight.open(configuration(server, tmp_path)) as app:
            with pytest.raises(ConfigError, match="event loop"):
                pennyweight.wrap(openai.OpenAI(api_key="k"), app)

    asyncio.run(main())
