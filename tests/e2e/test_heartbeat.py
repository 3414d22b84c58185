"""A woken OpenClaw session through a real gateway: what it costs at each level, and that no tool slips through.

The provider bills by its own model of a prompt cache. The recording is the one that the demo plays (see
replay/data/README.md): six user messages, three wakes, settings as the client has them by default.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.rig import read_receipts

from pennyweight.call import Optimize
from pennyweight.capture.format import Recorded
from pennyweight.config import load
from pennyweight.gateway.run import Gateway, open_gateway
from pennyweight.replay.demo import demo_sessions
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.http import post
from pennyweight.testing.provider import ReplayProvider, provider_keys
from pennyweight.text.tokenizers import BpeTokenizer

CALLS = next(session.calls for session in demo_sessions() if session.name == "heartbeat")
FIRST_WAKE = 5
Answers = list[tuple[Wire, Any, Any]]


def units(usage: Usage) -> float:
    """Input cost in tokens of plain input, at Anthropic's relative prices."""
    writes = 1.25 * usage.cache_write_5m_tokens + 2 * usage.cache_write_1h_tokens
    return usage.uncached_tokens + 0.1 * usage.cache_read_tokens + writes


def recorded() -> Answers:
    return [(call.wire, call.body, call.answer) for call in CALLS]


@asynccontextmanager
async def house(folder: Path, optimize: Optimize, answers: Answers) -> AsyncIterator[tuple[Gateway, ReplayProvider]]:
    provider = ReplayProvider(answers, count=BpeTokenizer().count, cost=lambda *_: 0, keep_seen=True)
    async with provider:
        overrides = {"port": 0, "data_dir": folder, "optimize": optimize, "holdout": 0.0}
        config = load(None, provider_keys(provider.url), overrides)
        async with open_gateway(lambda: config) as gateway:
            yield gateway, provider


async def play(gateway: Gateway, calls: Sequence[Recorded], *, stream: bool | None = None) -> list[bytes]:
    """The answers, one call after the other, each settled before the next."""
    answers = []
    for call in calls:
        body = call.body if stream is None else {**call.body, "stream": stream}
        status, _, answer = await post(
            gateway.url, call.path or "/v1/messages", call.headers, msgspec.json.encode(body)
        )
        assert status == 200, answer
        answers.append(answer)
        await gateway.app.clerk.flush()
    return answers


def cost(folder: Path, optimize: Optimize) -> float:
    async def main() -> float:
        async with house(folder / optimize, optimize, recorded()) as (gateway, provider):
            await play(gateway, CALLS)
            return sum(units(line.usage) for line in provider.invoice()[1])

    return asyncio.run(main())


def test_what_a_woken_session_costs(tmp_path: Path) -> None:
    untouched = cost(tmp_path, "off")
    assert untouched == pytest.approx(155_424, rel=0.001)
    assert 1 - cost(tmp_path, "safe") / untouched >= 0.17
    assert 1 - cost(tmp_path, "max") / untouched >= 0.45


def bad_answer() -> dict[str, Any]:
    """What a model might say that sees a tool which the wake does not offer."""
    turn = shapes.Turn("Let me restart it.", (shapes.ToolCall("toolu_bad", "openclaw", '{"message":"restart"}'),))
    return shapes.body_of(Wire.ANTHROPIC_MESSAGES, turn, model="claude-sonnet-4-6", number=99)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_the_wake_did_not_offer_is_not_called(tmp_path: Path, stream: bool) -> None:
    offered = {tool["name"] for tool in CALLS[FIRST_WAKE].body["tools"]}
    assert "openclaw" not in offered
    answers = recorded()
    answers.insert(FIRST_WAKE, (Wire.ANTHROPIC_MESSAGES, {"model": "m", "messages": []}, bad_answer()))

    async def main() -> tuple[list[bytes], list[Any], int]:
        async with house(tmp_path, "max", answers) as (gateway, provider):
            got = await play(gateway, CALLS[: FIRST_WAKE + 1], stream=stream)
            seen = [json.loads(request.body) for request in provider.seen]
            return got, seen, len(provider.invoice()[1])

    got, seen, billed = asyncio.run(main())
    assert billed == FIRST_WAKE + 2
    borrowed, again = seen[FIRST_WAKE], seen[FIRST_WAKE + 1]
    assert [tool["name"] for tool in borrowed["tools"]] == [tool["name"] for tool in CALLS[0].body["tools"]]
    assert again == {**CALLS[FIRST_WAKE].body, "stream": stream}
    assert b"openclaw" not in got[FIRST_WAKE]
    assert b"restart" not in got[FIRST_WAKE]
    assert b"end_turn" in got[FIRST_WAKE]
    assert got[FIRST_WAKE].startswith(b"event: message_start" if stream else b"{")
    receipt = read_receipts(tmp_path)[FIRST_WAKE]
    trail = [step for step in json.loads(receipt["trail"]) if step["optimizer"] == "offered_tools"]
    assert "openclaw" in trail[0]["why"]


def test_a_restart_keeps_the_first_form(tmp_path: Path) -> None:
    """The gateway ends between the user's message and the call in which its client has rewritten it."""
    rewritten = 9

    async def main() -> Any:
        async with house(tmp_path, "safe", recorded()) as (gateway, _):
            await play(gateway, CALLS[:rewritten])
        async with house(tmp_path, "safe", recorded()) as (gateway, provider):
            await play(gateway, CALLS[rewritten : rewritten + 1])
            return json.loads(provider.seen[0].body)

    sent = asyncio.run(main())
    place = 10
    first = CALLS[rewritten - 1].body["messages"][place]["content"]
    assert len(CALLS[rewritten].body["messages"][place]["content"]) == 2
    assert sent["messages"][place]["content"] == first[0]["text"]
    others = [(a, b) for n, (a, b) in enumerate(zip(sent["messages"], CALLS[rewritten].body["messages"], strict=True))]
    assert all(a == b for n, (a, b) in enumerate(others) if n != place)
