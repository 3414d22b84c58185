"""A chosen session is recorded while it runs through a gateway, and replays to the money that its ledger says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from pennyweight.capture import Rule, write_rule
from pennyweight.config import load
from pennyweight.gateway.run import open_gateway
from pennyweight.ledger.report import Query, summary
from pennyweight.replay.demo import demo_session
from pennyweight.replay.readers import read
from pennyweight.testing.http import post
from pennyweight.testing.provider import ReplayProvider, provider_keys


@pytest.mark.parametrize("optimize", ["off", "safe"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_session_is_recorded_as_it_was(tmp_path: Path, optimize: str, stream: bool) -> None:
    calls = demo_session()[:4]

    async def main() -> None:
        answered = [(call.wire, call.body, call.answer) for call in calls if call.answer is not None]
        async with ReplayProvider(answered, count=len, cost=lambda *_: 0) as provider:
            config = load(None, provider_keys(provider.url), {"data_dir": tmp_path, "port": 0, "optimize": optimize})
            write_rule(tmp_path, Rule(agents=("main",)))
            async with open_gateway(lambda: config) as gateway:
                for call in calls:
                    body = msgspec.json.encode({**call.body, "stream": stream})
                    headers = {**call.headers, "authorization": "Bearer sk-caller"}
                    status, _, _ = await post(gateway.url, call.path, headers, body)
                    assert status == 200
                other = {"model": "claude-sonnet-4-6", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
                await post(gateway.url, "/v1/messages", {}, msgspec.json.encode(other))
                await gateway.app.clerk.flush()

    asyncio.run(main())
    (path,) = (tmp_path / "captures").iterdir()
    assert b"sk-caller" not in path.read_bytes()
    recorded = read(path)
    assert [one.body for one in recorded] == [{**call.body, "stream": stream} for call in calls]
    assert [one.session for one in recorded] == ["rc1"] * 4
    for one, call in zip(recorded, calls, strict=True):
        assert one.answer is not None
        assert call.answer is not None
        assert one.answer["content"] == call.answer["content"]
    (line,) = (found for found in summary(tmp_path / "pennyweight.db", Query(by="session")).lines if found.key == "rc1")
    assert sum(one.usage.input_tokens for one in recorded if one.usage) == line.input_tokens
