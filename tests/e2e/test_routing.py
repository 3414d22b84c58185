"""Virtual models through the real gateway: every protocol, streams, a tier that is down, a quota that runs out."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.e2e.protocols import ALL, CHAT, MESSAGES, Protocol, protocol_of, stream_end, stream_start, whole
from tests.e2e.rig import (
    LINES_HEAD,
    STREAM_HEAD,
    Answered,
    Asked,
    Process,
    Upstream,
    chunk,
    gateway,
    http,
    read_answer,
)

from pennyweight.cli.tiers import command as tiers_command
from pennyweight.money import format_usd

TIERS = """
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini"]
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
[[virtual]]
name = "easy"
bar = 0.1
[[targets]]
target = "anthropic/claude-opus-4-6"
success = 0.97
[resources]
watch = false
"""


class Provider:
    """Answers for all models but those that are down; a stream goes on after its head when `go` is set."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.status = 503
        self.go = threading.Event()
        self.go.set()

    async def __call__(self, asked: Asked) -> None:
        protocol, model = protocol_of(asked.target), asked.model
        if model in self.down:
            asked.writer.write(http(self.status, b'{"error":{"message":"no","type":"x"}}', retry_after="2"))
            return
        if not asked.streams:
            asked.writer.write(http(200, whole(protocol, model)))
            return
        asked.writer.write(LINES_HEAD if protocol.name == "ollama" else STREAM_HEAD)
        for event in stream_start(protocol, model):
            asked.writer.write(chunk(event))
        await asked.writer.drain()
        await asyncio.to_thread(self.go.wait, 10)
        asked.writer.write(b"".join(map(chunk, stream_end(protocol, model))) + b"0\r\n\r\n")


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def upstream(provider: Provider) -> Iterator[Upstream]:
    with Upstream(provider) as upstream:
        yield upstream


def body(protocol: Protocol, model: str, text: str = "hi", **more: Any) -> dict[str, Any]:
    found = protocol.body("", **more) | {"model": model}
    if "messages" in found:
        found["messages"] = [{"role": "user", "content": text}]
    else:
        found["input"] = text
    return found


def ask(process: Process, protocol: Protocol, model: str, text: str = "hi", **more: Any) -> Answered:
    return process.ask(protocol.path, body(protocol, model, text, **more))


def asked_models(upstream: Upstream) -> list[str]:
    return [asked.model for asked in upstream.seen if asked.method == "POST"]


