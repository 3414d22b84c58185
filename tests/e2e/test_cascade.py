"""Cascades through the gateway: two cheap models at one provider, a strong one at another of another protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.e2e.rig import STREAM_HEAD, Asked, Process, Upstream, chunk, http

from pennyweight.money import format_usd
from pennyweight.request import Wire
from pennyweight.routing.confidence.said import read_answer
from pennyweight.wire import codec

TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
        },
    }
]
CHAT_TOOLS = [
    {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}} for tool in TOOLS
]
CONFIG = """
[providers.budget]
base_url = "{cheap}/v1"
api_key = "sk-canary-budget"
wires = ["openai_chat"]

[providers.frontier]
base_url = "{strong}"
api_key = "sk-canary-frontier"
wires = ["anthropic_messages"]
auth = "x-api-key"

[[tiers]]
name = "cheap"
targets = ["budget/small"]

[[tiers]]
name = "best"
targets = ["frontier/large"]

[[targets]]
target = "budget/small"
success = 0.9
context_tokens = 100000
tools = true
json_schema = true

[[targets]]
target = "frontier/large"
success = 0.99
context_tokens = 100000
tools = true
json_schema = true

[[virtual]]
name = "smart"
cascade = true
peer = "budget/other"

[cascade]
compare = 0.0
compare_first = {first}
pulse_s = 0.2
hold_bytes = 100000

[[optimizers]]
use = "routing"

[[prices]]
provider = "budget"
model = "small"
input = 0.1
output = 0.1

[[prices]]
provider = "budget"
model = "other"
input = 0.2
output = 0.2

[[prices]]
provider = "frontier"
model = "large"
input = 10.0
output = 10.0
"""


class House(NamedTuple):
    gateway: Process
    cheap: Upstream
    strong: Upstream

    def models(self) -> list[str]:
        return [asked.model for asked in self.cheap.seen] + [asked.model for asked in self.strong.seen]


class Script:
    """What each model says: text, or the arguments of a call. `slow`: seconds before each of a stream's words."""

    def __init__(self) -> None:
        self.says: dict[str, str | dict[str, Any]] = {}
        self.status: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.odds: Any = None
        self.usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.written = 0

    async def chat(self, asked: Asked) -> None:
        body = json.loads(asked.body)
        model = body["model"]
        if (status := self.status.get(model, 200)) != 200:
            asked.writer.write(http(status, b'{"error":{"message":"no","type":"server_error"}}'))
            return
        said = self.says[model]
        odds = {"content": self.odds} if body.get("logprobs") and self.odds is not None else None
        if not body.get("stream"):
            await asyncio.sleep(self.slow.get(model, 0.0))
            message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
            if not isinstance(said, str):
                message["tool_calls"] = [_call(said)]
            choice = {"index": 0, "message": message, "logprobs": odds, "finish_reason": _finish(said)}
            whole = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
            asked.writer.write(http(200, json.dumps({**whole, "usage": self.usage}).encode()))
            return
        asked.writer.write(STREAM_HEAD)
        for delta in _deltas(said):
            await asyncio.sleep(self.slow.get(model, 0.0))
            self._event(asked, model, [{"index": 0, "delta": delta, "logprobs": odds, "finish_reason": None}])
            await asked.writer.drain()
            self.written += 1
        self._event(asked, model, [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(said)}])
        self._event(asked, model, [], usage=self.usage)
        asked.writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def _event(self, asked: Asked, model: str, choices: list[Any], **more: Any) -> None:
        part = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
        asked.writer.write(chunk(b"data: " + json.dumps(part | more).encode() + b"\n\n"))

    async def messages(self, asked: Asked) -> None:
        body = json.loads(asked.body)
        model = body["model"]
        if (status := self.status.get(model, 200)) != 200:
            told = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
            asked.writer.write(http(status, json.dumps(told).encode()))
            return
        said = self.says[model]
        block: dict[str, Any] = {"type": "text", "text": said}
        if not isinstance(said, str):
            block = {"type": "tool_use", "id": "t", "name": "get_weather", "input": said}
        whole = {
            "id": "m", "type": "message", "role": "assistant", "model": model, "content": [block],
            "stop_reason": "end_turn" if isinstance(said, str) else "tool_use", "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }  # fmt: skip
        if not body.get("stream"):
            asked.writer.write(http(200, json.dumps(whole).encode()))
            return
        text = said if isinstance(said, str) else "?"
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
        asked.writer.write(STREAM_HEAD)
        for event in events:
            asked.writer.write(chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()))
        asked.writer.write(b"0\r\n\r\n")


