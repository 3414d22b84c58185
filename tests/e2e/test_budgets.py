"""Budgets against the real gateway: 402 in every protocol, shares, changes under way, SIGKILL, bad settings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.protocols import ALL, CHAT, MESSAGES, RESPONSES, Protocol, protocol_of, whole
from tests.e2e.rig import LINES_HEAD, SOURCE, STREAM_HEAD, Asked, Process, Upstream, chunk, gateway, http

from pennyweight.request import Wire
from pennyweight.stores.virtual_keys import KeyStore
from pennyweight.wire import codec

WIRES = {
    "chat": Wire.OPENAI_CHAT,
    "responses": Wire.OPENAI_RESPONSES,
    "messages": Wire.ANTHROPIC_MESSAGES,
    "ollama": Wire.OLLAMA,
}
PRICES = "".join(
    f'\n[[prices]]\nprovider = "{provider}"\nmodel = "{model}"\ninput = 1_000\noutput = 1_000\ncache_read = 100\n'
    for provider, model in (("openai", "gpt-5-x"), ("anthropic", "claude-x"))
)
SAID = "The parser in src/parse.py stops one line early. I decided to change the loop."
PROVIDER_S = 0.6  # until a slow answer comes


def tokens(body: dict[str, Any], count: int) -> None:
    """The answer's usage: so many output tokens, at a tenth of a cent each."""
    if "usage" in body:
        told = body["usage"]
        for name in ("completion_tokens", "output_tokens"):
            if name in told:
                told[name] = count
        if "total_tokens" in told:
            told["total_tokens"] = count + (told.get("prompt_tokens") or told.get("input_tokens") or 0)
    else:
        body["eval_count"] = count


async def answer(asked: Asked) -> None:
    """300 output tokens, 0.30 dollars; 700 dollars, or late, where the body says so; a stream where asked for."""
    protocol = protocol_of(asked.target)
    body = json.loads(whole(protocol, asked.model))
    tokens(body, 700_000 if b"dearly" in asked.body else 300)
    if b"slowly" in asked.body:
        await asyncio.sleep(PROVIDER_S)
    if not asked.streams:
        asked.writer.write(http(200, json.dumps(body).encode()))
        return
    asked.writer.write(LINES_HEAD if protocol.name == "ollama" else STREAM_HEAD)
    for piece in codec(WIRES[protocol.name]).unfold(json.dumps(body).encode()):
        asked.writer.write(chunk(piece))
        await asked.writer.drain()
    asked.writer.write(b"0\r\n\r\n")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