@pytest.mark.parametrize("protocol", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("stream", [False, True])
def test_every_protocol_can_name_a_choice(tmp_path: Path, upstream: Upstream, protocol: Protocol, stream: bool) -> None:
    with gateway(tmp_path, upstream, config=TIERS) as process:
        easy = ask(process, protocol, "easy", stream=stream)
        best = ask(process, protocol, "auto:best", stream=stream)
        rows = process.receipts(2)
    assert (easy.status, best.status) == (200, 200), (easy.body, best.body)
    assert b"hi" in easy.body or b"word" in easy.body
    assert easy.headers["x-pennyweight-model"] == "openai/gpt-5-mini"
    assert easy.headers["x-pennyweight-tier"] == "cheap"
    if not stream:  # by the tokens of the answer, not of the one that was foreseen
        routed = next(row for row in rows if row["target_model"] == "gpt-5-mini")
        strong_pico = routed["input_tokens"] * 5_000_000 + routed["output_tokens"] * 25_000_000
        saved = format_usd(strong_pico - routed["cost_pico"])
        assert easy.headers["x-pennyweight-saved"] == f"{saved} estimated"
    assert best.headers["x-pennyweight-model"] == "anthropic/claude-opus-4-6"
    assert asked_models(upstream) == ["gpt-5-mini", "claude-opus-4-6"]
    assert sorted((row["model"], row["target_model"]) for row in rows) == [
        ("auto:best", "claude-opus-4-6"),
        ("easy", "gpt-5-mini"),
    ]


def told_cost(answered: Answered, *, stream: bool) -> float:
    """`usage.cost`, in dollars."""
    if not stream:
        return float(json.loads(answered.body)["usage"]["cost"])
    events = [json.loads(line[6:]) for line in answered.body.splitlines() if line[:7] == b"data: {"]
    usages = [event.get("usage") or (event.get("response") or {}).get("usage") or {} for event in events]
    return float(next(usage["cost"] for usage in reversed(usages) if "cost" in usage))


@pytest.mark.parametrize("protocol", [one for one in ALL if one.name != "ollama"], ids=lambda one: one.name)
@pytest.mark.parametrize("stream", [False, True])
def test_the_cost_in_the_answer_is_that_of_who_answered(
    tmp_path: Path, upstream: Upstream, provider: Provider, protocol: Protocol, stream: bool
) -> None:
    fields = {"x-pennyweight-usage-cost": "1"}
    options = {"stream_options": {"include_usage": True}} if stream and protocol is CHAT else {}
    asked = body(protocol, "easy", stream=stream, temperature=0, **options)
    with gateway(tmp_path, upstream, config=TIERS) as process:
        routed = process.ask(protocol.path, asked, fields)
        process.receipts(1)
        kept = process.ask(protocol.path, asked, fields)
        provider.down = {"gpt-5-mini"}
        fell_back = process.ask(protocol.path, body(protocol, "easy", "ho", stream=stream, **options), fields)
        rows = process.receipts(3)
    costs = [row["cost_pico"] / 1e12 for row in sorted(rows, key=lambda row: row["at"])]
    assert costs[1] == 0
    assert 0 < costs[0] < costs[2]
    for answered, cost in zip((routed, kept, fell_back), costs, strict=True):
        assert told_cost(answered, stream=stream) == pytest.approx(cost, abs=1e-9)


def test_real_names_pass_and_carry_no_such_header(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config=TIERS) as process:
        answered = ask(process, CHAT, "gpt-5-real")
    assert asked_models(upstream) == ["gpt-5-real"]
    assert "x-pennyweight-model" not in answered.headers


def test_a_real_name_may_be_sent_to_a_choice(tmp_path: Path, upstream: Upstream) -> None:
    config = TIERS + '[[routes]]\nmodel = "gpt-4"\nto = "auto:best"\n'
    with gateway(tmp_path, upstream, config=config) as process:
        answered = ask(process, CHAT, "gpt-4")
    assert answered.headers["x-pennyweight-model"] == "anthropic/claude-opus-4-6"


def test_a_tier_that_is_down_is_left_for_the_next_and_then_not_asked(
    tmp_path: Path, upstream: Upstream, provider: Provider
) -> None:
    provider.down = {"gpt-5-mini"}
    with gateway(tmp_path, upstream, config=TIERS) as process:
        first = ask(process, CHAT, "easy", "one")
        second = ask(process, CHAT, "easy", "two")
        third = ask(process, CHAT, "easy", "three", stream=True)
    assert [a.status for a in (first, second, third)] == [200, 200, 200]
    assert first.headers["x-pennyweight-model"] == "anthropic/claude-opus-4-6"
    assert asked_models(upstream) == ["gpt-5-mini"] + ["claude-opus-4-6"] * 3


def test_without_any_live_target_the_providers_own_words_come_back(
    tmp_path: Path, upstream: Upstream, provider: Provider
) -> None:
    provider.down = {"gpt-5-mini", "claude-opus-4-6"}
    with gateway(tmp_path, upstream, config=TIERS) as process:
        answered = ask(process, CHAT, "easy")
    assert answered.status == 503
    assert CHAT.error(answered.body) == "no"


QUOTA = TIERS + '[[targets]]\ntarget = "openai/gpt-5-mini"\nsuccess = 0.85\nper_day = 2\n'


def test_beyond_its_quota_a_target_is_not_asked_and_a_restart_does_not_forget(
    tmp_path: Path, upstream: Upstream
) -> None:
    with gateway(tmp_path, upstream, config=QUOTA) as process:
        told = [ask(process, CHAT, "easy", str(n)).headers["x-pennyweight-tier"] for n in range(3)]
        real = ask(process, CHAT, "gpt-5-mini", "no choice")
    with gateway(tmp_path, upstream, config=QUOTA) as process:
        told.append(ask(process, CHAT, "easy", "again").headers["x-pennyweight-tier"])
    assert told == ["cheap", "cheap", "frontier", "frontier"]
    assert real.status == 429
    assert "The quota of openai/gpt-5-mini is used up" in CHAT.error(real.body)
    assert int(real.headers["retry-after"]) > 0
    assert asked_models(upstream) == ["gpt-5-mini"] * 2 + ["claude-opus-4-6"] * 2


def test_a_quota_that_runs_out_in_mid_stream_leaves_the_stream_alone(
    tmp_path: Path, upstream: Upstream, provider: Provider
) -> None:
    provider.go.clear()
    with gateway(tmp_path, upstream, config=QUOTA.replace("per_day = 2", "per_day = 1")) as process:
        sock = process.connect()
        raw = json.dumps(body(CHAT, "easy", stream=True)).encode()
        sock.sendall(
            f"POST {CHAT.path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw
        )
        assert sock.recv(1, socket.MSG_PEEK)
        elsewhere = ask(process, CHAT, "easy", "two")
        provider.go.set()
        streamed = read_answer(sock)
        sock.close()
    assert elsewhere.headers["x-pennyweight-tier"] == "frontier"
    assert (streamed.status, streamed.complete) == (200, True)
    assert b"[DONE]" in streamed.body


def test_a_refusal_teaches_what_is_left(tmp_path: Path, upstream: Upstream, provider: Provider) -> None:
    provider.down, provider.status = {"gpt-5-mini"}, 429
    config = QUOTA.replace("per_day = 2", "per_minute = 60")
    with gateway(tmp_path, upstream, config=config) as process:
        told = [ask(process, CHAT, "easy", str(n)).headers["x-pennyweight-tier"] for n in range(2)]
    assert told == ["frontier", "frontier"]
    assert asked_models(upstream).count("gpt-5-mini") == 1


@pytest.mark.parametrize("protocol", [CHAT, MESSAGES], ids=lambda one: one.name)
def test_choices_are_listed_beside_models(tmp_path: Path, upstream: Upstream, protocol: Protocol) -> None:
    headers = {"anthropic-version": "2023-06-01"} if protocol is MESSAGES else {}
    with gateway(tmp_path, upstream, config=TIERS) as process:
        listed = process.ask("/v1/models", method="GET", headers=headers).json()["data"]
        one = process.ask("/v1/models/auto", method="GET", headers=headers).json()
    names = [row["id"] for row in listed]
    assert {"auto", "auto:cheap", "auto:best", "coding", "reasoning", "fast", "quality", "easy"} <= set(names)
    assert "local" not in names
    assert one["id"] == "auto"
    assert all(row.get("type") == "model" or row.get("object") == "model" for row in listed)


@pytest.mark.parametrize("protocol", [one for one in ALL if one.name != "ollama"], ids=lambda one: one.name)
def test_without_tiers_a_choice_is_an_error_that_names_the_remedy(
    tmp_path: Path, upstream: Upstream, protocol: Protocol
) -> None:
    env = {"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"}
    with Process(tmp_path, env) as process:
        answered = ask(process, protocol, "auto")
    assert answered.status == 404
    assert "[[tiers]]" in protocol.error(answered.body)


def test_optimize_off_goes_to_the_reference(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config=TIERS) as process:
        process.ask(CHAT.path, body(CHAT, "easy"), {"x-pennyweight-optimize": "off"})
    assert asked_models(upstream) == ["claude-opus-4-6"]


def test_a_call_with_an_image_goes_where_it_is_seen(tmp_path: Path, upstream: Upstream) -> None:
    config = TIERS + '[[targets]]\ntarget = "openai/gpt-5-mini"\nimages = false\n'
    image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    with gateway(tmp_path, upstream, config=config) as process:
        sent = body(CHAT, "easy") | {"messages": [{"role": "user", "content": [image]}]}
        answered = process.ask(CHAT.path, sent)
    assert answered.headers["x-pennyweight-tier"] == "frontier"


def test_shares_and_the_state_of_targets_are_told(tmp_path: Path, upstream: Upstream) -> None:
    config = QUOTA.replace('name = "cheap"', 'name = "cheap"\nshare = 0.75', 1)
    with gateway(tmp_path, upstream, config=config) as process:
        for number in range(3):
            ask(process, CHAT, "easy", str(number))
        ask(process, CHAT, "gpt-5-mini-real", "not routed")
        process.receipts(4)
        told = process.ask("/pennyweight/tiers", method="GET").json()
    assert told["calls"] == 3
    cheap, frontier = told["tiers"]
    assert (cheap["name"], round(cheap["share"], 3), cheap["goal"]) == ("cheap", 0.667, 0.75)
    assert cheap["targets"][0]["now"]["quota_left"] == 0
    assert (frontier["targets"][0]["calls"], frontier["goal"]) == (1, None)
    listed = CliRunner().invoke(tiers_command, ["--config", str(process.config), "--data", str(process.data), "--json"])
    assert json.loads(listed.output)["tiers"][0]["targets"][0]["calls"] == 2
    shown = CliRunner().invoke(tiers_command, ["--config", str(process.config), "--data", str(process.data)])
    assert "66.7%" in shown.output
    assert "75.0%" in shown.output


def test_choices_are_in_ollamas_list_too(tmp_path: Path) -> None:
    async def tags(asked: Asked) -> None:
        asked.writer.write(http(200, b'{"models":[{"name":"llama3:8b","model":"llama3:8b","size":7}]}'))

    with Upstream(tags) as ollama, gateway(tmp_path, ollama, config=TIERS) as process:
        listed = process.ask("/api/tags", method="GET").json()["models"]
    assert {"name": "llama3:8b", "model": "llama3:8b", "size": 7} in listed
    assert {"auto", "fast", "easy"} <= {tag["name"] for tag in listed}


def test_a_tool_loop_stays_where_it_began(tmp_path: Path, upstream: Upstream) -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object"}}}
    system = {"role": "system", "content": "You are an agent. " + "Mind the rules of the house. " * 200}
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "t1", "content": "nothing there"}
    turns: list[dict[str, Any]] = [system, {"role": "user", "content": "Is this spam? Answer yes or no: hello"}]
    told = []
    (tmp_path / "agents.toml").write_text('[[agents]]\nname = "judge"\ntier = "frontier"\n')
    config = 'agents = "agents.toml"\n' + TIERS
    with gateway(tmp_path, upstream, config=config) as process:

        def send(agent: str = "") -> None:
            sent = {"model": "auto", "messages": turns, "tools": [tool]}
            answered = process.ask(CHAT.path, sent, {"x-pennyweight-session": "s", "x-pennyweight-agent": agent})
            assert answered.status == 200, answered.body
            told.append(answered.headers["x-pennyweight-tier"])

        send()
        turns += [called, result]
        send()
        turns += [{"role": "assistant", "content": "no"}, {"role": "user", "content": "And is it kind?"}]
        send("judge")
        turns += [called | {"tool_calls": [called["tool_calls"][0] | {"id": "t2"}]}, result | {"tool_call_id": "t2"}]
        send()
        rows = process.receipts(4)
    assert told == ["cheap", "cheap", "frontier", "frontier"]
    trails = [{step["optimizer"]: step for step in json.loads(row["trail"])} for row in rows]
    whys = [trail["routing"]["why"] for trail in trails]
    assert "clears" in whys[0]
    assert "stays with cheap, inside a tool loop" in whys[1]
    assert "stays with frontier, inside a tool loop" in whys[3]