def _finish(said: str | dict[str, Any]) -> str:
    return "stop" if isinstance(said, str) else "tool_calls"


def _call(arguments: dict[str, Any]) -> dict[str, Any]:
    said = {"name": "get_weather", "arguments": json.dumps(arguments)}
    return {"index": 0, "id": "c0", "type": "function", "function": said}


def _deltas(said: str | dict[str, Any]) -> list[dict[str, Any]]:
    if isinstance(said, str):
        return [{"role": "assistant", "content": ""}, *({"content": word} for word in said.split(" "))]
    return [{"role": "assistant", "tool_calls": [_call(said)]}]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def house(tmp_path: Path, script: Script, request: pytest.FixtureRequest) -> Iterator[House]:
    first = getattr(request, "param", 0.0)
    with Upstream(script.chat) as cheap, Upstream(script.messages) as strong:
        config = CONFIG.format(cheap=cheap.url, strong=strong.url, first=first)
        with Process(tmp_path, {}, config=config) as gateway:
            yield House(gateway, cheap, strong)


def chat(text: str = "What is the weather in Oslo?", **more: Any) -> dict[str, Any]:
    return {"model": "smart", "messages": [{"role": "user", "content": text}], "max_tokens": 50, **more}


def words(body: bytes) -> str:
    """The text of a streamed chat completion."""
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def trail(row: dict[str, Any]) -> str:
    return " | ".join(f"{s['optimizer']}: {s.get('why', '')}" for s in json.loads(row["trail"]))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("peer", ["Oslo", "Bergen"])
def test_the_caller_is_told_what_all_that_was_asked_costs(
    house: House, script: Script, peer: str, stream: bool
) -> None:
    script.says = {"small": {"city": "Oslo"}, "other": {"city": peer}, "large": {"city": "Bergen"}}
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answered = house.gateway.ask(
        "/v1/chat/completions", chat(tools=CHAT_TOOLS, **more), {"x-pennyweight-usage-cost": "1"}
    )
    (row,) = house.gateway.receipts(1)
    assert ("large" in house.models()) is (peer == "Bergen")
    cost = row["cost_pico"] / 1e12
    if stream:
        events = [json.loads(line[6:]) for line in answered.body.splitlines() if line.startswith(b"data: {")]
        assert [event["usage"]["cost"] for event in events if event.get("usage")] == [pytest.approx(cost)]
        return
    assert json.loads(answered.body)["usage"]["cost"] == pytest.approx(cost)
    assert answered.headers["x-pennyweight-cost"] == format_usd(row["cost_pico"])


