"""A model asks for text that was left out, through the whole gateway, and the real SDKs see one plain answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.rig import SOURCE, Asked, Process, Upstream, http

from pennyweight.config import Config, load
from pennyweight.gateway.run import Gateway, open_gateway
from pennyweight.references import reference_id
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.http import Exchange, LoopbackServer, post
from pennyweight.testing.provider import provider_keys
from pennyweight.wire import codec

CHAT_MODEL, CLAUDE = "gpt-4o", "claude-sonnet-4-6"

CUTTER = '''
"""Puts a reference in the place of every long text, for tests of what brings it back."""


import msgspec

from pennyweight.call import Proposal, Rewrite
from pennyweight.references import leave_out, reference_id
from pennyweight.request import Edit
from pennyweight.wire.blocks import Reader
from pennyweight.wire.recall_tool import with_tool


class Settings(msgspec.Struct, frozen=True):
    chars: int = 2_000


def build(settings, parts):
    return Cutter(settings)


class Cutter:
    name = "cutter"

    def __init__(self, settings):
        self._settings = settings
        self._reader = Reader()

    async def propose(self, call):
        tool = with_tool(call.request)
        if tool is None or not call.identity.session:
            return None
        conversation = self._reader.read(call.request)
        edits, texts = list(tool), {}
        places = [(index, block) for index, told in enumerate(conversation.messages)
                  for block in told.blocks if told.role != "system"]
        for index, block in places:
            if block.place is not None and len(block.text) > self._settings.chars:
                ref = reference_id(call.identity.tenant, call.identity.session, block.text)
                texts[ref] = block.text
                short = block.text[:100] + f'\\n[the rest was left out: recall("{ref}")]'
                edits.append(Edit(conversation.place(index, block), short))
        if not texts:
            return None
        leave_out(call.facts, texts)
        return Proposal(Rewrite(tuple(edits)), saving=10**9, tokens=1_000, why="cut long texts", level="safe")

    async def settle(self, outcome):
        pass

    def wants_response(self, call):
        return False
'''


SETTINGS = """
server.port = 0
experiments.holdout = 0.0
pipeline.propose_s = 60.0
references.store_s = {store_s}
{more}[[optimizers]]
use = "cutter"
[providers.ollama]
base_url = "{url}/api"
"""


RULES = "You are careful, and say what you know. " * 400
"""Long enough for a provider to cache what is left of a prompt."""


EXACT = """
optimize = "max"
[[optimizers]]
use = "exact_cache"
settings = { tool_calls = true }
"""


def secret_log(word: str) -> str:
    lines = [f"2026-01-01 10:00:{n % 60:02} worker-{n} has done its part of the work" for n in range(300)]
    return "\n".join([*lines[:200], f"2026-01-01 11:00:00 the secret word is {word}", *lines[200:]])


class Model:
    """An upstream in four protocols: reads the reference, asks for the text, and tells what it found there.

    asks: what it was asked, by wire. trouble: answers to the second ask of a conversation, in its place.
    """

    def __init__(self) -> None:
        self.asks: list[tuple[Wire, dict[str, Any]]] = []
        self.arguments: Callable[[str], dict[str, Any]] = lambda ref: {"ref": ref, "query": "secret word"}
        self.trouble: list[Callable[[Exchange], Awaitable[None]]] = []
        self.also: tuple[shapes.ToolCall, ...] = ()  # calls of the client's own
        self.at_once = False  # those stand beside the call for the text
        self.before: Callable[[Exchange], Awaitable[None]] | None = None
        self.billed = 0

    async def answer(self, exchange: Exchange) -> None:
        wire = next(wire for end, wire in _ROUTES.items() if exchange.path.endswith(end))
        body = json.loads(exchange.body)
        self.asks.append((wire, body))
        text = exchange.body.decode()
        if self.before is not None:
            await self.before(exchange)
        found = re.search(r"the secret word is (\w+)", text)
        if found is None and "recall(" not in text:
            turn = shapes.Turn("Nothing was left out for me.")
        elif found is not None:
            if self.trouble and "recall(" in text:
                await self.trouble.pop(0)(exchange)
                return
            also = self.also if "done with that" not in text else ()
            turn = shapes.Turn(f"It is {found[1]}. " + "And so on. " * 20, also, "Found.", "c2lnMg==")
        else:
            ref = re.findall(r'recall\(\\"(r[a-z2-7]{10})\\"\)', text)[-1]
            call = shapes.ToolCall(f"id_{ref}", "recall", json.dumps(self.arguments(ref)))
            beside = self.also if self.at_once else ()
            turn = shapes.Turn("Let me look that up. " * 5, (call, *beside), "It was left out.", "c2lnMQ==")
        await self._say(exchange, wire, body, turn)

    async def _say(self, exchange: Exchange, wire: Wire, body: dict[str, Any], turn: shapes.Turn) -> None:
        usage = Usage(input_tokens=len(exchange.body) // 4, output_tokens=50)
        self.billed += usage.input_tokens + usage.output_tokens
        made = _body(wire, turn, usage, len(self.asks))
        if not body.get("stream", wire is Wire.OLLAMA):
            return await exchange.send(200, json.dumps(made).encode(), headers={"content-type": "application/json"})
        asked = (body.get("stream_options") or {}).get("include_usage") is True
        if wire is Wire.OLLAMA:
            stream = b"".join(codec(wire).unfold(json.dumps(made).encode()))
        else:
            stream = b"".join(shapes.stream(wire, made, include_usage=asked))
        await exchange.start(200, {"content-type": codec(wire).stream_type()})
        for at in range(0, len(stream), 97):
            await exchange.write(stream[at : at + 97])
        return await exchange.end()


_ROUTES = {
    "/messages": Wire.ANTHROPIC_MESSAGES,
    "/chat/completions": Wire.OPENAI_CHAT,
    "/responses": Wire.OPENAI_RESPONSES,
    "/api/chat": Wire.OLLAMA,
}


def _body(wire: Wire, turn: shapes.Turn, usage: Usage, number: int) -> dict[str, Any]:
    if wire is not Wire.OLLAMA:
        return shapes.finish(wire, shapes.body_of(wire, turn, model="m", number=number), usage, model="m")
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in turn.calls]
        message["tool_calls"] = [{"function": call} for call in calls]
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return {"model": "m", "created_at": "t", "message": message, "done": True, "done_reason": "stop", **counts}


@asynccontextmanager
async def running(
    tmp_path: Path, more: str = "", upstream: Binding | None = None, *, store_s: float = 60.0
) -> AsyncIterator[tuple[Gateway, Model]]:
    file = tmp_path / "pennyweight.toml"
    model = Model()
    async with LoopbackServer((upstream or model).answer) as server:
        file.write_text(
            SETTINGS.replace("{url}", server.url).replace("{more}", more).replace("{store_s}", str(store_s))
        )
        env = {
            **provider_keys(server.url),
            "PENNYWEIGHT_DATA": str(tmp_path / "data"),
        }

        def read() -> Config:
            return load(file, env)

        async with asyncio.timeout(60), open_gateway(read) as gateway:
            yield gateway, model


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a gateway that knows the optimizer `cutter`, as a plugin is known."""
    plugin = tmp_path / "plugin"
    info = plugin / "cutter_for_tests-1.dist-info"
    info.mkdir(parents=True)
    (plugin / "cutter_for_tests.py").write_text(CUTTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cutter-for-tests\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pennyweight.optimizers]\ncutter = cutter_for_tests:build\n")
    monkeypatch.syspath_prepend(str(plugin))
    return tmp_path