def test_a_cascade_tells_who_answered_in_the_end(tmp_path: Path) -> None:
    async def answer(asked: Asked) -> None:
        said = {"gpt-5-nano": b'"the capital is Lyon, as far as anyone knows"', "gpt-5-mini": b'"forty two, I think"'}
        raw = whole(protocol_of(asked.target), asked.model)
        asked.writer.write(http(200, raw.replace(b'"hi"', said.get(asked.model, b'"Paris"'))))

    config = f"""{TIERS}
[[targets]]
target = "openai/gpt-5-mini"
success = 0.7
[[virtual]]
name = "careful"
cascade = true
peer = "openai/gpt-5-nano"
"""
    with Upstream(answer) as upstream, gateway(tmp_path, upstream, config=config) as process:
        answered = ask(process, CHAT, "careful", "What is the capital of France?")
    assert sorted(asked_models(upstream)) == ["claude-opus-4-6", "gpt-5-mini", "gpt-5-nano"]  # some at the same time
    assert b"Paris" in answered.body
    assert answered.headers["x-pennyweight-model"] == "anthropic/claude-opus-4-6"
    assert answered.headers["x-pennyweight-tier"] == "frontier"


CALLER = "sk-caller-canary-0123456789"


@pytest.mark.parametrize("path", ["choice", "route"])
def test_a_callers_own_key_goes_to_no_provider_that_it_did_not_mean(
    tmp_path: Path, upstream: Upstream, path: str
) -> None:
    """A caller that names a choice cannot know whose model is behind it."""
    config = TIERS + '[providers.elsewhere]\nbase_url = "URL/v1"\n[[routes]]\nmodel = "gpt-4"\nto = "auto:best"\n'
    config = config.replace("anthropic/claude-opus-4-6", "elsewhere/large").replace("URL", upstream.url)
    model = "auto:best" if path == "choice" else "gpt-4"
    with Process(tmp_path, {"OPENAI_BASE_URL": f"{upstream.url}/v1"}, config=config) as process:
        for protocol, name, value in (
            (CHAT, "authorization", f"Bearer {CALLER}"),
            (MESSAGES, "x-api-key", CALLER),
            (MESSAGES, "authorization", f"Bearer sk-ant-oat01-{CALLER}"),
        ):
            answered = process.ask(protocol.path, body(protocol, model, name + value), {name: value})
            assert answered.status == 200, answered.body
            assert answered.headers["x-pennyweight-model"] == "elsewhere/large"
    assert asked_models(upstream) == ["large"] * 3
    assert CALLER not in str([asked.headers for asked in upstream.seen])