def test_what_two_cheap_models_agree_on_is_kept(house: House, script: Script) -> None:
    script.says = {"small": {"city": "Oslo"}, "other": {"city": "oslo", "days": 1}}
    answered = house.gateway.ask("/v1/chat/completions", chat(tools=CHAT_TOOLS))
    assert answered.status == 200, answered.body
    message = answered.json()["choices"][0]["message"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert sorted(house.models()) == ["other", "small"]
    (row,) = house.gateway.receipts(1)
    assert row["target_model"] == "small"
    assert row["cost_pico"] == 15 * (100_000 + 200_000), "both were billed"
    assert "kept budget/small: the peer agrees (calls)" in trail(row)


def test_what_they_disagree_on_goes_to_a_provider_of_another_protocol(house: House, script: Script) -> None:
    script.says = {"small": {"city": "Oslo"}, "other": {"city": "Bergen"}, "large": {"city": "Oslo", "days": 2}}
    answered = house.gateway.ask("/v1/chat/completions", chat(tools=CHAT_TOOLS))
    called = answered.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(called["arguments"]) == {"city": "Oslo", "days": 2}
    (row,) = house.gateway.receipts(1)
    assert (row["provider"], row["target_model"]) == ("frontier", "large")
    assert row["cost_pico"] == 15 * (100_000 + 200_000 + 10_000_000)
    assert row["baseline_pico"] == 15 * 10_000_000, "without us the strong one alone would have been asked"
    assert "the peer disagrees (calls" in trail(row)


def test_a_caller_of_anthropics_protocol_gets_its_own_shape_from_either(house: House, script: Script) -> None:
    body = {
        "model": "smart",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "The weather in Oslo?"}],
        "tools": TOOLS,
    }
    script.says = {"small": {"city": "Oslo"}, "other": {"city": "Oslo"}, "large": {"city": "Tromsø"}}
    kept = house.gateway.ask("/v1/messages", body).json()
    assert kept["content"][0]["input"] == {"city": "Oslo"}
    script.says["other"] = {"city": "Bergen"}
    up = house.gateway.ask("/v1/messages", body).json()
    assert up["content"][0]["input"] == {"city": "Tromsø"}
    assert up["type"] == kept["type"] == "message"


def test_streams_are_held_until_it_is_decided(house: House, script: Script) -> None:
    script.says = {"small": "forty two", "other": "forty two", "large": "no idea"}
    kept = house.gateway.ask("/v1/chat/completions", chat(stream=True))
    assert words(kept.body) == "fortytwo"
    assert b"[DONE]" in kept.body
    script.says["other"] = "forty three"
    up = house.gateway.ask("/v1/chat/completions", chat(stream=True))
    assert words(up.body) == "no idea"
    rows = house.gateway.receipts(2)
    assert [len(json.loads(row["trail"])) > 0 for row in rows] == [True, True]


def test_odds_are_asked_for_and_not_shown(house: House, script: Script) -> None:
    script.odds = [{"token": "4", "logprob": -0.1, "top_logprobs": [{"token": "4", "logprob": -0.1}]}]
    script.says = {"small": "42", "other": "42"}
    whole = house.gateway.ask("/v1/chat/completions", chat())
    assert whole.json()["choices"][0]["logprobs"] is None
    streamed = house.gateway.ask("/v1/chat/completions", chat(stream=True))
    assert b"top_logprobs" not in streamed.body
    asked = {a.model: json.loads(a.body) for a in house.cheap.seen}
    assert asked["small"]["logprobs"] is True
    assert "logprobs" not in asked["other"]
    mine = house.gateway.ask("/v1/chat/completions", chat(logprobs=True, top_logprobs=1))
    assert mine.json()["choices"][0]["logprobs"]["content"] == script.odds, "who asks for them gets them"


@pytest.mark.parametrize("odds", [[{"logprob": "x"}], [None, 7], {"no": "list"}, [{"logprob": 1e308}]])
def test_garbage_for_odds_harms_nobody(house: House, script: Script, odds: Any) -> None:
    script.odds = odds
    script.says = {"small": "42", "other": "42"}
    answered = house.gateway.ask("/v1/chat/completions", chat(stream=True))
    assert words(answered.body) == "42"


@pytest.mark.parametrize("failing", ["small", "other", "large"])
def test_any_one_of_them_may_fail(house: House, script: Script, failing: str) -> None:
    script.says = {"small": "41", "other": "42", "large": "43"}
    script.status[failing] = 503
    answered = house.gateway.ask("/v1/chat/completions", chat())
    assert answered.status == 200
    text = answered.json()["choices"][0]["message"]["content"]
    assert text == ("41" if failing == "large" else "43")


