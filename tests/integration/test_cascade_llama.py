"""Cascades whose cheap targets are real llama-servers and whose strong one is scripted.

How sure the models are, what is kept and what goes up, whole and streamed, in two protocols.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.rig import Process, Upstream
from tests.e2e.test_cascade import Script, trail, words
from tests.integration.test_llama import ask
from tests.llama import Llama

from pennyweight.backends.cascade import AskLogprobs
from pennyweight.backends.cascade.logprobs import WANTED
from pennyweight.backends.transport import Http1, origin
from pennyweight.backends.upstream import Upstream as Provider
from pennyweight.clock import SystemClock
from pennyweight.request import Wire
from pennyweight.routing.confidence.agreement import agree
from pennyweight.routing.confidence.entropy import Sureness, Tokens
from pennyweight.routing.confidence.said import Asked, read_answer
from pennyweight.testing.backend import make_call

LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["refund", "cancel", "other"]}},
    "required": ["label"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "label", "schema": LABEL, "strict": True}}
QUESTIONS = [
    "Please cancel my reservation for tomorrow.",
    "I want my money back for the jacket.",
    "Hello, what can you do for me?",
    "The blender is broken, please refund it.",
    "My user ID is a1.",
]
CONFIG = """
[providers.mine]
base_url = "{mine}/v1"
api_key = "{key}"
wires = ["openai_chat"]

[providers.draft]
base_url = "{draft}/v1"
api_key = "{draft_key}"
wires = ["openai_chat"]

[providers.frontier]
base_url = "{strong}"
api_key = "sk-canary"
wires = ["anthropic_messages"]
auth = "x-api-key"

[[tiers]]
name = "local"
targets = ["mine/tiny-target"]

[[tiers]]
name = "best"
targets = ["frontier/large"]

[[targets]]
target = "mine/tiny-target"
success = 0.9
context_tokens = 4096
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
peer = {peer}

[cascade]
mode = "{mode}"
compare = 0.0
compare_first = 0.0

[[optimizers]]
use = "routing"