def conversation(protocol: Protocol, *texts: str, stream: bool = False, **more: Any) -> dict[str, Any]:
    """Turns of a user and a model, in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    field = "input" if protocol is RESPONSES else "messages"
    limit = {"chat": "max_completion_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}
    limits = (
        {limit[protocol.name]: 400} if protocol.name in limit else {"options": {"num_predict": 400, "num_ctx": 9999}}
    )
    return {"model": f"{protocol.model}x", "stream": stream, field: messages, **limits, **more}


def session(name: str, **more: str) -> dict[str, str]:
    return {"x-pennyweight-session": name, **more}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: protocol.name)
def test_a_session_is_warned_and_then_halted_with_its_summary(
    tmp_path: Path, upstream: Upstream, protocol: Protocol, stream: bool
) -> None:
    config = f'[[budgets]]\nscope = "session"\ntokens = 900\nname = "small"\n{PRICES}'
    with gateway(tmp_path, upstream, config=config) as process:
        levels = []
        for number in range(3):
            body = conversation(protocol, f"Question {number} about it", stream=stream)
            answered = process.ask(protocol.path, body, session("one"))
            assert answered.status == 200, answered.body
            assert answered.complete
            levels.append(answered.headers["x-pennyweight-budget"].partition(";")[0])
        assert levels == ["ok", "ok", "ok"], "what was spent when the call was let through"
        talk = conversation(protocol, "Look into src/parse.py", SAID, "Go on", stream=stream)
        refused = process.ask(protocol.path, talk, session("one"))
        assert refused.status == 402
        said = protocol.error(refused.body)
        assert said.startswith("Session usage limit reached for session one: 9"), said
        assert "of 900 tokens spent. Try again in a new session." in said
        assert "src/parse.py" in said
        assert said.endswith("pennyweight sessions summary 'one'")
        assert "retry-after" not in refused.headers
        assert refused.headers["x-pennyweight-budget"].startswith("halt; 10")
        assert process.ask(protocol.path, talk, session("two")).status == 200, "another session has its own"
        assert len(upstream.seen) == 4
        told = process.ask("/pennyweight/sessions/one/summary", method="GET").json()
        assert "I decided to change the loop" in told["summary"]
        kinds = [event["level"] for event in process.ask("/pennyweight/budgets", method="GET").json()["events"]]
        assert kinds[0] == "halt"
        assert set(kinds) <= {"warn", "force", "halt"}
        assert SAID not in process.log


def test_tenants_see_their_own(tmp_path: Path, upstream: Upstream) -> None:
    config = f'[[budgets]]\nscope = "session"\nusd = 0.75\n{PRICES}'
    with gateway(tmp_path, upstream, config=config) as process:
        keys = {name: KeyStore(process.data).add(name) for name in ("ann", "bob")}
        headers = session("s", authorization=f"Bearer {keys['ann']}")
        talk = conversation(CHAT, "Look into it", SAID, "Go on")
        assert process.ask(CHAT.path, talk, headers).status == 200
        assert process.ask(CHAT.path, talk, headers).status == 402
        paths = ("/pennyweight/sessions/s/summary", "/pennyweight/sessions/s/summary?tenant=ann")
        for path in paths:
            bobs = process.ask(path, b"", {"authorization": f"Bearer {keys['bob']}"}, method="GET")
            assert bobs.status == 404
            assert process.ask(path, b"", {"authorization": f"Bearer {keys['ann']}"}, method="GET").status == 200
        assert process.ask(paths[0], method="GET").status == 404
        assert process.ask(paths[1], method="GET").status == 200, "the operator's own"
        for name, count in (("ann", 1), ("bob", 0)):
            told = process.ask("/pennyweight/budgets", b"", {"authorization": f"Bearer {keys[name]}"}, method="GET")
            assert (len(told.json()["budgets"]), bool(told.json()["events"])) == (count, bool(count))
        reset = process.ask(
            "/pennyweight/budgets/reset", {"budget": "session usd"}, {"authorization": f"Bearer {keys['ann']}"}
        )
        assert reset.status == 403
        assert process.ask("/pennyweight/budgets/reset", {"budget": "session usd"}).json() == {"reset": 1}
        assert process.ask(CHAT.path, talk, headers).status == 200


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_killed_gateway_forgets_nothing(tmp_path: Path, upstream: Upstream, store: str) -> None:
    config = f'[budgeting]\nstore = "{store}"\n[[budgets]]\nscope = "all"\nper = "month"\nname = "m"\nusd = 3\n{PRICES}'
    body = conversation(CHAT, "Answer slowly")
    with Process(tmp_path, upstream.env, config=config) as process:
        assert process.ask(CHAT.path, conversation(CHAT, "at once")).status == 200
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(_quietly, process, body, number) for number in range(4)]
            deadline = time.monotonic() + 60
            while len(upstream.seen) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            process.process.send_signal(signal.SIGKILL)
            process.process.wait(60)
            for one in asked:
                one.result()
    with Process(tmp_path, upstream.env, config=config) as process:
        (line,) = process.ask("/pennyweight/budgets", method="GET").json()["budgets"]
        assert line["spent"] // 10**9 == 310, "in thousandths of a dollar"
        assert line["held"] >= 4 * 400 * 10**9, "what was under way may have been billed"
        statuses = [process.ask(CHAT.path, conversation(CHAT, f"more {n}")).status for n in range(4)]
        assert 402 in statuses
        done = cli(tmp_path, "budgets", "--json", "--config", "pennyweight.toml")
        assert json.loads(done)["budgets"][0]["budget"] == "m"
        shown = cli(tmp_path, "budgets", "--config", "pennyweight.toml")
        assert "m" in shown
        assert "…" not in shown, "names are needed whole"
        assert "1 counter of m" in cli(tmp_path, "budgets", "reset", "m", "--config", "pennyweight.toml")
        assert process.ask(CHAT.path, conversation(CHAT, "again")).status == 200


def _quietly(process: Process, body: dict[str, Any], number: int) -> None:
    try:
        process.ask(CHAT.path, body | {"user": f"u{number}"}, session(f"s{number}"))
    except OSError:
        return


def cli(folder: Path, *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": SOURCE, "OPENAI_API_KEY": "sk-x"}
    command = [sys.executable, "-m", "pennyweight", *arguments, "--data", str(folder / "data")]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_summary_outlives_the_gateway(tmp_path: Path, upstream: Upstream) -> None:
    config = f'[[budgets]]\nscope = "session"\nusd = 0.9\n{PRICES}'
    with Process(tmp_path, upstream.env, config=config) as process:
        statuses = [
            process.ask(CHAT.path, conversation(CHAT, "Look", SAID, "Go on"), session("s")).status for _ in range(2)
        ]
        assert statuses == [200, 402]
    assert "decided" in cli(tmp_path, "sessions", "summary", "s", "--config", "pennyweight.toml")


def test_an_amount_is_changed_while_calls_are_under_way(tmp_path: Path, upstream: Upstream) -> None:
    def config(usd: float) -> str:
        return f'[[budgets]]\nscope = "all"\nper = "day"\nusd = {usd}\n{PRICES}'

    with gateway(tmp_path, upstream, config=config(5)) as process:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(process.ask, CHAT.path, conversation(CHAT, f"Answer slowly {n}")) for n in range(3)]
            deadline = time.monotonic() + 60
            while len(upstream.seen) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            process.config.write_text(config(1))
            process.process.send_signal(signal.SIGHUP)
            process.wait_log("configuration")
            assert process.ask(CHAT.path, conversation(CHAT, "new")).status == 402, "what is under way is held"
            assert [one.result().status for one in asked] == [200, 200, 200]
        deadline = time.monotonic() + 60
        while (line := process.ask("/pennyweight/budgets", method="GET").json()["budgets"][0])["held"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (line["spent"] // 10**9, line["held"], line["amount"]) == (930, 0, 10**12)
        process.config.write_text(config(-1))
        process.process.send_signal(signal.SIGHUP)
        process.wait_log("'-1'" if "'-1'" in process.log else "-1")
        assert process.ask("/pennyweight/budgets", method="GET").json()["budgets"][0]["amount"] == 10**12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[budgets]]\nscope = "key"\nper = "day"\nusd = -5\n', "usd = -5"),
        ('[[budgets]]\nscope = "key"\ntokens = -5\n', "tokens -5 is no budget"),
        ('[[budgets]]\nscope = "galaxy"\nusd = 5\n', "galaxy"),
        ('[[budgets]]\nscope = "key"\nper = "day"\nusd = 5\ntime_zone = "Mars/Base"\n', "Mars/Base"),
        ('[[budgets]]\nscope = "key"\nusd = 5\nwarn = 0.95\n', "do not rise"),
        ('[[budgets]]\nscope = "key"\nusd = 5\n[[budgets]]\nscope = "key"\nusd = 6\n', "is the same as budgets[0]"),
        ('[budgeting]\nstore = "redis"\n', "no address"),
        ("[budgeting]\nsub_agent_tokens = -1\n", "sub_agent_tokens"),
        ("[budgeting]\nsummary_ttl_s = nan\n", "summary_ttl_s nan"),
        ('[budgeting.alerts]\nwebhook = "ftp://x"\n', "no http(s) address"),
    ],
)
def test_what_no_budget_can_be_is_refused_at_the_start(
    tmp_path: Path, upstream: Upstream, text: str, words: str
) -> None:
    process = Process(tmp_path, upstream.env, config=text)
    assert process.process.wait(20) != 0
    assert words in process.log
    assert "pennyweight.toml:" in process.log
    assert "Traceback" not in process.log


def test_usage_beyond_all_reason_stops_spending_and_nothing_else(tmp_path: Path) -> None:
    async def absurd(asked: Asked) -> None:
        body = json.loads(whole(protocol_of(asked.target), asked.model))
        tokens(body, 9_000_000)
        asked.writer.write(http(200, json.dumps(body).encode()))

    config = f'[[budgets]]\nscope = "all"\nper = "day"\nusd = 5\n{PRICES}'
    with Upstream(absurd) as upstream, gateway(tmp_path, upstream, config=config) as process:
        assert process.ask(CHAT.path, conversation(CHAT, "hi")).status == 200
        refused = process.ask(CHAT.path, conversation(CHAT, "hi there"))
        assert refused.status == 402
        assert CHAT.error(refused.body).startswith("Daily limit reached for all calls: $")
        assert process.ask("/pennyweight/budgets", method="GET").status == 200


def test_at_nine_tenths_prompts_are_compressed_also_where_all_is_safe(tmp_path: Path, upstream: Upstream) -> None:
    """Tool results that repeat are sent shorter, once the budget is nearly spent and not before."""
    rows = [{"id": n, "name": f"part-{n}", "state": "in stock", "place": "shelf", "price": 10 + n} for n in range(200)]
    result = json.dumps(rows, indent=2)

    def loop(number: int) -> dict[str, Any]:
        function = {"name": "list_parts", "arguments": json.dumps({"page": number})}
        call = {"id": f"c{number}", "type": "function", "function": function}
        messages = [
            {"role": "user", "content": "Which parts are there?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": result},
        ]
        schema = {"name": "list_parts", "parameters": {"type": "object", "properties": {"page": {"type": "integer"}}}}
        tools = [{"type": "function", "function": schema}]
        return conversation(CHAT, "x") | {"messages": messages, "tools": tools}

    config = (
        f'[[budgets]]\nscope = "agent"\nper = "day"\nusd = 1_000\nforce = 0.5\nwarn = 0.1\nhold = "least"\n{PRICES}'
    )
    with gateway(tmp_path, upstream, config=config) as process:
        clerk = {"x-pennyweight-agent": "clerk"}
        assert process.ask(CHAT.path, loop(0), session("s0") | clerk).status == 200
        before = len(upstream.seen[-1].body)
        assert before > len(result), "all is sent as it came"
        assert process.ask(CHAT.path, conversation(CHAT, "dearly"), clerk).status == 200
        for number in range(1, 10):  # on a busy machine an optimizer's time may be up: then it goes as it came
            assert process.ask(CHAT.path, loop(number), session(f"s{number}") | clerk).status == 200
            if len(upstream.seen[-1].body) < 0.8 * before:
                break
        else:
            raise AssertionError("nothing was ever compressed")
        trails = [row["trail"] for row in process.receipts(number + 2)]
        assert any('"compression","verdict":"accepted"' in trail.replace(" ", "") for trail in trails)


def test_embeddings_and_uploads_count_too(tmp_path: Path) -> None:
    async def embeds(asked: Asked) -> None:
        told = {
            "object": "list",
            "model": "gpt-5-x",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
            "usage": {"prompt_tokens": 600, "total_tokens": 600},
        }
        asked.writer.write(http(200, json.dumps(told).encode()))

    config = f'[[budgets]]\nscope = "all"\nper = "day"\nusd = 1\nhold = "least"\n{PRICES}'
    with Upstream(embeds) as upstream, gateway(tmp_path, upstream, config=config) as process:
        body = {"model": "gpt-5-x", "input": ["some words", "and more"]}
        assert [process.ask("/v1/embeddings", body).status for _ in range(3)] == [200, 200, 402]
        form = b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n\xff\xfe\r\n--x--\r\n'
        upload = process.ask("/v1/files", form, {"content-type": "multipart/form-data; boundary=x"})
        assert upload.status == 400
        assert "what is asked at /v1/files has no known price" in CHAT.error(upload.body)
        assert len(upstream.seen) == 2


def test_at_nine_tenths_a_virtual_model_goes_down_a_tier(tmp_path: Path, upstream: Upstream) -> None:
    config = f"""
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-x"]