def test_when_all_fail_the_caller_is_told(house: House, script: Script) -> None:
    script.status = {"small": 503, "other": 503, "large": 529}
    answered = house.gateway.ask("/v1/chat/completions", chat())
    assert answered.status in (503, 529)
    (row,) = house.gateway.receipts(1)
    assert row["cost_pico"] == 0


def test_a_caller_that_leaves_while_it_waits_stops_both(house: House, script: Script) -> None:
    text = " ".join(["word"] * 500)
    script.says = {"small": text, "other": text}
    script.slow = {"small": 0.02, "other": 0.02}
    body = json.dumps(chat(stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{house.gateway.port}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with house.gateway.connect() as sock:
        sock.sendall(head.encode() + body)
        assert sock.recv(4096)  # the head, and that it is alive
    deadline = time.monotonic() + 60
    while house.cheap.open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert house.cheap.open == 0
    assert script.written < 400
    (row,) = house.gateway.receipts(1)
    assert row["abandoned"]
    assert row["cost_pico"] > 0, "what was streamed until then is billed"


def test_an_answer_too_long_to_hold_is_stopped_and_goes_up(house: House, script: Script) -> None:
    script.says = {"small": " ".join(["x" * 5_000] * 100), "other": "42", "large": "43"}
    answered = house.gateway.ask("/v1/chat/completions", chat(stream=True))
    assert words(answered.body) == "43"
    (row,) = house.gateway.receipts(1)
    assert "too long" in trail(row)


def test_a_provider_that_lies_about_usage_is_doubted_and_not_believed(house: House, script: Script) -> None:
    script.usage = {"prompt_tokens": -5, "completion_tokens": 10**15, "total_tokens": 1}
    script.says = {"small": "42", "other": "42"}
    answered = house.gateway.ask("/v1/chat/completions", chat())
    assert answered.status == 200
    (row,) = house.gateway.receipts(1)
    assert row["cost_pico"] is None or 0 <= row["cost_pico"] < 10**12


@pytest.mark.parametrize("house", [1.0], indirect=True)
def test_a_call_that_compares_gives_the_strongest_answer_and_bills_all(house: House, script: Script) -> None:
    script.says = {"small": "42", "other": "42", "large": "43"}
    for stream in (False, True):
        answered = house.gateway.ask("/v1/chat/completions", chat(stream=stream))
        said = words(answered.body) if stream else answered.json()["choices"][0]["message"]["content"]
        assert said == "43"
    rows = house.gateway.receipts(2)
    assert [row["cost_pico"] for row in rows] == [15 * (100_000 + 200_000 + 10_000_000)] * 2
    assert "all targets were asked" in trail(rows[0])


RESPONSES = {"model": "smart", "input": "What is six times seven?"}
MESSAGES = {"model": "smart", "max_tokens": 50, "messages": [{"role": "user", "content": "What is six times seven?"}]}
OLLAMA = {"model": "smart", "messages": [{"role": "user", "content": "What is six times seven?"}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/responses", RESPONSES), ("/v1/messages", MESSAGES), ("/api/chat", OLLAMA)]
)
def test_every_protocol_gets_either_answer_in_its_own_shape(
    house: House, script: Script, path: str, body: dict[str, Any], stream: bool
) -> None:
    script.says = {"small": "42", "other": "42", "large": "43"}
    kept = house.gateway.ask(path, body | {"stream": stream})
    script.says["other"] = "41"
    up = house.gateway.ask(path, body | {"stream": stream})
    assert (kept.status, up.status) == (200, 200)
    wire = {"/v1/responses": Wire.OPENAI_RESPONSES, "/v1/messages": Wire.ANTHROPIC_MESSAGES, "/api/chat": Wire.OLLAMA}[
        path
    ]
    said = [read_answer(wire, codec(wire).fold(a.body) if stream else a.body).text for a in (kept, up)]
    assert said == ["42", "43"]
    assert [row["target_model"] for row in house.gateway.receipts(2)] in (["small", "large"], ["large", "small"])