Work = Callable[[openai.AsyncOpenAI, anthropic.AsyncAnthropic, Model, Gateway], Awaitable[None]]


def drive(house: Path, work: Work, *, more: str = "", store_s: float = 60.0, counted: bool = True) -> None:
    """counted: the ledger is to have what the upstream billed. more: configuration. store_s: as in `[references]`."""

    async def main() -> None:
        async with running(house, more, store_s=store_s) as (gateway, model):
            url = gateway.url
            headers = {"x-pennyweight-session": "one"}
            async with (
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="n", max_retries=0, default_headers=headers) as chat,
                anthropic.AsyncAnthropic(base_url=url, api_key="n", max_retries=0, default_headers=headers) as messages,
            ):
                await work(chat, messages, model, gateway)
                await gateway.app.clerk.flush()
                billed = _ledger(house, "SELECT sum(input_tokens + output_tokens) FROM receipts WHERE NOT replayed")
                assert not counted or billed == [(model.billed,)], "the ledger has every token of every ask"

    asyncio.run(main())


def _ledger(house: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(house / "data" / "pennyweight.db")) as connection:
        return connection.execute(query).fetchall()


def chat_asked(word: str) -> dict[str, Any]:
    return {
        "tools": [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}],
        "messages": [{"role": "system", "content": RULES}, {"role": "user", "content": secret_log(word)}],
    }