[[prices]]
provider = "frontier"
model = "large"
input = 10.0
output = 10.0
"""


async def heard(server: Llama, *, stream: bool, text: str = QUESTIONS[0], **more: Any) -> tuple[bytes, Tokens]:
    """What a caller of a real server gets, and the odds that were told on the way."""
    provider = Provider("mine", {Wire.OPENAI_CHAT: origin(f"{server.url}/v1")}, Http1(), clock=SystemClock())
    raw = {"model": server.model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0}
    call = make_call(json.dumps({**raw, "stream": stream, **more}).encode(), provider="mine", model=server.model)
    call.facts[WANTED] = tokens = Tokens()
    try:
        async with await AskLogprobs(provider).open(call) as reply:
            assert reply.status == 200
            return await reply.read(), tokens
    finally:
        call.facts.clear()
        await provider.aclose()


@pytest.mark.parametrize("stream", [False, True])
def test_a_real_server_tells_how_sure_it_was_and_the_caller_sees_nothing_of_it(
    llama_server: Llama, stream: bool
) -> None:
    body, tokens = asyncio.run(heard(llama_server, stream=stream))
    assert b"top_logprobs" not in body
    found = tokens.sureness()
    assert isinstance(found, Sureness)
    assert found.tokens == 24
    assert 0.0 < found.entropy_nats < 4.0
    assert 0.0 <= found.low_margin <= 1.0


def test_streamed_and_whole_it_was_as_sure(llama_server: Llama) -> None:
    whole, streamed = (asyncio.run(heard(llama_server, stream=s))[1].sureness() for s in (False, True))
    assert whole is not None
    assert streamed is not None
    assert streamed.entropy_nats == pytest.approx(whole.entropy_nats, rel=1e-3)
    assert streamed.low_margin == pytest.approx(whole.low_margin, abs=1e-3)


def test_how_sure_it_was_is_what_its_own_numbers_say(llama_server: Llama) -> None:
    for text in QUESTIONS[:3]:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 24, "temperature": 0}
        body |= {"model": llama_server.model, "logprobs": True, "top_logprobs": 5}
        told = ask(llama_server, "/v1/chat/completions", body)["choices"][0]["logprobs"]["content"]
        entropies = []
        for token in told:
            odds = [math.exp(entry["logprob"]) for entry in token["top_logprobs"]]
            rest = max(1.0 - sum(odds), 1e-300)
            entropies.append(-sum(p * math.log(p) for p in (*odds, rest)))
        found = asyncio.run(heard(llama_server, stream=False, text=text))[1].sureness()
        assert found is not None
        assert found.entropy_nats == pytest.approx(sum(entropies) / len(entropies), rel=0.02)


def test_who_asks_for_odds_gets_those_of_the_server(llama_server: Llama) -> None:
    body, tokens = asyncio.run(heard(llama_server, stream=False, logprobs=True, top_logprobs=2))
    told = json.loads(body)["choices"][0]["logprobs"]["content"]
    assert len(told) == len(tokens) == 24
    assert len(told[0]["top_logprobs"]) == 2


# --- through the gateway ----------------------------------------------------------------------------------


@pytest.fixture
def script() -> Script:
    made = Script()
    made.says = {"large": '{"label": "other"}'}
    return made


@pytest.fixture
def strong(script: Script) -> Iterator[Upstream]:
    with Upstream(script.messages) as upstream:
        yield upstream


def house(
    folder: Path, mine: Llama, draft: Llama, strong: Upstream, *, mode: str = "bound", peer: bool = True
) -> Process:
    named = '"draft/tiny-draft"' if peer else '""'
    config = CONFIG.format(
        mine=mine.url, key=mine.key or "none", draft=draft.url, draft_key=draft.key or "none",
        strong=strong.url, peer=named, mode=mode,
    )  # fmt: skip
    return Process(folder, {}, config=config if peer else config.replace('peer = ""\n', ""))


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "smart",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 48,
        **more,
    }


def label(server: Llama, text: str) -> bytes:
    """What a server says by itself, as its whole answer."""
    body = chat(text, response_format=FORM) | {"model": server.model, "cache_prompt": False}
    return json.dumps(ask(server, "/v1/chat/completions", body)).encode()


@pytest.mark.parametrize("stream", [False, True])
def test_two_real_models_decide_by_what_they_say(
    tmp_path: Path, llama_server: Llama, llama_draft_server: Llama, strong: Upstream, stream: bool
) -> None:
    outcomes = set()
    with house(tmp_path, llama_server, llama_draft_server, strong) as gateway:
        for text in QUESTIONS:
            first, second = (
                read_answer(Wire.OPENAI_CHAT, label(server, text)) for server in (llama_server, llama_draft_server)
            )
            kept = agree(first, second, Asked(form=LABEL)).same is True
            answered = gateway.ask(
                "/v1/chat/completions",
                chat(text, response_format=FORM, stream=stream, cache_prompt=False),
                timeout_s=60,
            )
            assert answered.status == 200, answered.body
            if stream:
                got = words(answered.body)
            else:
                got = answered.json()["choices"][0]["message"]["content"]
            assert json.loads(got) == (json.loads(first.text) if kept else {"label": "other"})
            outcomes.add(kept)
        rows = gateway.receipts(len(QUESTIONS))
    assert outcomes <= {True, False}
    assert {"kept" in trail(row) for row in rows} == outcomes
    assert {row["cost_pico"] == 0 for row in rows} == outcomes, "what is kept of local models costs nothing"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_real_answer_that_is_cut_goes_up_and_a_whole_one_is_kept(
    tmp_path: Path, llama_server: Llama, llama_draft_server: Llama, strong: Upstream, path: str, stream: bool
) -> None:
    parameters = {"type": "object", "properties": {"user_id": {"enum": ["a1", "b2"]}}, "required": ["user_id"]}
    function = {"name": "get_user_details", "description": "Get the details of a user.", "parameters": parameters}
    body = chat("My user ID is a1.", stream=stream, max_tokens=128)
    if path == "/v1/messages":
        function["input_schema"] = function.pop("parameters")
        body |= {"tools": [function], "tool_choice": {"type": "any"}}
    else:
        body |= {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    with house(tmp_path, llama_server, llama_draft_server, strong, mode="verify", peer=False) as gateway:
        kept = gateway.ask(path, body, timeout_s=60)
        assert kept.status == 200, kept.body
        assert b"get_user_details" in kept.body
        assert strong.seen == []
        up = gateway.ask(path, body | {"max_tokens": 2}, timeout_s=60)
        assert up.status == 200, up.body
        assert b"label" in up.body
        assert len(strong.seen) == 1
        rows = gateway.receipts(2)
    assert sorted(row["provider"] for row in rows) == ["frontier", "mine"]
    assert any("cut by its limit" in trail(row) for row in rows)


def test_a_server_that_dies_in_the_middle_of_its_answer_costs_no_answer(
    tmp_path: Path, llama_draft_server: Llama, strong: Upstream
) -> None:
    from tests import llama

    running = llama.own("tiny-target-f16.gguf", model="tiny-target")
    mine = next(running)
    try:
        with house(tmp_path, mine, llama_draft_server, strong, mode="verify", peer=False) as gateway:
            mine.kill()
            answered = gateway.ask("/v1/chat/completions", chat("Hello", stream=True), timeout_s=60)
            assert words(answered.body) == '{"label": "other"}'
    finally:
        running.close()