[[tiers]]
name = "strong"
targets = ["openai/gpt-5-y"]

[[targets]]
target = "openai/gpt-5-x"
success = 0.3

[[targets]]
target = "openai/gpt-5-y"
success = 0.95

[[virtual]]
name = "thorough"
aim = "quality"

[[optimizers]]
use = "routing"

[[budgets]]
scope = "key"
per = "day"
usd = 1_000
force = 0.5
warn = 0.1
hold = "least"
{PRICES}{PRICES.replace("gpt-5-x", "gpt-5-y").replace("claude-x", "claude-y").replace("1_000", "2_000")}"""
    with gateway(tmp_path, upstream, config=config) as process:
        asked = conversation(CHAT, "Prove that there is no largest prime.") | {"model": "thorough"}
        assert process.ask(CHAT.path, asked, session("a")).status == 200
        assert upstream.seen[-1].model == "gpt-5-y"
        assert process.ask(CHAT.path, conversation(CHAT, "dearly"), session("b")).status == 200
        process.receipts(2)  # its answer is out before its end is counted
        assert process.ask(CHAT.path, asked, session("c")).status == 200
        assert upstream.seen[-1].model == "gpt-5-x"


def test_a_loop_is_halted_where_the_operator_says_so(tmp_path: Path, upstream: Upstream) -> None:
    config = f'[budgeting]\nloops = "halt"\nrepeats = 3\n{PRICES}'
    text = "Run the whole test suite again and tell me which of the tests fail."
    with gateway(tmp_path, upstream, config=config) as process:
        body = conversation(MESSAGES, text)
        answered = [process.ask(MESSAGES.path, body | {"top_k": n + 1}, session("s")) for n in range(4)]
        assert [one.status for one in answered] == [200, 200, 200, 402]
        assert "in a row" in answered[2].headers["x-pennyweight-budget"]
        assert "Try again with something else" in MESSAGES.error(answered[3].body)
        assert text not in process.log


def test_a_cascade_that_stops_its_peer_does_not_end_the_session(tmp_path: Path) -> None:
    async def provide(asked: Asked) -> None:
        if asked.model == "gpt-5-nano":
            await asyncio.sleep(PROVIDER_S)
        asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))

    config = """
[[budgets]]
scope = "session"
tokens = 2_000
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini"]
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
[[virtual]]
name = "careful"
cascade = true
peer = "openai/gpt-5-nano"
[cascade]
mode = "verify"
"""
    with Upstream(provide) as upstream, gateway(tmp_path, upstream, config=config) as process:
        body = {"model": "careful", "messages": [{"role": "user", "content": "The capital of France, as JSON?"}]}
        body["response_format"] = {"type": "json_object"}  # which the cheap answer is not
        for number in range(2):
            answered = process.ask(CHAT.path, body | {"user": f"u{number}"}, session("s"))
            assert answered.status == 200, answered.body
        assert [asked.model for asked in upstream.seen].count("claude-opus-4-6") == 2