def test_a_callers_own_key_is_used_where_its_protocols_own_provider_answers(tmp_path: Path, upstream: Upstream) -> None:
    config = TIERS.replace("anthropic/claude-opus-4-6", "openai/gpt-5.2")
    with Process(tmp_path, {"OPENAI_BASE_URL": f"{upstream.url}/v1"}, config=config) as process:
        assert process.ask(CHAT.path, body(CHAT, "auto:best"), {"authorization": f"Bearer {CALLER}"}).status == 200
    assert upstream.seen[-1].headers["authorization"] == f"Bearer {CALLER}"


def test_an_answer_is_kept_as_that_of_the_model_which_gave_it(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "agents.toml").write_text('[[agents]]\nname = "judge"\ntier = "frontier"\n')
    config = 'agents = "agents.toml"\n' + TIERS.replace("gpt-5-mini", "gpt-4o-mini").replace(
        "opus-4-6", "3-5-haiku-latest"
    )
    with gateway(tmp_path, upstream, config=config) as process:
        asked = body(CHAT, "easy", temperature=0)
        for expected in (1, 1, 2, 2):
            agent = {"x-pennyweight-agent": "judge"} if expected == 2 else {}
            answered = process.ask(CHAT.path, asked, agent)
            assert answered.status == 200
            process.receipts(len(process.receipts()) + 1)
            assert len(asked_models(upstream)) == expected
    assert answered.headers["x-pennyweight-cache"] == "hit"
    assert asked_models(upstream) == ["gpt-4o-mini", "claude-3-5-haiku-latest"]