def claude_asked(word: str) -> dict[str, Any]:
    return {
        "max_tokens": 1_000,
        "system": RULES,
        "tools": [{"name": "read", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": secret_log(word)}]}],
    }


def responses_asked(word: str) -> dict[str, Any]:
    return {
        "tools": [{"type": "function", "name": "read", "parameters": {"type": "object"}, "strict": False}],
        "store": False,
        "instructions": RULES,
        "input": [{"role": "user", "content": secret_log(word)}],
    }


def check(text: str, word: str) -> None:
    assert text.startswith("Let me look that up.")
    assert f"It is {word}." in text
    assert "recall" not in text


@pytest.mark.parametrize("model", [CHAT_MODEL, CLAUDE])
def test_chat_completions(house: Path, model: str) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        answer = await chat.chat.completions.create(model=model, **chat_asked("alpha"))
        message = answer.choices[0].message
        check(message.content or "", "alpha")
        assert not message.tool_calls
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 100

        text, ids, ends = "", set(), []
        extra: Any = {"stream_options": {"include_usage": True}}
        stream = await chat.chat.completions.create(model=model, stream=True, **chat_asked("alpha"), **extra)
        usages = []
        async for chunk in stream:
            ids.add(chunk.id)
            usages += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                text += choice.delta.content or ""
                assert not choice.delta.tool_calls
                ends += [choice.finish_reason] if choice.finish_reason else []
        check(text, "alpha")
        assert (len(ids), ends, len(usages)) == (1, ["stop"], 1)
        assert usages[0].completion_tokens == 100
        assert len(upstream.asks) == 4
        assert "secret word" not in json.dumps(upstream.asks[0][1]), "it was left out"
        assert json.dumps(upstream.asks[0][1]["tools"]).count("recall") == 1

    drive(house, work)


@pytest.mark.parametrize("model", [CLAUDE, CHAT_MODEL])
def test_messages(house: Path, model: str) -> None:
    async def work(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        answer = await claude.messages.create(model=model, **claude_asked("beta"))
        check("\n".join(block.text for block in answer.content if block.type == "text"), "beta")
        assert answer.stop_reason == "end_turn"
        assert answer.usage.output_tokens == 100

        async with claude.messages.stream(model=model, **claude_asked("beta")) as stream:
            kinds = [event.type async for event in stream]
            last = await stream.get_final_message()
        check("\n".join(block.text for block in last.content if block.type == "text"), "beta")
        assert (kinds.count("message_start"), kinds.count("message_stop")) == (1, 1)
        assert (last.stop_reason, last.usage.output_tokens) == ("end_turn", 100)
        if model == CLAUDE:
            thinking = [block.signature for block in last.content if block.type == "thinking"]
            assert thinking == ["c2lnMQ=="], "what stands before the second is not the caller's to send"
            sent_back = upstream.asks[1][1]["messages"][-2]["content"]
            assert [block["type"] for block in sent_back] == ["thinking", "text", "tool_use"]
        assert len(upstream.asks) == 4

    drive(house, work)


@pytest.mark.parametrize("model", [CHAT_MODEL, CLAUDE])
def test_responses(house: Path, model: str) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        answer = await chat.responses.create(model=model, **responses_asked("gamma"))
        check(answer.output_text, "gamma")
        assert {item.type for item in answer.output} <= {"reasoning", "message"}
        assert answer.usage is not None
        assert answer.usage.output_tokens == 100

        stream = await chat.responses.create(model=model, stream=True, **responses_asked("gamma"))
        events = [event async for event in stream]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        kinds = [event.type for event in events]
        assert (kinds.count("response.created"), kinds.count("response.completed")) == (1, 1)
        done: Any = events[-1]
        check(done.response.output_text, "gamma")
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == done.response.output_text
        added = [event.output_index for event in events if event.type == "response.output_item.added"]
        assert added == list(range(len(done.response.output)))

    drive(house, work)


def test_ollama(house: Path) -> None:
    async def work(_: openai.AsyncOpenAI, __: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        asked = {"model": "ollama/llama3", **chat_asked("delta")}
        for stream in (False, True):
            headers = {"x-pennyweight-session": "one", "content-type": "application/json"}
            raw = json.dumps({**asked, "stream": stream}).encode()
            status, _headers, body = await post(gateway.url, "/api/chat", headers, raw)
            assert status == 200, body
            whole = json.loads(codec(Wire.OLLAMA).fold(body) if stream else body)
            check(whole["message"]["content"], "delta")
            assert "tool_calls" not in whole["message"]
            assert whole["eval_count"] == 100
        assert len(upstream.asks) == 4

    drive(house, work)


def test_the_receipt_says_what_it_cost(house: Path) -> None:
    async def work(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        await claude.messages.create(model=CLAUDE, **claude_asked("beta"))
        await gateway.app.clerk.flush()
        ((trail, cost, baseline),) = _ledger(house, "SELECT trail, cost_pico, baseline_pico FROM receipts")
        steps = {step["optimizer"]: step for step in json.loads(trail)}
        assert steps["recall"]["why"] == "gave 1 left-out text back, asked 1 time more"
        assert steps["recall"]["saving"] < 0
        assert baseline - cost == steps["cutter"]["saving"] + steps["recall"]["saving"]

    drive(house, work)


def test_a_hundred_sessions_at_once_get_each_their_own(house: Path) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        def told(text: str, word: str) -> None:
            assert f"It is {word}." in text
            assert "recall" not in text

        async def one(number: int) -> None:
            word, headers = f"word{number}", {"x-pennyweight-session": f"s{number}"}
            asked: Any = {"model": CHAT_MODEL, **chat_asked(word), "extra_headers": headers}
            if number % 2:
                answer = await chat.chat.completions.create(**asked)
                told(answer.choices[0].message.content or "", word)
                return
            text = ""
            async for chunk in await chat.chat.completions.create(stream=True, **asked):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            told(text, word)

        await asyncio.gather(*map(one, range(100)))
        recalled = sum("recall(" in json.dumps(body) for _, body in upstream.asks)
        assert recalled == 200, "each was asked with the reference, and again with what it stands for"

    drive(house, work)


def test_a_name_of_another_session_gives_nothing(house: Path) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        await chat.chat.completions.create(model=CHAT_MODEL, **chat_asked("alpha"))
        theirs = reference_id("local", "one", secret_log("alpha"))
        upstream.arguments = lambda _ref: {"ref": theirs}
        asked = chat_asked("omega")
        asked["messages"].append({"role": "user", "content": f'It says recall("{theirs}") there.'})
        headers = {"x-pennyweight-session": "two"}
        await chat.chat.completions.create(model=CHAT_MODEL, **asked, extra_headers=headers)
        shown = json.dumps(upstream.asks[-2][1])
        assert "Nothing is kept under that name" in json.dumps(upstream.asks[3][1])
        assert "alpha" not in json.dumps(upstream.asks[2][1]) + shown

    drive(house, work)


async def _refused(exchange: Exchange) -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
    await exchange.send(400, body, headers={"content-type": "application/json"})


async def _cut(exchange: Exchange) -> None:
    exchange.cut()


@pytest.mark.parametrize("trouble", [_refused, _cut])
def test_a_second_ask_that_fails_is_made_good(house: Path, trouble: Callable[[Exchange], Awaitable[None]]) -> None:
    async def work(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        upstream.trouble = [trouble]
        answer = await claude.messages.create(model=CLAUDE, **claude_asked("beta"))
        assert "It is beta." in "".join(block.text for block in answer.content if block.type == "text")
        upstream.trouble = [trouble]
        async with claude.messages.stream(model=CLAUDE, **claude_asked("beta")) as stream:
            last = await stream.get_final_message()
        check("\n".join(block.text for block in last.content if block.type == "text"), "beta")
        if trouble is _refused:  # a connection that breaks is made anew, as of any ask
            assert upstream.asks[2][1]["messages"] == claude_asked("beta")["messages"], "with all that was left out"

    drive(house, work)


def test_after_a_restart_the_text_is_still_there(house: Path) -> None:
    async def first(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        await claude.messages.create(model=CLAUDE, **claude_asked("beta"))

    async def second() -> None:
        async with running(house) as (gateway, _):
            ref = reference_id("local", "one", secret_log("beta"))
            assert await gateway.app.references.get("local", "one", ref) == secret_log("beta")

    drive(house, first)
    asyncio.run(second())


def test_the_text_is_on_the_disk_before_the_upstream_hears_of_it(house: Path) -> None:
    found = []

    async def look(exchange: Exchange) -> None:
        found.append(_ledger(house, "SELECT count(*) FROM kv WHERE key LIKE 'references/local/%'"))

    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        upstream.before = look
        await chat.chat.completions.create(model=CHAT_MODEL, **chat_asked("alpha"))
        assert found[0] == [(1,)]

    drive(house, work)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, CHAT_MODEL])
def test_the_clients_own_calls_and_ours_are_both_answered(house: Path, model: str, at_once: bool) -> None:
    async def work(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        upstream.also, upstream.at_once = (shapes.ToolCall("id_read", "read", '{"path": "a"}'),), at_once
        asked = claude_asked("beta")
        async with claude.messages.stream(model=model, **asked) as stream:
            first = await stream.get_final_message()
        assert [block.name for block in first.content if block.type == "tool_use"] == ["read"]
        assert first.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": "id_read", "content": "done with that"}
        asked["messages"] += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        async with claude.messages.stream(model=model, **asked) as stream:
            last = await stream.get_final_message()
        assert last.stop_reason == "end_turn"
        assert "It is beta." in "".join(block.text for block in last.content if block.type == "text")
        assert len(upstream.asks) == (2 if at_once else 3)
        sent = json.dumps(upstream.asks[-1][1]["messages"])
        assert sent.count('"name": "recall"') == 1, "the model is told what it asked for"
        assert sent.count("the secret word is beta") == 1
        await gateway.app.clerk.flush()
        rows = _ledger(house, "SELECT status, error FROM receipts")
        assert rows == [(200, ""), (200, "")]

    drive(house, work)


def test_text_goes_on_to_the_caller_while_the_model_still_speaks(house: Path) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        heard = asyncio.Event()

        async def wait(exchange: Exchange) -> None:
            if len(upstream.asks) == 2:
                await heard.wait()

        upstream.before = wait
        text = ""
        async for chunk in await chat.chat.completions.create(model=CHAT_MODEL, stream=True, **chat_asked("alpha")):
            text += chunk.choices[0].delta.content or ""
            if text.count("Let me look that up.") == 5:
                heard.set()
        check(text, "alpha")

    drive(house, work)


def test_a_kept_answer_is_the_callers_answer(house: Path) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        answers = []
        for _number in range(2):
            answer = await chat.chat.completions.create(model=CHAT_MODEL, temperature=0, **chat_asked("alpha"))
            answers.append(answer.choices[0].message.content)
            await gateway.app.clerk.flush()
        assert answers[0] == answers[1]
        check(answers[0] or "", "alpha")
        assert len(upstream.asks) == 2, "the second came from the cache"

        text = ""
        stream = await chat.chat.completions.create(model=CHAT_MODEL, temperature=0, stream=True, **chat_asked("omega"))
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        await gateway.app.clerk.flush()
        again = await chat.chat.completions.create(model=CHAT_MODEL, temperature=0, **chat_asked("omega"))
        assert again.choices[0].message.content == text

    drive(house, work, more=EXACT)


def test_equal_calls_at_once_share_every_ask(house: Path) -> None:
    async def work(chat: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        begun = asyncio.Event()

        async def wait(exchange: Exchange) -> None:
            await begun.wait()

        upstream.before = wait

        async def one() -> str:
            stream = await chat.chat.completions.create(
                model=CHAT_MODEL, temperature=0, stream=True, **chat_asked("alpha")
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        crowd = [asyncio.create_task(one()) for _ in range(20)]
        await asyncio.sleep(0.3)
        begun.set()
        for text in await asyncio.gather(*crowd):
            check(text, "alpha")
        assert len(upstream.asks) <= 4, "twenty callers, and no ask for each of them"

    drive(house, work, counted=False)


def test_a_call_that_had_to_go_as_it_came_saves_nothing(house: Path) -> None:
    async def work(_: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Model, gateway: Gateway) -> None:
        await claude.messages.create(model=CLAUDE, **claude_asked("beta"))
        async with claude.messages.stream(model=CLAUDE, **claude_asked("beta")) as stream:
            await stream.get_final_message()
        await gateway.app.clerk.flush()
        assert [body["messages"] for _, body in upstream.asks] == [claude_asked("beta")["messages"]] * 2
        for cost, baseline, basis in _ledger(house, "SELECT cost_pico, baseline_pico, basis FROM receipts"):
            assert (baseline, basis) == (cost, "")

    drive(house, work, store_s=1e-9)


class Binding:
    """An upstream as Anthropic's newest models are: thinking is signed together with all that stands before it, and
    refused anywhere else; so are calls without their results. Its model reads the log, asks for it, and goes on."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.asks: list[dict[str, Any]] = []
        self.refused: list[str] = []

    async def answer(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        self.asks.append(body)
        why = _broken(body["messages"])
        if why:
            self.refused.append(why)
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": why}}
            await exchange.send(400, json.dumps(error).encode(), headers={"content-type": "application/json"})
            return
        usage = Usage(input_tokens=len(exchange.body) // 4, output_tokens=50)
        turn = self._turn(body["messages"])
        made = shapes.finish(
            Wire.ANTHROPIC_MESSAGES,
            shapes.body_of(Wire.ANTHROPIC_MESSAGES, turn, model="m", number=len(self.asks)),
            usage,
            model="m",
        )
        if not body.get("stream"):
            await exchange.send(200, json.dumps(made).encode(), headers={"content-type": "application/json"})
            return
        await exchange.start(200, {"content-type": "text/event-stream"})
        for event in shapes.stream(Wire.ANTHROPIC_MESSAGES, made, include_usage=True):
            await exchange.write(event)
        await exchange.end()

    def _turn(self, messages: list[Any]) -> shapes.Turn:
        text, number = json.dumps(messages), len(self.asks)
        sign = _signature(messages)
        reads = shapes.ToolCall(f"read{number}", "read", json.dumps({"page": number}))
        ref = re.findall(r'recall\(\\"(r[a-z2-7]{10})\\"\)', text)[-1]
        asks = shapes.ToolCall(f"recall{number}", "recall", json.dumps({"ref": ref, "lines": f"{number}-{number + 2}"}))
        last = json.dumps(messages[-1])
        if "page of" in last and text.count("page of") >= 3:
            return shapes.Turn("That is all.", (), "Done thinking.", sign)
        if "lines in all" in last and not ("page of" in last and not self.at_once):
            return shapes.Turn(f"Now page {number}.", (reads,), "I have the lines.", sign)
        calls = (asks, reads) if self.at_once else (asks,)
        return shapes.Turn(f"Lines first, {number}.", calls, "I need the lines.", sign)


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key != "cache_control"}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


def _signature(before: list[Any]) -> str:
    return hashlib.sha256(json.dumps(_bare(before), sort_keys=True).encode()).hexdigest()


def _broken(messages: list[Any]) -> str:
    due: set[str] = set()
    for number, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results != due:
            return f"message {number}: results of {sorted(results)}, and calls of {sorted(due)}"
        due = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            if block["type"] == "thinking" and block["signature"] != _signature(messages[:number]):
                return f"message {number}: thinking that was signed elsewhere"
    return "calls without results at the end" if due else ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_thinking_that_is_bound_to_what_stands_before_it_is_taken(house: Path, at_once: bool, stream: bool) -> None:
    upstream = Binding(at_once=at_once)

    async def main() -> None:
        async with running(house, upstream=upstream) as (gateway, _):
            headers = {"x-pennyweight-session": "one"}
            async with anthropic.AsyncAnthropic(
                base_url=gateway.url, api_key="n", max_retries=0, default_headers=headers
            ) as claude:
                asked = claude_asked("beta")
                for _turn in range(10):
                    if stream:
                        async with claude.messages.stream(model=CLAUDE, **asked) as streamed:
                            answer = await streamed.get_final_message()
                    else:
                        answer = await claude.messages.create(model=CLAUDE, **asked)
                    asked["messages"].append(
                        {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in answer.content]}
                    )
                    calls = [block for block in answer.content if block.type == "tool_use"]
                    assert {call.name for call in calls} <= {"read"}
                    if not calls:
                        break
                    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "a page of it"} for c in calls]
                    asked["messages"].append({"role": "user", "content": results})
                assert answer.stop_reason == "end_turn"

    asyncio.run(main())
    assert upstream.refused == []
    assert json.dumps(upstream.asks[-1]).count('"name": "recall", "input"') >= 2


def test_a_gateway_that_is_killed_between_two_asks_has_lost_no_text(house: Path) -> None:
    alive = False

    async def answer(asked: Asked) -> None:
        text = asked.body.decode()
        found = re.search(r"the secret word is (\w+)", text)
        if found is not None and not alive:
            await asyncio.Event().wait()
        if found is None:
            ref = re.findall(r'recall\(\\"(r[a-z2-7]{10})\\"\)', text)[-1]
            turn = shapes.Turn("", (shapes.ToolCall("id", "recall", json.dumps({"ref": ref, "query": "secret"})),))
        else:
            turn = shapes.Turn(f"It is {found[1]}.")
        body = _body(Wire.OPENAI_CHAT, turn, Usage(input_tokens=100, output_tokens=5), 1)
        asked.writer.write(http(200, json.dumps(body).encode()))

    asked = {"model": CHAT_MODEL, **chat_asked("alpha")}
    headers = {"x-pennyweight-session": "one"}
    with Upstream(answer) as upstream:
        env = {**upstream.env, "PYTHONPATH": f"{SOURCE}:{house / 'plugin'}"}
        first = Process(house, env, config='[[optimizers]]\nuse = "cutter"\n').wait_ready()

        def ask() -> None:
            with contextlib.suppress(OSError):
                first.ask("/v1/chat/completions", asked, headers)

        asking = threading.Thread(target=ask)
        asking.start()
        deadline = time.monotonic() + 60
        while len(upstream.seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.process.kill()
        first.process.wait(60)
        asking.join(60)
        assert _ledger(house, "SELECT count(*) FROM kv WHERE key LIKE 'references/local/%'") == [(1,)]
        alive = True
        with Process(house, env) as again:
            told = again.ask("/v1/chat/completions", asked, headers).json()
        assert told["choices"][0]["message"]["content"] == "It is alpha."
        assert "tool_calls" not in told["choices"][0]["message"]
